//! What silence is worth: a handoff is coverage only if whose a variable is could be told in it (rule 14).

use super::{
    event::Slot, fact::FactKind, hop::HopValue, item::Item, reporter::Out, target::Target, value::Found,
};

impl Target {
    /// An item ends: notes the variables that it is proof for. Once is enough.
    pub(super) fn cover(&mut self, item: &Item, out: &mut Out<'_>) {
        if !item.judged || item.uncounted {
            return;
        }
        for slot in self.slots.all() {
            if !self.judged.contains(&slot) && item.tells(slot) {
                self.judged.insert(slot);
                out.say(FactKind::Judged(slot));
            }
        }
    }
}

impl Item {
    /// Whether it could be told in this item whose the variable is: by a read that was judged, or, where nobody read it, by what
    /// was handed over and what the worker held.
    fn tells(&self, slot: Slot) -> bool {
        let handed = self.hop.as_ref().map(|hop| hop.value(slot));
        let known = !matches!(handed, None | Some(HopValue::Unknown))
            && !matches!(self.carried(slot), Found::Unreadable | Found::Unresolved);
        self.answered.contains(&slot) || (known && !self.unanswered.contains(&slot))
    }
}
