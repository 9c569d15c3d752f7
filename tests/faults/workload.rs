//! Clients that write in many ways, and know afterwards what must be there, what must not, and what may be either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::rig::Rig;
use super::seed::Dice;
use super::support::client::{block_on, try_connect};

const CLIENTS: u64 = 6;
const STRIDE: i64 = 1_000_000_000;
/// A client that hears nothing for so long gives its connection up.
const PATIENCE: Duration = Duration::from_secs(8);

pub const SCHEMA: &str = "
CREATE TABLE tickets (id bigint PRIMARY KEY, made timestamptz NOT NULL DEFAULT clock_timestamp(), note text);
CREATE TABLE events (client bigint NOT NULL, number bigint NOT NULL, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE totals (id bigint PRIMARY KEY, n bigint NOT NULL);
INSERT INTO totals SELECT i, 0 FROM generate_series(0, 40) i;";

/// What one client knows.
#[derive(Debug, Default)]
pub struct Known {
    present: BTreeSet<i64>,
    absent: BTreeSet<i64>,
    /// Each group is there as a whole or not at all.
    doubtful: Vec<Vec<i64>>,
    events: BTreeSet<i64>,
    doubtful_events: BTreeSet<i64>,
    increments: u64,
    doubtful_increments: u64,
}

/// What one unit of work was meant to leave.
#[derive(Default)]
struct Intent {
    inserted: Vec<i64>,
    /// Inserted, and rolled back to a savepoint.
    undone: Vec<i64>,
    deleted: Option<i64>,
    event: Option<i64>,
    increments: u64,
}

/// How far a unit of work came.
enum Reached {
    Committed,
    RolledBack,
    /// The commit was asked for, and no answer came.
    Unknown,
    /// It broke before a commit was asked for.
    Broken,
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinHandle<Vec<Known>>,
}

impl Load {
    pub fn start(port: u16, seed: u64, first: i64) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&done));
        let clients = std::thread::spawn(move || {
            block_on(async move {
                let start = |client: u64| {
                    let worker = Worker {
                        port,
                        client: client as i64,
                        next: client as i64 * STRIDE + first,
                        dice: Dice::new(seed ^ (client << 32)),
                        stop: Arc::clone(&stopped),
                        done: Arc::clone(&counted),
                        known: Known::default(),
                    };
                    tokio::spawn(worker.work())
                };
                let workers: Vec<_> = (1..=CLIENTS).map(start).collect();
                let mut known = Vec::new();
                for worker in workers {
                    known.push(worker.await.expect("a client"));
                }
                known
            })
        });
        Load { stop, done, clients }
    }

    /// Units of work that were acknowledged so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    pub fn finish(self) -> Vec<Known> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.join().expect("the clients")
    }
}

struct Worker {
    port: u16,
    client: i64,
    next: i64,
    dice: Dice,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    known: Known,
}

