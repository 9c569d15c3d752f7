//! The comparing engine: takes samples, asks the other side, confirms suspicions at an aligned pair.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::asker::{Asker, Askers};
use super::findings::{Findings, Outcome};
use super::pair::Align;
use super::sample::Sample;
use crate::backend::login::{Address, LoginError};
use crate::config;
use crate::rows::Answer;
use crate::shutdown::Shutdown;
use crate::side::BySide;
use crate::sql::read_shape;

/// See the module `shadow`.
pub struct Engine {
    askers: Askers,
    align: Align,
    findings: Arc<Findings>,
    config: config::Shadow,
}

impl Engine {
    pub fn new(
        addresses: BySide<Address>,
        connect: Duration,
        config: config::Shadow,
        align: Align,
        findings: Arc<Findings>,
    ) -> Self {
        let askers = Askers::new(addresses, connect, 2 * config.max_concurrent);
        Engine { askers, align, findings, config }
    }

    /// Compares until the process ends.
    pub async fn run(self, mut samples: mpsc::Receiver<Box<Sample>>, shutdown: Shutdown) {
        let engine = Arc::new(self);
        let places = Arc::new(Semaphore::new(engine.config.max_concurrent.max(1)));
        loop {
            // A place first: what waits for one waits in the bounded queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let sample = tokio::select! {
                () = shutdown.begun() => return,
                sample = samples.recv() => sample,
            };
            let Some(sample) = sample else { return };
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                engine.compare(*sample).await;
                drop(place);
            });
        }
    }

    async fn compare(&self, sample: Sample) {
        let began = Instant::now();
        let mut took = BySide::from_fn(|side| (side == sample.side).then_some(sample.took));
        let limit = self.config.timeout;
        let outcome = match tokio::time::timeout(limit, self.ask_other(&sample)).await {
            Err(_) | Ok(Err(_)) => Outcome::Failed,
            Ok(Ok((answer, other_took))) => {
                *took.get_mut(sample.side.other()) = Some(other_took);
                match answer == sample.answer {
                    true => Outcome::Matched,
                    false => self.confirm(&sample, limit.saturating_sub(began.elapsed())).await,
                }
            }
        };
        self.findings.book(sample.fingerprint, &sample.sql, &outcome, took);
    }

    async fn ask_other(&self, sample: &Sample) -> Result<(Answer, Duration), LoginError> {
        let mut asker = self.askers.take(sample.side.other(), &sample.identity).await?;
        let began = Instant::now();
        let answer = asker.ask(&sample.request).await?;
        let took = began.elapsed();
        self.askers.give_back(asker);
        Ok((answer, took))
    }

    /// The suspicion, asked again on both sides at an aligned pair.
    async fn confirm(&self, sample: &Sample, limit: Duration) -> Outcome {
        match tokio::time::timeout(limit, self.ask_both_aligned(sample, limit)).await {
            Err(_) | Ok(Err(_)) | Ok(Ok(None)) => Outcome::Inconclusive,
            Ok(Ok(Some(answers))) if answers.old == answers.new => Outcome::Raced,
            Ok(Ok(Some(_))) if !is_determined(&sample.sql) => Outcome::Inconclusive,
            Ok(Ok(Some(answers))) => Outcome::Mismatched { old: answers.old.to_string(), new: answers.new.to_string() },
        }
    }

    async fn ask_both_aligned(&self, sample: &Sample, limit: Duration) -> Result<Option<BySide<Answer>>, LoginError> {
        // The connections first: the link holds still only while the transactions are opened.
        let mut askers = BySide {
            old: self.askers.take(crate::side::Side::Old, &sample.identity).await?,
            new: self.askers.take(crate::side::Side::New, &sample.identity).await?,
        };
        let Some(pair) = (self.align)(limit).await else { return Ok(None) };
        let primary = pair.primary();
        let id = pair.snapshot_id().replace('\'', "''");
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        askers.get_mut(primary).run(&format!("{begin}; SET TRANSACTION SNAPSHOT '{id}'")).await?;
        // The snapshot is taken by the first query, not by BEGIN.
        askers.get_mut(primary.other()).run(&format!("{begin}; SELECT pg_catalog.pg_current_snapshot()")).await?;
        if !pair.still_held() {
            return Ok(None);
        }
        drop(pair);
        let BySide { old, new } = &mut askers;
        let (old, new) = tokio::join!(ask_and_roll_back(old, sample), ask_and_roll_back(new, sample));
        let answers = BySide { old: old?, new: new? };
        self.askers.give_back(askers.old);
        self.askers.give_back(askers.new);
        Ok(Some(answers))
    }
}

async fn ask_and_roll_back(asker: &mut Asker, sample: &Sample) -> Result<Answer, LoginError> {
    let answer = asker.ask(&sample.request).await?;
    asker.run("ROLLBACK").await?;
    Ok(answer)
}

/// Whether equal data must give an equal answer: not with the time of day, nor with LIMIT, whose choice among ties is free.
fn is_determined(sql: &[u8]) -> bool {
    const TIMES: [&str; 9] = [
        "now",
        "current_timestamp",
        "current_time",
        "current_date",
        "localtime",
        "localtimestamp",
        "statement_timestamp",
        "transaction_timestamp",
        "age",
    ];
    let shape = std::str::from_utf8(sql).ok().and_then(|s| read_shape(s).ok());
    shape.is_some_and(|s| !s.has_limit && !s.functions.iter().any(|f| TIMES.contains(&f.name.as_str())))
}
