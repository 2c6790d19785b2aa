//! Where the engine's conclusions go: facts, with findings numbered in the order in which they are let out.

use std::sync::Arc;

use super::{
    event::{Carrier, Slot, TargetId},
    fact::{Fact, FactKind},
    finding::{Confidence, Evidence, Finding, Hop, Kind},
    hop::Submitted,
    slots::Slots,
};

/// The event that is being looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) time: u64,
    /// Its number in its target.
    pub(super) seq: u64,
    pub(super) carrier: Carrier,
}

/// Takes facts about one target.
pub(super) struct Out<'a> {
    pub(super) target: TargetId,
    pub(super) facts: &'a mut Vec<Fact>,
    /// Number of the last finding of the run.
    pub(super) findings: &'a mut u64,
    /// Whether it is told what happens at each site.
    pub(super) inventory: bool,
}

impl Out<'_> {
    pub(super) fn say(&mut self, mut what: FactKind) {
        if let FactKind::Finding(finding) = &mut what {
            *self.findings += 1;
            finding.number = *self.findings;
        }
        self.facts.push(Fact {
            target: self.target,
            what,
        });
    }
}

/// What a finding needs to know about its target.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) target: TargetId,
    pub(super) slots: &'a Slots,
    /// The last loss of events.
    pub(super) last_gap: Option<Loss>,
}

/// A loss of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Number of the event that tells it.
    pub(super) seq: u64,
    pub(super) time: u64,
}

/// Nanoseconds before its first evidence in which a loss makes a finding's window incomplete.
const AROUND: u64 = 1_000_000_000;

impl Scene<'_> {
    /// A finding whose first evidence is the event `since`; its number is given when it is let out.
    pub(super) fn finding(&self, kind: Kind, now: Now, slot: Slot, since: u64) -> Finding {
        Finding {
            slot: Some(slot),
            slot_name: self.slots.name(slot),
            ..self.finding_of_none(kind, now, since)
        }
    }

    /// The same, about no variable.
    pub(super) fn finding_of_none(&self, kind: Kind, now: Now, since: u64) -> Finding {
        Finding {
            number: 0,
            kind,
            confidence: Confidence::Confirmed,
            evidence: Evidence::Observed,
            time: now.time,
            target: self.target,
            carrier: now.carrier,
            slot: None,
            slot_name: Arc::from(""),
            item: None,
            expected: None,
            found: None,
            source: None,
            hop: None,
            spawn: None,
            bind: None,
            read: None,
            mint: None,
            poll: None,
            window_complete: self
                .last_gap
                .is_none_or(|gap| gap.seq < since && now.time.saturating_sub(gap.time) > AROUND),
        }
    }
}

/// The handoff as a finding tells it.
pub(super) fn told(hop: &Submitted, taken: Option<u64>) -> Hop {
    Hop {
        primitive: hop.primitive,
        site: hop.site.clone(),
        submitter: hop.submitter,
        wait: taken.map(|t| t.saturating_sub(hop.time)),
    }
}