impl Worker {
    async fn work(mut self) -> Known {
        while !self.stop.load(Ordering::SeqCst) {
            let connection = tokio::time::timeout(PATIENCE, try_connect(self.port)).await;
            let Ok(Ok(connection)) = connection else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            while !self.stop.load(Ordering::SeqCst) && self.unit(&connection).await {
                // Faults are about moments, not about speed: the link is to keep up with this load on any machine.
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        }
        self.known
    }

    /// One unit of work; false: the connection is of no more use.
    async fn unit(&mut self, connection: &Client) -> bool {
        let mut intent = Intent::default();
        let kind = self.dice.throw(7);
        let mut asked = false;
        let reached = match tokio::time::timeout(PATIENCE, self.run(connection, kind, &mut intent, &mut asked)).await {
            Ok(Ok(true)) => Reached::Committed,
            Ok(Ok(false)) => Reached::RolledBack,
            _ if asked => Reached::Unknown,
            _ => Reached::Broken,
        };
        let goes_on = matches!(reached, Reached::Committed | Reached::RolledBack);
        if goes_on {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        self.known.book(intent, &reached);
        goes_on
    }

    fn ticket(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    /// Returns whether it was committed (else it was rolled back). `asked` is set before a commit may happen.
    async fn run(&mut self, db: &Client, kind: u64, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        match kind {
            0 => self.one_ticket(db, intent, asked).await,
            1 => self.a_transaction(db, intent, asked, true).await,
            2 => self.a_transaction(db, intent, asked, false).await,
            3 => self.a_savepoint(db, intent, asked).await,
            4 => self.an_event(db, intent, asked).await,
            5 => self.a_deletion(db, intent, asked).await,
            _ => self.many_rows(db, intent, asked).await,
        }
    }

    async fn one_ticket(&mut self, db: &Client, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        let id = self.ticket();
        intent.inserted.push(id);
        *asked = true;
        db.execute("INSERT INTO tickets (id) VALUES ($1)", &[&id]).await?;
        Ok(true)
    }

    async fn a_transaction(
        &mut self,
        db: &Client,
        intent: &mut Intent,
        asked: &mut bool,
        commit: bool,
    ) -> Result<bool, Error> {
        db.batch_execute("BEGIN").await?;
        for _ in 0..2 {
            let id = self.ticket();
            intent.inserted.push(id);
            db.execute("INSERT INTO tickets (id, note) VALUES ($1, md5(random()::text))", &[&id]).await?;
        }
        intent.increments = 1;
        db.execute("UPDATE totals SET n = n + 1 WHERE id = 0", &[]).await?;
        *asked = commit;
        db.batch_execute(if commit { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok(commit)
    }

    async fn a_savepoint(&mut self, db: &Client, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        let (kept, undone) = (self.ticket(), self.ticket());
        intent.inserted.push(kept);
        intent.undone.push(undone);
        db.batch_execute("BEGIN").await?;
        db.execute("INSERT INTO tickets (id) VALUES ($1)", &[&kept]).await?;
        db.batch_execute("SAVEPOINT s").await?;
        db.execute("INSERT INTO tickets (id) VALUES ($1)", &[&undone]).await?;
        db.batch_execute("ROLLBACK TO s").await?;
        *asked = true;
        db.batch_execute("COMMIT").await?;
        Ok(true)
    }

    async fn an_event(&mut self, db: &Client, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        let number = self.ticket();
        intent.event = Some(number);
        *asked = true;
        db.execute("INSERT INTO events (client, number) VALUES ($1, $2)", &[&self.client, &number]).await?;
        Ok(true)
    }

    async fn a_deletion(&mut self, db: &Client, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        let Some(&id) = self.known.present.first() else { return self.one_ticket(db, intent, asked).await };
        intent.deleted = Some(id);
        *asked = true;
        db.execute("DELETE FROM tickets WHERE id = $1", &[&id]).await?;
        Ok(true)
    }

    /// More rows than one chunk of the link, in one statement of the simple protocol.
    async fn many_rows(&mut self, db: &Client, intent: &mut Intent, asked: &mut bool) -> Result<bool, Error> {
        let first = self.next + 1;
        self.next += 60;
        intent.inserted.extend(first..=self.next);
        *asked = true;
        let last = self.next;
        db.batch_execute(&format!("INSERT INTO tickets (id) SELECT generate_series({first}::bigint, {last})")).await?;
        Ok(true)
    }
}

impl Known {
    fn book(&mut self, intent: Intent, reached: &Reached) {
        self.absent.extend(intent.undone);
        match reached {
            Reached::Committed => {
                self.present.extend(intent.inserted);
                self.events.extend(intent.event);
                self.increments += intent.increments;
                if let Some(id) = intent.deleted {
                    self.present.remove(&id);
                    self.absent.insert(id);
                }
            }
            Reached::RolledBack | Reached::Broken => self.absent.extend(intent.inserted),
            Reached::Unknown => {
                self.doubtful.push(intent.inserted);
                self.doubtful_events.extend(intent.event);
                self.doubtful_increments += intent.increments;
                if let Some(id) = intent.deleted {
                    self.present.remove(&id);
                }
            }
        }
    }

    fn check_tickets(&self, there: &BTreeSet<i64>) {
        let missing: Vec<_> = self.present.difference(there).collect();
        assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
        let wrong: Vec<_> = self.absent.intersection(there).collect();
        assert!(wrong.is_empty(), "rolled back, deleted or never committed, and there: {wrong:?}");
        for group in &self.doubtful {
            let found = group.iter().filter(|id| there.contains(id)).count();
            assert!(found == 0 || found == group.len(), "{found} of one transaction's tickets {group:?} are there");
        }
    }

    fn check_events(&self, there: &BTreeMap<i64, u64>) {
        for number in &self.events {
            assert_eq!(there.get(number), Some(&1), "event {number} was acknowledged once");
        }
        for (number, count) in there {
            let known = self.events.contains(number) || self.doubtful_events.contains(number);
            assert!(known && *count == 1, "event {number} is there {count} times, known: {known}");
        }
    }
}

/// Everything that the clients know holds on both servers, which are equal. `before` is the total at the load's start.
pub fn verify(rig: &Rig, known: &[Known], before: u64) {
    rig.duo.expect_equal();
    for (client, known) in (1i64..).zip(known) {
        let own = format!("BETWEEN {} AND {}", client * STRIDE, (client + 1) * STRIDE - 1);
        let ids = rig.duo.on_both(&format!("SELECT id FROM tickets WHERE id {own} ORDER BY id"));
        known.check_tickets(&ids.lines().map(|id| id.parse().expect("a ticket")).collect());
        let first = known.events.iter().chain(&known.doubtful_events).min().copied().unwrap_or(i64::MAX);
        let events = rig.duo.on_both(&format!(
            "SELECT number, count(*) FROM events WHERE client = {client} AND number >= {first} GROUP BY number ORDER BY number"
        ));
        known.check_events(&events.lines().map(event).collect());
    }
    let counted = total(rig) - before;
    let sure: u64 = known.iter().map(|k| k.increments).sum();
    let doubtful: u64 = known.iter().map(|k| k.doubtful_increments).sum();
    assert!((sure..=sure + doubtful).contains(&counted), "counted {counted}, acknowledged {sure}, doubtful {doubtful}");
}

fn event(line: &str) -> (i64, u64) {
    let (number, count) = line.split_once('|').expect("two columns");
    (number.parse().expect("a number"), count.parse().expect("a count"))
}

/// The shared counter.
pub fn total(rig: &Rig) -> u64 {
    rig.duo.old.sql("app", "SELECT n FROM totals WHERE id = 0").expect("the total").parse().expect("a number")
}
