//! The comparing engine: takes samples, asks the other side, confirms suspicions at an aligned pair.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::asker::{Asker, Askers};
use super::budget::Budget;
use super::findings::{Findings, Outcome};
use super::judgement::Judgement;
use super::pair::Align;
use super::sample::Sample;
use crate::backend::login::{Address, LoginError};
use crate::config;
use crate::rows::{Answer, Detail, Difference, Ending, Rules};
use crate::shutdown::Shutdown;
use crate::side::{BySide, Side};
use crate::sql::Fingerprint;

/// The pause between two looks for connections that nobody uses.
const TIDY: Duration = Duration::from_secs(10);

/// See the module `shadow`.
pub struct Engine {
    askers: Askers,
    align: Align,
    findings: Arc<Findings>,
    config: config::Shadow,
    budget: Budget,
    /// Statements whose columns were compared although their clients did not ask for them.
    described: Mutex<HashSet<Fingerprint>>,
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
        let budget = Budget::new(config.per_statement, config.max_findings);
        Engine { askers, align, findings, config, budget, described: Mutex::default() }
    }

    /// Compares until the process ends.
    pub async fn run(self, mut samples: mpsc::Receiver<Box<Sample>>, shutdown: Shutdown) {
        let engine = Arc::new(self);
        let places = Arc::new(Semaphore::new(engine.config.max_concurrent.max(1)));
        let mut tidy = tokio::time::interval(TIDY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // A place first: what waits for one waits in the bounded queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let sample = tokio::select! {
                () = shutdown.begun() => return,
                _ = tidy.tick() => {
                    engine.askers.close_unused();
                    continue;
                }
                sample = samples.recv() => sample,
            };
            let Some(sample) = sample else { return };
            if !engine.budget.admits(sample.fingerprint, Instant::now()) {
                engine.findings.over_budget();
                continue;
            }
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
            _ if is_circumstance(&sample.answer) => Outcome::Failed,
            Err(_) | Ok(Err(_)) => Outcome::Failed,
            Ok(Ok((answer, _))) if is_circumstance(&answer) => Outcome::Failed,
            Ok(Ok((answer, other_took))) => {
                *took.get_mut(sample.side.other()) = Some(other_took);
                let judgement = Judgement::new(&sample, &self.config);
                let matches = sample.answer.matches(&answer, judgement.in_order);
                match matches && !self.has_to_be_described(&sample) {
                    true => Outcome::Matched,
                    false => self.confirm(&sample, &answer, &judgement, limit.saturating_sub(began.elapsed())).await,
                }
            }
        };
        sample.trace.compared(began, outcome.as_str());
        self.findings.book(sample.fingerprint, &sample.sql, &outcome, took);
    }

    /// A client that knows the columns does not ask for them again: the first such sample of a statement is looked at closely.
    fn has_to_be_described(&self, sample: &Sample) -> bool {
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !described.contains(&sample.fingerprint);
        if is_new && described.len() < self.config.max_findings {
            described.insert(sample.fingerprint);
        }
        is_new && sample.answer.columns.is_none() && matches!(sample.answer.ending, Ending::Rows(_))
    }

    async fn ask_other(&self, sample: &Sample) -> Result<(Answer, Duration), LoginError> {
        let mut asker = self.askers.take(sample.side.other(), &sample.identity).await?;
        let began = Instant::now();
        let answer = asker.ask(&sample.request).await?;
        let took = began.elapsed();
        self.askers.give_back(asker);
        Ok((answer, took))
    }

    /// The suspicion, asked again on both sides.
    async fn confirm(&self, sample: &Sample, other: &Answer, judgement: &Judgement, limit: Duration) -> Outcome {
        // The same rows in another order, or not described yet: no write is in between, and a look without a pair may do.
        if sample.answer.matches(other, false)
            && let Ok(Ok((_, details))) = tokio::time::timeout(limit, self.ask_both(sample, &judgement.rules)).await
        {
            match details.old.compare(&details.new) {
                Difference::None => return Outcome::Matched,
                Difference::Open => return Outcome::Inconclusive,
                Difference::Real { .. } => {}
            }
        }
        match tokio::time::timeout(limit, self.ask_both_aligned(sample, &judgement.rules, limit)).await {
            Err(_) | Ok(Err(_)) | Ok(Ok(None)) => Outcome::Inconclusive,
            Ok(Ok(Some((answers, details)))) => judge(&answers, &details, judgement),
        }
    }

    async fn take_both(&self, sample: &Sample) -> Result<BySide<Asker>, LoginError> {
        Ok(BySide {
            old: self.askers.take(Side::Old, &sample.identity).await?,
            new: self.askers.take(Side::New, &sample.identity).await?,
        })
    }

    async fn ask_both(&self, sample: &Sample, rules: &Rules) -> Result<Compared, LoginError> {
        let BySide { mut old, mut new } = self.take_both(sample).await?;
        let (on_old, on_new) =
            tokio::join!(old.ask_closely(&sample.request, rules), new.ask_closely(&sample.request, rules));
        let (on_old, on_new) = (on_old?, on_new?);
        self.askers.give_back(old);
        self.askers.give_back(new);
        Ok((BySide { old: on_old.0, new: on_new.0 }, BySide { old: on_old.1, new: on_new.1 }))
    }

    async fn ask_both_aligned(
        &self,
        sample: &Sample,
        rules: &Rules,
        limit: Duration,
    ) -> Result<Option<Compared>, LoginError> {
        // The connections first: the link holds still only while the transactions are opened.
        let mut askers = self.take_both(sample).await?;
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
        let BySide { mut old, mut new } = askers;
        let (on_old, on_new) =
            tokio::join!(ask_and_roll_back(&mut old, sample, rules), ask_and_roll_back(&mut new, sample, rules));
        let (on_old, on_new) = (on_old?, on_new?);
        self.askers.give_back(old);
        self.askers.give_back(new);
        Ok(Some((BySide { old: on_old.0, new: on_new.0 }, BySide { old: on_old.1, new: on_new.1 })))
    }
}

type Compared = (BySide<Answer>, BySide<Detail>);

async fn ask_and_roll_back(asker: &mut Asker, sample: &Sample, rules: &Rules) -> Result<(Answer, Detail), LoginError> {
    let answer = asker.ask_closely(&sample.request, rules).await?;
    asker.run("ROLLBACK").await?;
    Ok(answer)
}

/// What two answers at an aligned pair say.
fn judge(answers: &BySide<Answer>, details: &BySide<Detail>, judgement: &Judgement) -> Outcome {
    if Side::BOTH.into_iter().any(|side| is_circumstance(answers.get(side))) {
        return Outcome::Failed;
    }
    match details.old.compare(&details.new) {
        Difference::None if answers.old.matches(&answers.new, judgement.in_order) => Outcome::Raced,
        // Other bytes, the same meaning: that is what the first look has seen.
        Difference::None => Outcome::Matched,
        Difference::Open => Outcome::Inconclusive,
        Difference::Real { certain: false, .. } if judgement.open => Outcome::Inconclusive,
        Difference::Real { what, samples, .. } => {
            Outcome::Mismatched { old: details.old.summary(), new: details.new.summary(), what, samples }
        }
    }
}

/// An error that says something about the moment, not about the statement: a lost connection, no resources, a cancel or
/// time-out, a shutdown, a lock or serialization failure.
fn is_circumstance(answer: &Answer) -> bool {
    let Ending::Error(code) = answer.ending else { return false };
    ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class.as_bytes())) || &code == b"55P03"
}
