//! `bleed`: a worker reads a value that is neither its item's own nor the hop value, or a task one of a request that is over.

use super::{
    carrier::{BindRecord, CarrierState},
    event::Slot,
    finding::{Bind, Confidence, Finding, Kind, Read, Source, Spawn},
    hop::Residue,
    item::Item,
    reporter::{Now, Scene, told},
    request::IdentityRead,
    stale::Stale,
    value::Value,
};

/// A foreign read, as it was judged.
pub(super) struct ForeignRead {
    pub(super) slot: Slot,
    pub(super) found: Value,
    pub(super) expected: Option<Value>,
    pub(super) confidence: Confidence,
    /// The residue that the item's submitter carried, if the value came along from there.
    pub(super) from: Option<Box<Residue>>,
    pub(super) read: Read,
}

/// The finding, and the bind that it goes back to.
pub(super) fn report(
    scene: Scene<'_>,
    carrier: &CarrierState,
    item: &Item,
    now: Now,
    foreign: ForeignRead,
) -> (Finding, Option<BindRecord>) {
    let (source, bind) = match foreign.from {
        Some(residue) => (residue.source, residue.bind),
        None => carrier.origin(foreign.slot, &foreign.found, item.number),
    };
    let submitted = item.hop.as_ref().map_or(now.seq, |hop| hop.seq);
    let since = bind.as_ref().map_or(submitted, |b| b.seq.min(submitted));
    let mut finding = scene.finding(Kind::Bleed, now, foreign.slot, since);
    finding.window_complete &= bind.is_some() || !carrier.binds_lost;
    finding.confidence = foreign.confidence;
    finding.item = Some(item.number);
    finding.expected = foreign.expected;
    finding.found = Some(foreign.found);
    finding.source = Some(source);
    finding.hop = item.hop.as_ref().map(|hop| told(hop, item.taken));
    finding.bind = bind.as_ref().map(|b| b.told(now.time));
    finding.read = Some(foreign.read);
    (finding, bind)
}

/// The finding that a task's read is.
pub(super) fn of_task(
    scene: Scene<'_>,
    now: Now,
    slot: Slot,
    found: &Value,
    judged: &IdentityRead,
    stale: &Stale,
) -> Finding {
    let mut finding = scene.finding(Kind::Bleed, now, slot, stale.bind.seq);
    finding.confidence = stale.confidence;
    finding.expected = Some(stale.expected.clone());
    finding.found = Some(found.clone());
    finding.source = Some(Source::Task);
    finding.bind = Some(Bind {
        site: stale.bind.site.clone(),
        carrier: stale.bind.carrier,
        item: None,
        age: now.time.saturating_sub(stale.bind.time),
    });
    let created = stale.created.as_ref();
    finding.spawn = Some(Box::new(Spawn {
        site: created.and_then(|created| created.site.clone()),
        age: created.map(|created| now.time.saturating_sub(created.time)),
        over: now.time.saturating_sub(stale.over),
        works_for: stale.works_for.clone(),
    }));
    finding.read = Some(judged.read.clone());
    finding
}
