//! A handoff as its submitter made it, and the identity that the work should run under (rule 5).

use super::{
    carrier::BindRecord,
    event::{Brings, Carrier, Primitive, QueueKey, Scope, Site, Slot},
    finding::Source,
    request::RequestId,
    value::Value,
};

/// How many submitters up the line a hop value is looked for.
pub(super) const ANCESTORS: u8 = 8;

/// The generation of a scope that nothing can be known to come back to.
pub(super) const NO_HOME: u64 = 0;

/// What a slot held for the submitter.
#[derive(Clone, Debug)]
pub(super) enum HopValue {
    Bound(Value),
    None,
    Unknown,
}

/// A hop value and how many submitters up the line it comes from.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) value: HopValue,
    pub(super) depth: u8,
}

/// A scope that events can be keyed by: a carrier that has no context yet is a scope of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ScopeKey {
    scope: u64,
    carrier: u32,
}

impl ScopeKey {
    pub(super) const fn new(scope: Scope, carrier: Carrier) -> Self {
        Self {
            scope: scope.0,
            carrier: if scope.0 == 0 { carrier.0 } else { 0 },
        }
    }
}

/// A foreign value that the submitter itself carried.
#[derive(Clone, Debug)]
pub(super) struct Residue {
    pub(super) value: Value,
    pub(super) source: Source,
    pub(super) bind: Option<BindRecord>,
}

#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub(super) primitive: Primitive,
    pub(super) brings: Brings,
    pub(super) site: Option<Site>,
    pub(super) submitter: Carrier,
    /// The item in which the submitter was.
    pub(super) within: Option<u64>,
    pub(super) queue: QueueKey,
    pub(super) scope: ScopeKey,
    /// Which of the scopes that lived at its address.
    pub(super) generation: u64,
    pub(super) time: u64,
    pub(super) seq: u64,
    /// Per slot that was known then.
    pub(super) values: Vec<Handed>,
    /// Of slots that were not known yet: nothing if the target was seen from its start, else unknown.
    pub(super) later_slots: HopValue,
    /// Per slot.
    pub(super) residue: Vec<Option<Residue>>,
    /// The request that the submitter worked for.
    pub(super) request: Option<RequestId>,
}

impl Submitted {
    pub(super) fn value(&self, slot: Slot) -> &HopValue {
        self.values
            .get(usize::from(slot.0))
            .map_or(&self.later_slots, |handed| &handed.value)
    }

    /// What turned out later to have been handed over.
    pub(super) fn set(&mut self, slot: Slot, value: HopValue) {
        let at = usize::from(slot.0);
        while self.values.len() <= at {
            self.values.push(Handed {
                value: self.later_slots.clone(),
                depth: 0,
            });
        }
        self.values[at] = Handed { value, depth: 0 };
    }

    pub(super) fn depth(&self, slot: Slot) -> u8 {
        self.values
            .get(usize::from(slot.0))
            .map_or(0, |handed| handed.depth)
    }

    pub(super) fn residue(&self, slot: Slot) -> Option<&Residue> {
        self.residue.get(usize::from(slot.0))?.as_ref()
    }
}
