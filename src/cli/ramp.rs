//! `pgduet ramp`: the share of the reads moved in steps, watched between them, and stopped where something is wrong.
//!
//! The steps are taken from here, by the same call that an operator makes by hand, so each passes its gates and is recorded. The proxy
//! needs nobody to hold it: a ramp that is broken off (Ctrl-C, a closed terminal) leaves the share where it stands, and the same command
//! goes on from there.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Answer, Output, Target, who};
use super::{NOT_DONE, fail};

/// Between two looks at the status.
const LOOK: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Ramp {
    /// The share to reach, percent.
    #[arg(long)]
    to: f64,
    /// Percent by which each step raises, or lowers, the share.
    #[arg(long, default_value_t = 5.0)]
    step: f64,
    /// How long a step is watched before the next.
    #[arg(long, default_value = "60s", value_parser = crate::config::parse_duration)]
    every: Duration,
    /// Go on although reads are answered differently. Gates, the link and alerts still count.
    #[arg(long)]
    ignore_findings: bool,
    /// Where the ramp is stopped, take all reads back: 0 %.
    #[arg(long)]
    back_on_stop: bool,
    #[command(flatten)]
    target: Target,
}

/// The share after the next step, in hundredths of a percent. Pure.
fn next(now: f64, to: f64, step: f64) -> f64 {
    let hundredths = |percent: f64| (percent * 100.0).round();
    let (now, to, step) = (hundredths(now), hundredths(to), hundredths(step.abs()).max(1.0));
    let next = if to >= now { (now + step).min(to) } else { (now - step).max(to) };
    next / 100.0
}

/// What was counted when the ramp began: only what comes on top stops it.
struct Began {
    mismatched: u64,
}

fn mismatched(status: &Value) -> u64 {
    status["shadow"]["mismatched_total"].as_u64().unwrap_or_default()
}

/// Why a raised share must not go on rising. Pure.
fn objection(status: &Value, began: &Began, ignore_findings: bool) -> Option<String> {
    let found = mismatched(status).saturating_sub(began.mismatched);
    let state = super::client::text(&status["link"]["state"]);
    let withdrawn = super::client::text(&status["reads"]["withdrawn"]);
    let alerts = status["alerts"].as_array().map_or(0, Vec::len);
    match () {
        () if found > 0 && !ignore_findings => {
            Some(format!("{found} reads were answered differently since it began; pgduet findings names them"))
        }
        () if state != "running" => Some(format!("the link is {state}")),
        () if !withdrawn.is_empty() => Some(format!("reads are withdrawn from the secondary: {withdrawn}")),
        () if alerts > 0 => {
            Some(format!("{} is over its threshold", super::client::text(&status["alerts"][0]["name"])))
        }
        () => None,
    }
}

pub fn run(ramp: &Ramp) -> ExitCode {
    match climb(ramp) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let back = ramp.back_on_stop.then(|| set(ramp, 0.0));
            let where_now = match back {
                Some(Ok(())) => "all reads are back on the primary: 0 %".to_owned(),
                Some(Err(error)) => format!("the reads could not be taken back: {error}"),
                None => "the share stays where it is; the same command goes on from there".to_owned(),
            };
            fail(NOT_DONE, &format!("the ramp has stopped: {problem}\n{where_now}"))
        }
    }
}

fn climb(ramp: &Ramp) -> Result<(), String> {
    let first = ramp.target.get("/api/status")?;
    let began = Began { mismatched: mismatched(&first) };
    let mut now = share(&first);
    while (now - ramp.to).abs() > 0.001 {
        let raised = ramp.to > now;
        let status = ramp.target.get("/api/status")?;
        if let Some(problem) = raised.then(|| objection(&status, &began, ramp.ignore_findings)).flatten() {
            return Err(problem);
        }
        now = next(now, ramp.to, ramp.step);
        set(ramp, now)?;
        report(ramp, now, "set");
        watch(ramp, &began, now, raised)?;
    }
    report(ramp, now, "reached");
    Ok(())
}

/// Looks on until the next step is due.
fn watch(ramp: &Ramp, began: &Began, percent: f64, raised: bool) -> Result<(), String> {
    let due = Instant::now() + ramp.every;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(LOOK));
        let status = ramp.target.get("/api/status")?;
        if (share(&status) - percent).abs() > 0.001 {
            return Err(format!("somebody else has set the share to {} %", share(&status)));
        }
        if let Some(problem) = raised.then(|| objection(&status, began, ramp.ignore_findings)).flatten() {
            return Err(problem);
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}

fn share(status: &Value) -> f64 {
    status["read_percent"].as_f64().unwrap_or_default()
}

fn set(ramp: &Ramp, percent: f64) -> Result<(), String> {
    let body = json!({ "read_percent": percent, "by": format!("{} (ramp to {} %)", who(), ramp.to) });
    ramp.target.call("PATCH", "/api/policy", &body).and_then(Answer::expect).map(drop)
}

fn report(ramp: &Ramp, percent: f64, what: &str) {
    match ramp.target.output {
        Output::Text => println!("{what}: {percent} % of the keys are read from new"),
        Output::Json => println!("{}", json!({ "event": what, "read_percent": percent })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_exactly_at_the_goal_in_either_direction() {
        let path = |mut now: f64, to, step| {
            let mut seen = vec![];
            while now != to {
                now = next(now, to, step);
                seen.push(now);
            }
            seen
        };
        assert_eq!(path(0.0, 12.0, 5.0), [5.0, 10.0, 12.0]);
        assert_eq!(path(50.0, 0.0, 20.0), [30.0, 10.0, 0.0]);
        assert_eq!(path(0.0, 0.3, 0.1), [0.1, 0.2, 0.3]);
        assert_eq!(path(7.0, 7.0, 1.0), [0.0; 0]);
    }

    #[test]
    fn only_what_is_new_stops_a_ramp() {
        let status = |mismatched: u64, state: &str| json!({ "link": { "state": state }, "reads": { "withdrawn": null }, "alerts": [], "shadow": { "mismatched_total": mismatched } });
        let began = Began { mismatched: 3 };
        assert_eq!(objection(&status(3, "running"), &began, false), None);
        assert!(objection(&status(4, "running"), &began, false).is_some());
        assert_eq!(objection(&status(4, "running"), &began, true), None);
        assert!(objection(&status(3, "paused"), &began, true).is_some());
    }
}
