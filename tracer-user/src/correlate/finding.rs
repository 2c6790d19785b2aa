//! What the engine concludes: findings, with the facts that they rest on.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    event::{Carrier, Primitive, Site, Slot, Stack, TargetId},
    ledger::Party,
    life::Life,
    value::Value,
};
use crate::wire::secret::Fingerprint;

/// Kinds of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A worker read a value that is neither its item's own nor the hop value.
    Bleed,
    /// An item left a bind in its worker's base scope.
    Squat,
    /// A worker read nothing although the hop value was bound.
    BlackHoleRead,
    /// An item's bind did not come back to the scope that submitted it.
    BlackHoleReturn,
    /// A task was minted after its request's last identity read found nothing.
    UnattributedTask,
    /// A task was minted after its request's last identity read was foreign.
    MisattributedTask,
    /// A task was shown to a principal other than the one that got its handle.
    ForeignPoll,
    /// The principal that got a task's handle was told that there is no such task.
    OwnerRefused,
    /// A digest that a worker pinned was missing where it is verified.
    DriftBlindness,
    /// A policy was evaluated for nobody, inside a request.
    EmptyCheck,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Should be mended.
    Warning,
    /// Identities are mixed up or missing where they decide.
    Critical,
}

/// How sure the finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// Everything that it says was compared.
    Confirmed,
    /// Part of it could not be compared.
    Suspected,
}

/// Where the evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Read from memory.
    Observed,
    /// Announced by the program.
    Claimed,
    /// Concluded.
    Inferred,
}

/// Where a bled value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// An earlier item's bind.
    Residue,
    /// The worker was started inside another request, and its base scope is a copy of that one's.
    Inherited,
    /// Bound before the worker's first take.
    Initializer,
    /// It was there when the agent attached.
    BeforeAttach,
    /// A task carries it that was created inside a request that is over.
    Task,
}

macro_rules! names {
    ($type:ty { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in output, metrics, documentation and alerts.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}
pub(crate) use names;

names!(Kind {
    Bleed => "bleed",
    Squat => "squat",
    BlackHoleRead => "black_hole_read",
    BlackHoleReturn => "black_hole_return",
    UnattributedTask => "unattributed_task",
    MisattributedTask => "misattributed_task",
    ForeignPoll => "foreign_poll",
    OwnerRefused => "owner_refused",
    DriftBlindness => "drift_blindness",
    EmptyCheck => "empty_check",
});
names!(Severity { Warning => "warning", Critical => "critical" });
names!(Confidence { Confirmed => "confirmed", Suspected => "suspected" });
names!(Evidence { Observed => "observed", Claimed => "claimed", Inferred => "inferred" });
names!(Source {
    Residue => "residue",
    Inherited => "inherited",
    Initializer => "initializer",
    BeforeAttach => "before_attach",
    Task => "task",
});

impl Kind {
    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Bleed
            | Self::UnattributedTask
            | Self::MisattributedTask
            | Self::ForeignPoll
            | Self::EmptyCheck => Severity::Critical,
            Self::Squat
            | Self::BlackHoleRead
            | Self::BlackHoleReturn
            | Self::OwnerRefused
            | Self::DriftBlindness => Severity::Warning,
        }
    }
}

/// The handoff that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// How.
    pub primitive: Primitive,
    /// Where.
    pub site: Option<Site>,
    /// Who handed over.
    pub submitter: Carrier,
    /// Nanoseconds from the submit to the take; unknown while it was not taken.
    pub wait: Option<u64>,
}

/// The bind that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where.
    pub site: Option<Site>,
    /// Who.
    pub carrier: Carrier,
    /// Number of the item that bound, in its target; none for an initialiser.
    pub item: Option<u64>,
    /// Nanoseconds from the bind to the finding.
    pub age: u64,
}

/// The read that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub site: Option<Site>,
    /// The whole stack.
    pub stack: Arc<Stack>,
}

/// The asyncio task that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// Where it was created.
    pub site: Option<Site>,
    /// Nanoseconds from then to the finding; none if that was not seen.
    pub age: Option<u64>,
    /// Nanoseconds from the end of the request whose identity it carries to the finding.
    pub over: u64,
    /// Where the request that it works for said whom it is for.
    pub works_for: Option<Site>,
}

/// The mint that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// Where.
    pub site: Option<Site>,
    /// What the program announced: the task's id.
    pub announced: Option<Value>,
    /// The handle, if it was seen.
    pub handle: Option<Fingerprint>,
}

/// The poll that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The task's handle.
    pub handle: Fingerprint,
    /// Who got it.
    pub owner: Party,
    /// Who asked for it.
    pub poller: Party,
    /// How the task came about, if that was seen.
    pub life: Option<Arc<Life>>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Number in its run, from 1.
    pub number: u64,
    /// What.
    pub kind: Kind,
    /// How sure.
    pub confidence: Confidence,
    /// From what.
    pub evidence: Evidence,
    /// Nanoseconds of the monotonic clock: of the read, the dequeue attempt or the mint.
    pub time: u64,
    /// The process.
    pub target: TargetId,
    /// The carrier that read, left the bind, or minted.
    pub carrier: Carrier,
    /// The variable; none if it takes none to see it.
    pub slot: Option<Slot>,
    /// Its name; empty if there is none.
    pub slot_name: Arc<str>,
    /// The item's number in its target; none outside items.
    pub item: Option<u64>,
    /// What should have been found.
    pub expected: Option<Value>,
    /// What was found, or left.
    pub found: Option<Value>,
    /// Of a bleed: where the value comes from.
    pub source: Option<Source>,
    /// The handoff.
    pub hop: Option<Hop>,
    /// The task that read.
    pub spawn: Option<Box<Spawn>>,
    /// The bind.
    pub bind: Option<Bind>,
    /// The read.
    pub read: Option<Read>,
    /// The mint.
    pub mint: Option<Mint>,
    /// The policy check: its function.
    pub policy: Option<Site>,
    /// The poll.
    pub poll: Option<Box<Poll>>,
    /// No event was lost between the first evidence and the last, nor in the second before.
    pub window_complete: bool,
}

impl Finding {
    /// The places that it names.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        let life = self.poll.as_ref().and_then(|poll| poll.life.as_ref());
        [
            self.hop.as_ref().and_then(|hop| hop.site.as_ref()),
            self.spawn.as_ref().and_then(|spawn| spawn.site.as_ref()),
            self.bind.as_ref().and_then(|bind| bind.site.as_ref()),
            self.read.as_ref().and_then(|read| read.site.as_ref()),
            self.mint.as_ref().and_then(|mint| mint.site.as_ref()),
            self.policy.as_ref(),
            life.and_then(|life| life.mint.as_ref()),
        ]
        .into_iter()
        .flatten()
    }
}
