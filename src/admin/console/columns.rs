//! The columns of each answer: fixed, so that a driver can ask for them before it runs anything.

use super::parse::{Command, Topic};
use crate::session::console::{Column, ColumnKind};

use ColumnKind::{Bool, Float, Int, Text};

type Columns = &'static [(&'static str, ColumnKind)];

const ITEMS: Columns = &[("item", Text), ("value", Text)];

fn of_topic(topic: Topic) -> Columns {
    match topic {
        Topic::Help => &[("command", Text), ("does", Text)],
        Topic::Phase => &[
            ("phase", Text),
            ("primary", Text),
            ("read_percent", Float),
            ("ack", Text),
            ("shadow_sample_percent", Float),
            ("epoch", Int),
        ],
        Topic::Link => &[
            ("state", Text),
            ("reason", Text),
            ("lag_entries", Int),
            ("lag_seconds", Float),
            ("captured", Int),
            ("applied", Int),
            ("superseded", Int),
            ("queued", Int),
            ("parked", Int),
            ("discarded", Int),
            ("uncaptured", Int),
        ],
        Topic::Reads => &[("side", Text), ("reason", Text), ("reads", Int)],
        Topic::Shadow => &[("outcome", Text), ("reads", Int)],
        Topic::Findings => {
            &[("fingerprint", Text), ("mismatched", Int), ("tables", Text), ("what", Text), ("statement", Text)]
        }
        Topic::Statements => &[
            ("fingerprint", Text),
            ("calls", Int),
            ("compared", Int),
            ("mismatched", Int),
            ("errors_old", Int),
            ("errors_new", Int),
            ("p50_ms_old", Float),
            ("p50_ms_new", Float),
            ("p99_ms_old", Float),
            ("p99_ms_new", Float),
            ("statement", Text),
        ],
        Topic::Clients => &[("clients", Int), ("max_connections", Int), ("consoles", Int)],
        Topic::Backends => &[
            ("side", Text),
            ("role", Text),
            ("host", Text),
            ("database", Text),
            ("reads", Int),
            ("errors", Int),
            ("answers", Bool),
        ],
        Topic::Instances => &[("listens_on", Text), ("address", Text), ("epoch", Int), ("pid", Int), ("since", Text)],
        Topic::Tables => &[("table", Text), ("mirrored", Bool), ("state", Text), ("since", Text), ("capture", Text)],
        Topic::Parked => &[
            ("id", Int),
            ("table", Text),
            ("op", Text),
            ("sqlstate", Text),
            ("error", Text),
            ("at", Text),
            ("discarded_by", Text),
        ],
        Topic::History => &[("epoch", Int), ("at", Text), ("by", Text), ("from", Text), ("to", Text), ("forced", Bool)],
        Topic::Doctor => &[
            ("severity", Text),
            ("section", Text),
            ("side", Text),
            ("object", Text),
            ("problem", Text),
            ("fix", Text),
            ("sql", Text),
        ],
        Topic::Config => &[("key", Text), ("value", Text)],
        Topic::Version => &[("version", Text)],
    }
}

pub fn of(command: &Command) -> Vec<Column> {
    let columns: Columns = match command {
        Command::Show(topic) => of_topic(*topic),
        Command::Check(_) => &[("gate", Text), ("holds", Bool), ("may_be_forced", Bool), ("evidence", Text)],
        Command::Route(_) => ITEMS,
        Command::One => &[("?column?", Int)],
        Command::Version => &[("version", Text)],
        Command::Set(_) | Command::Pause | Command::Resume | Command::Nothing(_) => &[],
    };
    columns.iter().map(|&(name, kind)| Column { name, kind }).collect()
}
