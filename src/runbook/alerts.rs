//! Alerts: what was measured in the last window, held against thresholds. An alert is raised once and cleared once; it goes to the log, the
//! metrics, `/api/status` and, if so configured, to a webhook; and it may take all reads back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Conductor, PolicyPatch};
use crate::config::{Alerts, Webhook};
use crate::routing::Percent;
use crate::shadow::{Tallied, Totals};

/// With fewer in a window, a rate says nothing.
const ENOUGH: u64 = 20;

/// Something is over its threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    pub name: &'static str,
    pub value: f64,
    pub threshold: f64,
}

/// What was counted up to a moment.
#[derive(Clone, Debug, Default)]
struct Seen {
    totals: Totals,
    answers: Tallied,
    lag: Duration,
}

/// What is over its threshold between two moments.
fn raised(before: &Seen, now: &Seen, thresholds: &Alerts) -> Vec<Alert> {
    let compared = now.totals.compared_total.saturating_sub(before.totals.compared_total);
    let mismatched = now.totals.mismatched_total.saturating_sub(before.totals.mismatched_total);
    let (calls, errors) = (&now.answers.counts.calls, &now.answers.counts.errors);
    let calls = calls.new.saturating_sub(before.answers.counts.calls.new);
    let errors = errors.new.saturating_sub(before.answers.counts.errors.new);
    let old = now.answers.took.old.since(&before.answers.took.old);
    let new = now.answers.took.new.since(&before.answers.took.new);
    let ratio = (old.total() >= ENOUGH && new.total() >= ENOUGH)
        .then(|| new.quantile_ms(0.99) / old.quantile_ms(0.99).max(f64::MIN_POSITIVE));
    let measured = [
        ("mismatch_percent", share(mismatched, compared), thresholds.mismatch_percent),
        ("error_percent", share(errors, calls), thresholds.error_percent),
        ("latency_ratio", ratio, thresholds.latency_ratio),
        ("lag", Some(now.lag.as_secs_f64()), thresholds.lag.map(|lag| lag.as_secs_f64())),
    ];
    let over = |(name, value, threshold): (&'static str, Option<f64>, Option<f64>)| match (value, threshold) {
        (Some(value), Some(threshold)) if value > threshold => Some(Alert { name, value, threshold }),
        _ => None,
    };
    measured.into_iter().filter_map(over).collect()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole >= ENOUGH).then(|| part as f64 * 100.0 / whole as f64)
}

impl Conductor {
    /// Looks at the thresholds until the process ends.
    pub async fn watch_thresholds(self: Arc<Self>) {
        let mut before = self.seen();
        loop {
            tokio::time::sleep(self.context.config.alerts.window).await;
            let now = self.seen();
            let raised = raised(&before, &now, &self.context.config.alerts);
            before = now;
            self.hold_against(raised).await;
        }
    }

    /// The alerts that stand now.
    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> Seen {
        Seen {
            totals: self.findings.totals(),
            answers: self.findings.sums(),
            lag: Duration::from_secs_f64(self.context.ledger.report().lag_seconds.max(0.0)),
        }
    }

    async fn hold_against(&self, raised: Vec<Alert>) {
        let stood = std::mem::replace(&mut *self.alerts.lock().unwrap_or_else(PoisonError::into_inner), raised.clone());
        let is_in = |list: &[Alert], alert: &Alert| list.iter().any(|a| a.name == alert.name);
        for alert in stood.iter().filter(|alert| !is_in(&raised, alert)) {
            tracing::info!(alert = alert.name, "an alert has cleared");
            self.tell(alert, "cleared").await;
        }
        for alert in raised.iter().filter(|alert| !is_in(&stood, alert)) {
            tracing::warn!(alert = alert.name, value = alert.value, threshold = alert.threshold, "an alert is raised");
            self.take_reads_back(alert).await;
            self.tell(alert, "raised").await;
        }
    }

    async fn take_reads_back(&self, alert: &Alert) {
        let reads = self.policy().read_percent;
        if !self.context.config.alerts.return_to_zero || reads == Percent::ZERO {
            return;
        }
        let by = format!("alert {}: {:.3} is over {}", alert.name, alert.value, alert.threshold);
        let patch = PolicyPatch { read_percent: Some(Percent::ZERO), by: Some(by), ..PolicyPatch::default() };
        match self.patch(&patch).await {
            Ok(_) => tracing::warn!(alert = alert.name, "all reads were taken back to the primary"),
            Err(error) => tracing::error!(alert = alert.name, %error, "the reads could not be taken back"),
        }
    }

    async fn tell(&self, alert: &Alert, state: &str) {
        let config = &self.context.config;
        let Some(webhook) = &config.alerts.webhook else { return };
        let body = json!({
            "alert": alert.name, "state": state, "value": alert.value, "threshold": alert.threshold,
            "phase": self.policy().phase, "read_percent": self.policy().read_percent,
        });
        let sent = tokio::time::timeout(config.timeouts.connect, post(webhook, &body.to_string())).await;
        if let Some(error) = sent.map_or_else(|late| Some(late.to_string()), |sent| sent.err().map(|e| e.to_string())) {
            tracing::warn!(alert = alert.name, error, "the webhook was not told");
        }
    }
}

/// One request on a connection of its own; the answer does not matter.
async fn post(webhook: &Webhook, body: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((webhook.host.as_str(), webhook.port)).await?;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        webhook.path,
        webhook.host,
        webhook.port,
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.shutdown().await?;
    // Its first byte says that it was taken.
    stream.readable().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::Spread;
    use crate::side::BySide;

    fn seen(compared: u64, mismatched: u64, calls: u64, errors: u64, new_ms: u64) -> Seen {
        let spread = |ms: u64| {
            let mut spread = Spread::default();
            (0..calls).for_each(|_| spread.add(Duration::from_millis(ms)));
            spread
        };
        let mut answers = Tallied { took: BySide { old: spread(10), new: spread(new_ms) }, ..Tallied::default() };
        answers.counts.calls.new = calls;
        answers.counts.errors.new = errors;
        let totals = Totals { compared_total: compared, mismatched_total: mismatched, ..Totals::default() };
        Seen { totals, answers, lag: Duration::ZERO }
    }

    #[test]
    fn a_threshold_is_held_against_the_last_window_only() {
        let thresholds = Alerts {
            mismatch_percent: Some(1.0),
            error_percent: Some(5.0),
            latency_ratio: Some(2.0),
            lag: Some(Duration::from_secs(10)),
            ..Alerts::default()
        };
        let names = |before: &Seen, now: &Seen| -> Vec<&str> {
            raised(before, now, &thresholds).iter().map(|a| a.name).collect()
        };
        let calm = seen(1000, 0, 1000, 0, 10);
        assert_eq!(names(&Seen::default(), &calm), Vec::<&str>::new());
        assert_eq!(names(&calm, &seen(1100, 5, 1000, 0, 10)), ["mismatch_percent"]);
        assert_eq!(names(&seen(1000, 50, 1000, 0, 10), &seen(2000, 50, 1100, 0, 10)), Vec::<&str>::new());
        assert_eq!(names(&calm, &seen(1010, 10, 1000, 0, 10)), Vec::<&str>::new(), "ten are not enough");
        assert_eq!(names(&Seen::default(), &seen(0, 0, 100, 10, 30)), ["error_percent", "latency_ratio"]);
        let late = Seen { lag: Duration::from_secs(11), ..calm.clone() };
        assert_eq!(names(&calm, &late), ["lag"]);
    }
}
