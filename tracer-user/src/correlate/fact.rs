//! What the engine lets out: findings, and the counts that give them a denominator.

use super::{
    event::{Primitive, Site, Slot, TargetId},
    finding::{Finding, names},
    ledger::PollOutcome,
    life::Life,
};
use crate::wire::reason::Reason;

/// How a read was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadResult {
    /// The reader's own identity.
    Own,
    /// Somebody else's.
    Foreign,
    /// Nothing.
    Empty,
    /// The memory could not be read.
    Unreadable,
    /// It cannot be judged.
    Unjudged,
}

/// Where a bind was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Outside items: on a loop, a main thread.
    Request,
    /// In an item, in its worker's base scope.
    WorkerBase,
    /// In an item, in an entered scope.
    WorkerEntered,
}

/// What a worker carried when it took an item; of several slots the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carried {
    /// Somebody else's identity.
    Foreign,
    /// The identity of the request that started the thread.
    Inherited,
    /// The hop value.
    Own,
    /// Nothing.
    None,
    /// Whatever the item brought along.
    Copied,
}

/// Whose a minted task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribution {
    /// Its request's own.
    Attributed,
    /// Nobody's.
    Unattributed,
    /// Somebody else's.
    Misattributed,
    /// No identity was read.
    Unknown,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Heard {
    /// It was understood.
    Understood,
    /// It was not.
    Malformed,
}

/// Tables of bounded size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Items that were submitted and not taken.
    Submits,
    /// Carriers.
    Carriers,
    /// Scopes that wait for a bind to come back.
    Returns,
    /// Requests.
    Requests,
    /// Streams whose bytes are read.
    Streams,
    /// Requests of the wire that wait for their response.
    OpenRequests,
    /// Tasks.
    Tasks,
    /// Scopes of asyncio tasks.
    Scopes,
}

names!(ReadResult { Own => "own", Foreign => "foreign", Empty => "empty", Unreadable => "unreadable", Unjudged => "unjudged" });
names!(Place { Request => "request", WorkerBase => "worker_base", WorkerEntered => "worker_entered" });
names!(Carried { Foreign => "foreign", Inherited => "inherited", Own => "own", None => "none", Copied => "copied" });
names!(Attribution {
    Attributed => "attributed",
    Unattributed => "unattributed",
    Misattributed => "misattributed",
    Unknown => "unknown",
});
names!(Heard { Understood => "understood", Malformed => "malformed" });
names!(Table { Submits => "submits", Carriers => "carriers", Returns => "returns", Requests => "requests",
    Streams => "streams", OpenRequests => "open_requests", Tasks => "tasks",
    Scopes => "scopes" });

/// One fact about one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The process.
    pub target: TargetId,
    /// What is so.
    pub what: FactKind,
}

/// What is so.
#[derive(Clone, Debug, PartialEq)]
pub enum FactKind {
    /// A finding.
    Finding(Box<Finding>),
    /// A watched variable is in use.
    SlotSeen(Slot),
    /// An item ended of which it could be told whose this variable is.
    Judged(Slot),
    /// So many reads were judged alike.
    Read(Slot, ReadResult, u64),
    /// A bind was made.
    Bind(Slot, Place),
    /// A handoff's two ends were paired: it is coverage.
    Handoff(Primitive, Carried),
    /// An object that is not work went through a queue.
    Data,
    /// Nanoseconds from a submit to its take.
    Wait(u64),
    /// Nanoseconds that an item ran.
    Busy(u64),
    /// Nanoseconds from a bind to a foreign read of it.
    BleedAge(u64),
    /// A task was minted.
    Mint(Attribution),
    /// The program announced something.
    Announced(Heard),
    /// A task was polled.
    Poll(PollOutcome),
    /// Something that began like a message came in or went out: told once.
    Heard,
    /// Bytes of the wire gave no facts.
    Unparsed(Reason),
    /// Pool workers whose base scope holds an identity, from now on.
    Squatting(u64),
    /// Entries of a table, from now on.
    Entries(Table, u64),
    /// Entries of a table were dropped to stay within its bound.
    Evicted(Table, u64),
    /// Events were lost.
    Gap(u64),
    /// Of an inventory: what happened to what was handed over at a site.
    Hop(Box<HopFact>),
    /// Of an inventory: what happened to a task.
    Life(Box<LifeFact>),
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeFact {
    /// How it came about.
    pub life: Life,
    /// What.
    pub what: LifeWhat,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeWhat {
    /// It was minted.
    Minted,
    /// Somebody asked for it.
    Polled(PollOutcome),
}

/// Something that happened to what was handed over at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopFact {
    /// How it was handed over; `unknown` if that was not seen.
    pub primitive: Primitive,
    /// Where; none if that was not seen.
    pub site: Option<Site>,
    /// What.
    pub what: HopWhat,
}

/// What happened to what was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopWhat {
    /// A worker took it, or a thread began with it.
    Taken(Carried),
    /// It read a slot.
    Read(Slot, ReadResult),
    /// It bound a slot.
    Bound(Slot, Place),
    /// It is no work.
    Data,
}
