//! `squat`: an item leaves a value in its worker's base scope.

use super::{
    carrier::{BindRecord, CarrierState},
    event::Slot,
    finding::{Confidence, Finding, Kind},
    item::Item,
    reporter::{Now, Scene, told},
    slots::held,
    value::{Found, Sameness, Value},
};

/// What the item leaves behind, by what the base scope holds at the dequeue attempt that ends it.
pub(super) fn report(
    scene: Scene<'_>,
    carrier: &CarrierState,
    item: &Item,
    now: Now,
    holds: &[Found],
) -> Vec<Finding> {
    let Some(hop) = item.hop.as_ref().filter(|_| item.judged) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for slot in scene.slots.all() {
        let Some(left) = scene.slots.bound(slot, held(holds, slot)) else {
            continue;
        };
        let Some((confidence, bind)) = left_behind(scene, carrier, item, slot, left) else {
            continue;
        };
        let since = bind.map_or(hop.seq, |b| b.seq.min(hop.seq));
        let mut finding = scene.finding(Kind::Squat, now, slot, since);
        finding.confidence = confidence;
        finding.item = Some(item.number);
        finding.found = Some(left.clone());
        finding.hop = Some(told(hop, item.taken));
        finding.bind = bind.map(|b| b.told(now.time));
        findings.push(finding);
    }
    findings
}

/// How sure it is that the item left this, and by which bind if that was seen.
fn left_behind<'a>(
    scene: Scene<'_>,
    carrier: &'a CarrierState,
    item: &Item,
    slot: Slot,
    left: &Value,
) -> Option<(Confidence, Option<&'a BindRecord>)> {
    let in_force = carrier.base.in_force(slot);
    if let Some(bind) = in_force.filter(|b| b.item == Some(item.number) && b.is(left)) {
        return Some((Confidence::Confirmed, Some(bind)));
    }
    match item.carried(slot) {
        Found::Unreadable | Found::Unresolved => None,
        Found::Unset => Some((Confidence::Confirmed, None)),
        Found::Value(before) if scene.slots.is_nothing(slot, before, None) => {
            Some((Confidence::Confirmed, None))
        }
        Found::Value(before) => match before.compare(left) {
            Sameness::Same => None,
            Sameness::Different => Some((Confidence::Confirmed, None)),
            Sameness::Unknown => Some((Confidence::Suspected, None)),
        },
    }
}
