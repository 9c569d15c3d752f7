//! What happens when, during a demonstration.

use std::time::Duration;

/// One change of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    DualWrite,
    Reads(u8),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) time: Duration,
    pub(super) step: Step,
}

/// The first ramp, in thousandths of the whole; the rest of the time stays at its end.
const RAMP: [(u64, Step); 5] = [
    (150, Step::DualWrite),
    (300, Step::Reads(25)),
    (450, Step::Reads(50)),
    (600, Step::Reads(100)),
    (1000, Step::End),
];

/// Without an end, a ramp takes this long, and the reads go up and down for as long as somebody looks.
const LAP: u64 = 60;
const LAPS: u64 = 24 * 60;

pub(super) struct Script {
    seconds: Option<u64>,
}

impl Script {
    pub(super) fn over(seconds: Option<u64>) -> Script {
        Script { seconds }
    }

    pub(super) fn seconds(&self) -> Option<u64> {
        self.seconds
    }

    pub(super) fn steps(&self) -> Vec<At> {
        let lap = self.seconds.unwrap_or(LAP);
        let mut steps: Vec<At> =
            RAMP.iter().map(|(part, step)| At { time: Duration::from_millis(lap * part), step: *step }).collect();
        if self.seconds.is_none() {
            steps.pop();
            steps.extend((1..LAPS).flat_map(again));
        }
        steps
    }
}

/// One more ramp, from nothing up.
fn again(lap: u64) -> [At; 4] {
    let begin = Duration::from_secs(lap * LAP);
    let quarter = |n, percent| At { time: begin + Duration::from_secs(LAP * n / 4), step: Step::Reads(percent) };
    [quarter(0, 0), quarter(1, 25), quarter(2, 50), quarter(3, 100)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_the_order_of_their_times() {
        for seconds in [None, Some(0), Some(1), Some(60)] {
            let steps = Script::over(seconds).steps();
            assert!(steps.is_sorted_by_key(|at| at.time));
            assert_eq!(steps.first().map(|at| at.step), Some(Step::DualWrite));
        }
    }

    #[test]
    fn a_limited_demonstration_ends_when_it_was_asked_to() {
        let last = Script::over(Some(60)).steps().pop();
        assert_eq!(last, Some(At { time: Duration::from_secs(60), step: Step::End }));
    }
}
