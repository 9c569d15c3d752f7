//! Where a statement would go now, and why: the sessions' own decision, asked for a client that need not exist.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Conductor;
use crate::routing::{
    self, Action, Names, Percent, Policy, Share, Situation, Traits, Transaction, Verdicts, Who, Why, bucket,
};
use crate::side::Side;
use crate::sql::{KeyValue, Statement, scan};

/// Who asks what. All but the statement may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteQuestion {
    pub sql: String,
    /// As the setting `pgduet.key` would have it; a key in the statement goes first.
    pub key: String,
    pub user: String,
    pub application: String,
    pub address: Option<IpAddr>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct RouteReport {
    pub kind: String,
    pub side: Side,
    pub reason: String,
    pub key: String,
    pub bucket: u16,
    pub read_percent: Percent,
    /// The segment that the client is in.
    pub segment: Option<String>,
    pub fingerprint: String,
    pub statement: String,
}

impl Conductor {
    /// Explains a statement as a session without a transaction would send it, with `key` for its routing key.
    pub fn route(&self, sql: &str, key: &str) -> RouteReport {
        self.route_for(&RouteQuestion { sql: sql.to_owned(), key: key.to_owned(), ..RouteQuestion::default() })
    }

    /// The same for a certain client.
    pub fn route_for(&self, question: &RouteQuestion) -> RouteReport {
        let policy = self.policy();
        let text = question.sql.as_bytes();
        let script = scan(text);
        let statement = script.statements.first();
        let action = statement.map_or(Action::Neutral, |s| {
            routing::resolve(s, text, &policy, &Names::default(), &mut Verdicts::default())
        });
        let key = key_of(statement, &action, &question.key);
        let who = Who {
            user: &question.user,
            application: &question.application,
            address: question.address,
            key: Some(key.as_str()).filter(|key| !key.is_empty()),
        };
        let segment = routing::segment(&policy.rules, &who);
        let (kind, side, reason) = match &action {
            Action::Read(movable) => {
                let situation = self.situation(statement, movable.as_deref(), &key, segment.map(|(_, share)| share));
                let choice = routing::choose(&policy, movable.as_ref().map(|_| ()).map_err(|why| *why), &situation);
                ("read", choice.side, choice.why.as_str().to_owned())
            }
            other => elsewhere(other, &policy),
        };
        RouteReport {
            kind: kind.to_owned(),
            side,
            reason,
            bucket: bucket(&key),
            key,
            read_percent: policy.read_percent,
            segment: segment.map(|(segment, _)| segment.name.clone()),
            fingerprint: statement.map(|s| s.fingerprint.to_string()).unwrap_or_default(),
            statement: crate::sql::normalised(text),
        }
    }

    fn situation(
        &self,
        statement: Option<&Statement>,
        movable: Result<&Traits, &Why>,
        key: &str,
        share: Option<Share>,
    ) -> Situation {
        Situation {
            transaction: Transaction::None,
            answers_under_way: false,
            pinned: None,
            fresh: true,
            link_up: self.context.ledger.state().carries() && self.context.withdrawal.reason().is_none(),
            bucket: bucket(key),
            forced: statement.and_then(|s| s.hints.route),
            pin: movable.ok().and_then(|traits| traits.pin),
            share,
        }
    }
}

/// The statement's tag, the value of a key column in it, or what was given.
fn key_of(statement: Option<&Statement>, action: &Action, given: &str) -> String {
    let column = match action {
        Action::Read(Ok(traits)) => traits.column.as_ref().and_then(|column| match &column.value {
            KeyValue::Literal(text) => Some(routing::key::from_text(text, column.type_oid)),
            KeyValue::Parameter(_) => None,
        }),
        _ => None,
    };
    let tag = statement.and_then(|s| s.hints.key.clone());
    let given = (!given.is_empty()).then(|| given.to_owned());
    tag.or(given).or(column).unwrap_or_default()
}

fn elsewhere(action: &Action, policy: &Policy) -> (&'static str, Side, String) {
    let (kind, reason) = match action {
        Action::Capture { .. } => ("write", "captured by RETURNING".to_owned()),
        Action::Touching(how) if policy.phase.captures() => ("write", (*how).to_owned()),
        Action::Opaque(how) if policy.phase.captures() => {
            ("write", format!("captured by the server's counters: {}", how.reason()))
        }
        Action::Uncaptured(reason) if policy.phase.captures() => ("write", format!("not captured: {reason}")),
        _ => ("other", "primary only".to_owned()),
    };
    (kind, policy.primary(), reason)
}
