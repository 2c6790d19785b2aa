//! What happens to what is handed over at each site: told only to who asked for an inventory.

use super::{
    carrier::CarrierState,
    event::Primitive,
    fact::{FactKind, HopFact, HopWhat},
    hop::Submitted,
    reporter::Out,
    target::say,
};

/// Something that a carrier's item did, or that happened to it.
pub(super) fn tell(me: &mut CarrierState, out: &mut Out<'_>, what: HopWhat) {
    if !out.inventory {
        return;
    }
    let Some(item) = &me.item else { return };
    let hop = item.hop.as_ref();
    let fact = HopFact {
        primitive: hop.map_or(Primitive::Unknown, |hop| hop.primitive),
        site: hop.and_then(|hop| hop.site.clone()),
        what,
    };
    say(me, out, FactKind::Hop(Box::new(fact)));
}

/// Something was put into a queue that is no work.
pub(super) fn tell_data(submitted: &Submitted, out: &mut Out<'_>) {
    if out.inventory {
        out.say(FactKind::Hop(Box::new(HopFact {
            primitive: Primitive::Unknown,
            site: submitted.site.clone(),
            what: HopWhat::Data,
        })));
    }
}
