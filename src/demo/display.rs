//! The figures of a demonstration, as a line that is rewritten on a terminal, or as one line every few seconds.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::Failure;
use super::admin::Admin;

/// Where nothing can be rewritten, a line every so many seconds is enough.
const PLAIN_EVERY: u64 = 2;

/// Counters of `/api/status`, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    phase: String,
    percent: f64,
    link: String,
    lag: u64,
    read_old: u64,
    read_new: u64,
    pub(super) captured: u64,
    pub(super) uncaptured: u64,
    pub(super) compared: u64,
    pub(super) mismatched: u64,
}

impl Figures {
    pub(super) fn read(admin: &Admin) -> Result<Figures, Failure> {
        let status = admin.status()?;
        let at = |pointer: &str| status.pointer(pointer).unwrap_or(&Value::Null);
        let count = |pointer: &str| at(pointer).as_u64().unwrap_or(0);
        let text = |pointer: &str| at(pointer).as_str().unwrap_or("-").to_owned();
        Ok(Figures {
            phase: text("/phase"),
            percent: at("/read_percent").as_f64().unwrap_or(0.0),
            link: text("/link/state"),
            lag: count("/link/lag_entries"),
            read_old: count("/reads/old_total"),
            read_new: count("/reads/new_total"),
            captured: count("/link/captured_total"),
            uncaptured: count("/uncaptured_total"),
            compared: count("/shadow/compared_total"),
            mismatched: count("/shadow/mismatched_total"),
        })
    }

    pub(super) fn reads(&self) -> u64 {
        self.read_old + self.read_new
    }

    /// One line, with rates since an earlier moment.
    fn line(&self, before: &Figures, seconds: f64) -> String {
        let rate = |now: u64, then: u64| number(now.saturating_sub(then)) / seconds.max(0.001);
        // Short enough for a terminal of 80 columns, with the time in front.
        format!(
            "{} {} % old {:.0}/s new {:.0}/s carried {:.0}/s lag {} ({}) diff {}/{}",
            self.phase,
            self.percent,
            rate(self.read_old, before.read_old),
            rate(self.read_new, before.read_new),
            rate(self.captured, before.captured),
            self.lag,
            self.link,
            self.mismatched,
            self.compared,
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures to look at")]
fn number(count: u64) -> f64 {
    count as f64
}

pub(super) struct Display {
    admin: Admin,
    bar: Option<ProgressBar>,
    before: (Duration, Figures),
}

impl Display {
    pub(super) fn new(admin: &Admin, seconds: Option<u64>) -> Result<Display, Failure> {
        let bar = std::io::stderr().is_terminal().then(|| bar(seconds));
        Ok(Display { admin: *admin, bar, before: (Duration::ZERO, Figures::read(admin)?) })
    }

    /// Something that happened, above the figures.
    pub(super) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => println!("{what}"),
        }
    }

    /// The figures now, with rates since they were last shown.
    pub(super) fn show(&mut self, elapsed: Duration) -> Result<(), Failure> {
        let since = elapsed.saturating_sub(self.before.0);
        let due = if self.bar.is_some() { Duration::from_millis(500) } else { Duration::from_secs(PLAIN_EVERY) };
        if since < due {
            return Ok(());
        }
        let now = Figures::read(&self.admin)?;
        let line = now.line(&self.before.1, since.as_secs_f64());
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(line);
            }
            None => println!("{:>4} s  {line}", elapsed.as_secs()),
        }
        self.before = (elapsed, now);
        Ok(())
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

fn bar(seconds: Option<u64>) -> ProgressBar {
    let (bar, template) = match seconds {
        Some(seconds) => (ProgressBar::new(seconds), "{pos:>3}/{len} s {wide_msg}"),
        None => (ProgressBar::new_spinner(), "{pos:>3} s {wide_msg}"),
    };
    // The template is constant; a mistake in it costs the style, not the figures.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
