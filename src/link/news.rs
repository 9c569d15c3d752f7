//! What a cycle has found out that the analysis of statements has to know, told before the cycle's commits are acknowledged.

use std::time::Instant;

use futures_util::future::BoxFuture;

use super::Catalogs;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct News {
    /// Both schemas, as of the cycle's end on the secondary and its snapshot of the primary; `None`: they were not read.
    pub catalogs: Option<Catalogs>,
    /// Something was parked: tables have other sync states.
    pub parked: bool,
    /// Before the snapshot was taken.
    pub since: Instant,
    /// What [`Audience::mark`] said then.
    pub mark: u64,
    /// The number of the last statement that the catalogs know of; 0: none was run.
    pub statement: i64,
}

/// Who is told.
pub trait Audience: Send + Sync {
    /// The number of the last change of the schema that is known to be committed.
    fn mark(&self) -> u64;

    /// Waited for, briefly.
    fn tell(&self, news: News) -> BoxFuture<'static, ()>;
}
