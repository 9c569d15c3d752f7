//! The SQL console: what an operator says to the database `pgduet`, understood, and carried out by the runbook.
//!
//! Sessions run on the workers' threads and may not know the control plane. So a statement goes through a bounded channel to a task on
//! the control plane's own thread, and its answer comes back by a channel of its own: a console that asks for much slows other consoles, never a
//! client.

mod columns;
mod parse;
mod rows;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::runbook::{Conductor, Gate, PolicyPatch, Refused, RouteReport, Trouble};
use crate::session::console::{Cell, Column, Console, Notice, Reply, Rows};
use parse::Command;

/// Orders that may wait; a console has one at a time.
const QUEUE: usize = 32;

type Answer = Result<Reply, Box<Notice>>;

struct Order {
    command: Command,
    by: String,
    answer: oneshot::Sender<Answer>,
}

/// What sessions hold of it.
struct Desk {
    orders: mpsc::Sender<Order>,
}

/// Opens the console. The task that answers must be spawned on the control plane's runtime; it ends with the last session.
pub fn open(conductor: Arc<Conductor>) -> (Arc<dyn Console>, impl Future<Output = ()>) {
    let (orders, mut waiting) = mpsc::channel::<Order>(QUEUE);
    let serve = async move {
        while let Some(order) = waiting.recv().await {
            let conductor = Arc::clone(&conductor);
            // Each by itself: a change of phase may take a minute, and SHOW must not wait for it. Nor is it broken off by a client that leaves.
            tokio::spawn(async move {
                let answer = carry_out(&conductor, order.command, &order.by).await;
                let _ = order.answer.send(answer);
            });
        }
    };
    (Arc::new(Desk { orders }), serve)
}

impl Console for Desk {
    fn columns(&self, sql: &str) -> Result<Vec<Column>, Box<Notice>> {
        match parse::split(sql).first() {
            Some(sql) => parse::parse(sql).map(|command| columns::of(&command)),
            None => Ok(vec![]),
        }
    }

    fn run(&self, sql: String, by: String) -> BoxFuture<'static, Answer> {
        let orders = self.orders.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let order = Order { command: parse::parse(&sql)?, by, answer };
            let gone = || Box::new(Notice::error("57P01", "the console is closing"));
            orders.send(order).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }

    fn split(&self, sql: &str) -> Vec<String> {
        parse::split(sql)
    }
}

async fn carry_out(conductor: &Conductor, command: Command, by: &str) -> Answer {
    let columns = columns::of(&command);
    let table = |tag, rows| Ok(Reply { tag, rows: Some(Rows { columns, rows }) });
    match command {
        Command::Show(topic) => table("SHOW", rows::rows(conductor, topic).await.map_err(|e| trouble(&e))?),
        Command::Set(patch) => set(conductor, *patch, by).await,
        Command::Check(patch) => table("EXPLAIN", check(conductor, *patch, by).await?),
        Command::Route(sql) => table("EXPLAIN", route(&conductor.route(&sql, ""))),
        Command::Pause => conductor.link.pause().await.map(|()| Reply::done("PAUSE")).map_err(|e| trouble(&e.into())),
        Command::Resume => {
            conductor.link.resume().await.map(|()| Reply::done("RESUME")).map_err(|e| trouble(&e.into()))
        }
        Command::Nothing(tag) => Ok(Reply::done(tag)),
        Command::One => table("SELECT", vec![vec![Cell::Int(1)]]),
        Command::Version => table("SELECT", vec![vec![rows::version().into()]]),
    }
}

async fn set(conductor: &Conductor, patch: PolicyPatch, by: &str) -> Answer {
    let patch = PolicyPatch { by: Some(by.to_owned()), ..patch };
    conductor.patch(&patch).await.map(|_| Reply::done("SET")).map_err(|refused| refusal(&refused))
}

/// A dry run answers with its gates whether they hold or not.
async fn check(conductor: &Conductor, patch: PolicyPatch, by: &str) -> Result<Vec<Vec<Cell>>, Box<Notice>> {
    let patch = PolicyPatch { by: Some(by.to_owned()), ..patch };
    let gates = match conductor.patch(&patch).await {
        Ok(view) => view.gates.unwrap_or_default(),
        Err(Refused::Gates(gates)) => gates,
        Err(refused) => return Err(refusal(&refused)),
    };
    let line = |gate: &Gate| -> Vec<Cell> {
        vec![gate.name.into(), gate.holds.into(), gate.may_be_forced.into(), in_words(&gate.evidence).into()]
    };
    Ok(gates.iter().map(line).collect())
}

fn route(report: &RouteReport) -> Vec<Vec<Cell>> {
    let fields = serde_json::json!(report);
    let line = |(name, value): (&String, &Value)| -> Vec<Cell> { vec![name.as_str().into(), in_words(value).into()] };
    fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(line).collect()
}

/// Evidence as a line of text.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, v)| !v.is_null() && v.as_str() != Some(""));
            said.map(|(name, v)| format!("{}: {}", name.replace('_', " "), in_words(v))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn refusal(refused: &Refused) -> Box<Notice> {
    match refused {
        Refused::Gates(gates) => Box::new(gates_failed(gates)),
        Refused::StillRunning(_) => Box::new(Notice::error("55000", refused.to_string()).hint(
            "End these transactions, or wait: SHOW CLIENTS, and pg_stat_activity on the primary, show who they are.",
        )),
        Refused::Behind(_) => Box::new(Notice::error("55000", refused.to_string()).hint(
            "SHOW INSTANCES says where each is. One that hangs follows as soon as it can; one that is stopped is not waited for.",
        )),
        Refused::Conflict => Box::new(
            Notice::error("40001", refused.to_string())
                .hint("SHOW PHASE and SHOW HISTORY say what it is now, and by whom."),
        ),
        Refused::Trouble(error) => trouble(error),
        other => Box::new(Notice::error("22023", other.to_string())),
    }
}

fn gates_failed(gates: &[Gate]) -> Notice {
    let failed: Vec<&Gate> = gates.iter().filter(|gate| !gate.holds).collect();
    let names: Vec<&str> = failed.iter().map(|gate| gate.name).collect();
    let evidence: Vec<String> = failed.iter().map(|g| format!("{}: {}.", g.name, in_words(&g.evidence))).collect();
    let hint = match failed.iter().all(|gate| gate.may_be_forced) {
        true => "Remove the cause, or repeat the command with FORCE at its end, which is recorded.",
        false => "Remove the cause; not all of these gates may be overridden.",
    };
    Notice::error("55000", format!("a gate does not hold: {}", names.join(", "))).detail(evidence.join("\n")).hint(hint)
}

fn trouble(error: &Trouble) -> Box<Notice> {
    Box::new(Notice::error("58000", error.to_string()).hint("SHOW LINK and SHOW BACKENDS say what answers."))
}
