//! The kinds of statements that anybody downstream treats differently.

use std::ops::Range;

use super::name::Name;

/// What a statement does, as far as its tokens tell. Spans are bytes of the text that was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SELECT, VALUES, TABLE without locks, INTO or an inner write. Its functions may still write.
    Read,
    /// `FOR UPDATE`, `NO KEY UPDATE`, `SHARE` or `KEY SHARE`, at any depth.
    ReadLocking,
    /// SELECT ... INTO; its WITH clause may write besides.
    SelectInto {
        temporary: bool,
    },
    Insert,
    Update,
    Delete,
    Merge,
    /// A SELECT whose WITH clause writes.
    WithDml,
    Begin(Modes),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(Range<usize>),
    RollbackTo(Range<usize>),
    Release(Range<usize>),
    PrepareTransaction,
    CommitPrepared,
    RollbackPrepared,
    /// `name` is the setting (`TIME ZONE` and `NAMES` as they are written), `value` all that is assigned.
    Set {
        local: bool,
        name: Range<usize>,
        value: Range<usize>,
    },
    SetTransaction(Modes),
    SetSessionCharacteristics(Modes),
    SetRole {
        local: bool,
    },
    SetSessionAuthorization {
        local: bool,
    },
    SetConstraints,
    /// The setting, or ROLE, SESSION AUTHORIZATION, TIME ZONE, ...
    Reset(Range<usize>),
    ResetAll,
    Show(Range<usize>),
    DiscardAll,
    /// DISCARD PLANS, SEQUENCES or TEMP.
    Discard,
    /// The writes of the inner statement are the statement's.
    Prepare {
        name: Range<usize>,
        inner: Box<Kind>,
    },
    Execute(Range<usize>),
    /// `None`: ALL.
    Deallocate(Option<Range<usize>>),
    DeclareCursor {
        name: Range<usize>,
        hold: bool,
        inner: Box<Kind>,
    },
    Fetch,
    Move,
    /// `None`: ALL.
    Close(Option<Range<usize>>),
    CopyFrom(Box<Copy>),
    /// `inner` is [`Kind::Read`] where a table is copied.
    CopyTo {
        inner: Box<Kind>,
    },
    Truncate(Vec<Name>),
    /// CREATE TABLE ... AS, not temporary.
    CreateTableAs,
    /// CREATE TEMPORARY TABLE (AS too, whose WITH clause may write), VIEW or SEQUENCE.
    CreateTemp,
    Ddl,
    /// The writes of the inner statement are the statement's; they happen only with `analyze`.
    Explain {
        analyze: bool,
        inner: Box<Kind>,
    },
    Do,
    Call,
    Lock,
    Listen,
    Notify,
    Unlisten,
    /// VACUUM, ANALYZE, CLUSTER, CHECKPOINT, LOAD.
    Maintenance,
    /// Nothing but comments and semicolons.
    Empty,
    /// Not understood: it may write anything.
    Other,
}

/// The transaction modes of BEGIN, START TRANSACTION and SET TRANSACTION; `None` where the statement does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    pub isolation: Option<Isolation>,
    pub read_only: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED is the same in PostgreSQL.
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// COPY table FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub target: Name,
    /// Empty: all columns.
    pub columns: Vec<String>,
    /// From the client (STDIN), not from a file or program of the server.
    pub stdin: bool,
    /// What follows the source, WITH and WHERE included.
    pub options: Range<usize>,
}

impl Kind {
    /// Whether the statement may change tables by itself. [`Kind::Read`] may only through a function it calls.
    pub fn may_write(&self) -> bool {
        use Kind::*;
        match self {
            SelectInto { .. }
            | Insert
            | Update
            | Delete
            | Merge
            | WithDml
            | CommitPrepared
            | Execute(_)
            | CopyFrom(_) => true,
            Truncate(_) | CreateTableAs | CreateTemp | Ddl | Do | Call | Maintenance | Other => true,
            Explain { analyze, inner } => *analyze && inner.may_write(),
            CopyTo { inner } | DeclareCursor { inner, .. } => inner.may_write(),
            _ => false,
        }
    }

    /// A short word for metrics and logs.
    pub fn label(&self) -> &'static str {
        use Kind::*;
        match self {
            Read => "read",
            ReadLocking => "read_locking",
            SelectInto { .. } | CreateTableAs => "create_table_as",
            Insert => "insert",
            Update => "update",
            Delete => "delete",
            Merge => "merge",
            WithDml => "with_dml",
            Begin(_) | Commit { .. } | Rollback { .. } | Savepoint(_) | RollbackTo(_) | Release(_) => "transaction",
            PrepareTransaction | CommitPrepared | RollbackPrepared => "two_phase",
            Set { .. } | SetTransaction(_) | SetSessionCharacteristics(_) | SetRole { .. } => "set",
            SetSessionAuthorization { .. } | SetConstraints | Reset(_) | ResetAll => "set",
            Show(_) => "show",
            DiscardAll | Discard => "discard",
            Prepare { .. } | Deallocate(_) => "prepare",
            Execute(_) => "execute",
            DeclareCursor { .. } | Fetch | Move | Close(_) => "cursor",
            CopyFrom(_) => "copy_from",
            CopyTo { .. } => "copy_to",
            Truncate(_) => "truncate",
            CreateTemp => "create_temp",
            Ddl => "ddl",
            Explain { .. } => "explain",
            Do => "do",
            Call => "call",
            Lock => "lock",
            Listen | Notify | Unlisten => "notify",
            Maintenance => "maintenance",
            Empty => "empty",
            Other => "other",
        }
    }
}
