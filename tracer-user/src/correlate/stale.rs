//! What is said of a task's read of an identity: its own, another request's that is over, or not known whose.

use super::{
    event::Site,
    finding::Confidence,
    lineage::{Binding, Created},
    value::Value,
};

/// A read of an identity by a task that works for another request than the one that bound it, which is over.
#[derive(Debug)]
pub(super) struct Stale {
    /// The request that it works for.
    pub(super) request: u64,
    /// What that one bound.
    pub(super) expected: Value,
    pub(super) confidence: Confidence,
    /// The bind that it goes back to.
    pub(super) bind: Binding,
    pub(super) created: Option<Created>,
    /// When the request ended that bound it.
    pub(super) over: u64,
    /// Where the request that it works for bound its own.
    pub(super) works_for: Option<Site>,
}

/// Whose a read is.
#[derive(Debug)]
pub(super) enum Whose {
    /// Nothing speaks against the task's own request.
    Own,
    /// Somebody else's.
    Stale(Box<Stale>),
    /// The task works for another request, and whose identity it carries is not known.
    Unknown,
}
