//! Pools that run each piece of work in a context that was copied for it, as anyio's does. They have no queue that can be seen:
//! an item is what happens in one context that its worker entered.
//!
//! Where the submit was seen, it names that context. Else what the context holds says whose it is: a copied context shares its
//! objects with the request that bound them.

use super::{
    carrier::CarrierState,
    event::{Brings, Carrier, ItemKey, Primitive, QueueKey, Role, Scope, Slot},
    fact::{Carried, FactKind, HopWhat},
    hop::{HopValue, NO_HOME, ScopeKey, Submitted},
    inventory,
    item::Item,
    reporter::{Now, Out},
    slots::held,
    target::{Target, scene},
    value::{Found, Value},
};

impl Target {
    /// Something happens in a scope: on a worker that runs contexts, another scope is another item.
    pub(super) fn enter(&mut self, me: &mut CarrierState, now: Now, scope: Scope, out: &mut Out<'_>) {
        let key = ItemKey(scope.0);
        let handed = self.contexts.get(&key);
        if handed.is_some_and(|hop| hop.submitter != now.carrier) {
            self.turned_out_worker(me, now.carrier, out);
            me.runs_contexts = true;
        } else if !me.runs_contexts || me.item.as_ref().is_some_and(|item| runs_in(item, scope)) {
            return;
        }
        if let Some(former) = me.item.take() {
            self.left_context(&former);
            if former.judged && matches!(former.brings(), Brings::Scope(_)) {
                self.end_item(now.carrier, &former, out);
            } else {
                self.returns.abandon(scene!(self, out), &former);
                self.leave_base(now.carrier, &former);
            }
        }
        let number = self.next_item();
        let item = if let Some(hop) = self.contexts.remove(&key) {
            out.say(FactKind::Handoff(hop.primitive, Carried::Copied));
            let mut item = Item::new(number, Some(hop), now.time);
            item.taken = None;
            item
        } else if scope.0 == 0 {
            Item::unseen(number, now.time, None)
        } else {
            let mut item = Item::new(number, Some(unseen_submit(now, scope)), now.time);
            item.taken = None;
            item.by_context = true;
            item.uncounted = true;
            item
        };
        if scope.0 != 0 {
            self.inside.insert(scope, now.carrier);
        }
        let counted = item.hop.is_some() && !item.uncounted;
        me.item = Some(item);
        if counted {
            inventory::tell(me, out, HopWhat::Taken(Carried::Copied));
        }
    }

    /// A context ended: so did the item that ran in it.
    pub(super) fn end_context(&mut self, scope: Scope, out: &mut Out<'_>) {
        self.contexts.remove(&ItemKey(scope.0));
        let Some(carrier) = self.inside.remove(&scope) else {
            return;
        };
        let me = self.carriers.get_mut(&carrier);
        let item = me.and_then(|me| me.item.take_if(|item| runs_in(item, scope)));
        if let Some(item) = item.filter(|item| item.judged) {
            self.end_item(carrier, &item, out);
        }
    }

    pub(super) fn left_context(&mut self, item: &Item) {
        if let Brings::Scope(scope) = item.brings() {
            self.inside.remove(&scope);
        }
    }

    /// A request bound something: copies of its context will hold the same object.
    pub(super) fn bound_by_request(&mut self, slot: Slot, value: &Value) {
        self.bound.insert((slot, value.object), value.clone());
    }

    /// What an item's context holds tells what was handed over, where the submit was not seen.
    pub(super) fn learn(
        &mut self,
        me: &mut CarrierState,
        (slot, found): (Slot, &Found),
        request: Option<&Value>,
        out: &mut Out<'_>,
    ) {
        let Some(item) = me.item.as_mut().filter(|item| item.by_context && item.judged) else {
            return;
        };
        if matches!(found, Found::Value(value) if item.bound(slot, value)) {
            return;
        }
        let Some(hop) = item.hop.as_mut() else { return };
        let Some(value) = self.slots.bound(slot, found) else {
            hop.set(slot, HopValue::None);
            return;
        };
        let known = self.bound.get(&(slot, value.object));
        if !known.is_some_and(|known| known.same(value)) {
            hop.set(slot, HopValue::Unknown);
            return;
        }
        hop.set(slot, HopValue::Bound(value.clone()));
        if self.slots.role(slot) == Some(Role::Identity) {
            hop.request = self.requests.of_object(value.object, request);
        }
        if std::mem::take(&mut item.uncounted) {
            out.say(FactKind::Handoff(hop.primitive, Carried::Copied));
            inventory::tell(me, out, HopWhat::Taken(Carried::Copied));
        }
    }

    /// The same of all that it holds.
    pub(super) fn learn_all(
        &mut self,
        me: &mut CarrierState,
        scope: Scope,
        holds: &[Found],
        out: &mut Out<'_>,
    ) {
        if !me.item.as_ref().is_some_and(|item| runs_in(item, scope)) {
            return;
        }
        let of_role = |slot: &Slot| self.slots.role(*slot) == Some(Role::Request);
        let request = self.slots.all().find(of_role);
        let request = request.and_then(|slot| self.slots.bound(slot, held(holds, slot)));
        let request = request.cloned();
        for slot in self.slots.all() {
            self.learn(me, (slot, held(holds, slot)), request.as_ref(), out);
        }
    }
}

fn runs_in(item: &Item, scope: Scope) -> bool {
    item.brings() == Brings::Scope(scope)
}

/// A handoff of which nothing is known yet but the context.
fn unseen_submit(now: Now, scope: Scope) -> Submitted {
    Submitted {
        primitive: Primitive::Anyio,
        brings: Brings::Scope(scope),
        site: None,
        submitter: Carrier(0),
        within: None,
        queue: QueueKey(0),
        scope: ScopeKey::new(scope, now.carrier),
        generation: NO_HOME,
        time: now.time,
        seq: now.seq,
        values: Vec::new(),
        later_slots: HopValue::Unknown,
        residue: Vec::new(),
        request: None,
    }
}
