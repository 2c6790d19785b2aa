//! Work changes hands: threads begin and end, items are submitted, taken and ended (rules 1, 2, 3 and 5).

use super::{
    carrier::{CarrierState, Fed, Undecided, Waiting},
    event::{Brings, ByHand, Carrier, Doing, ItemKey, Primitive, QueueKey, Role, Scope, Stack, Work},
    fact::{Carried, FactKind, HopWhat},
    finding::Source,
    hop::{ANCESTORS, Handed, HopValue, NO_HOME, Residue, ScopeKey, Submitted},
    inventory,
    item::{Item, Verdict, Where, judge},
    reporter::{Now, Out},
    request::RequestId,
    slots::{Slots, held},
    squat,
    target::{Target, decide, say, say_findings, scene},
    value::{Found, Value},
};

impl Target {
    pub(super) fn begin(&mut self, now: Now, parent: Carrier, out: &mut Out<'_>) {
        if let Some(mut former) = self.carriers.remove(&now.carrier) {
            self.end(&mut former, now.carrier, out);
        }
        let mut me = Box::new(CarrierState::new(false, false));
        match self.carriers.get_mut(&parent).and_then(|p| p.starting.take()) {
            Some((Work::ContextThread, _)) => me.runs_contexts = true,
            Some((Work::Thread { pool: true }, submitted)) => {
                me.pool = true;
                me.started = Some(Box::new(submitted));
            }
            Some((work, mut submitted)) => {
                // Whoever accepts connections works for none of those who connect.
                if work == Work::RequestThread {
                    let bare = ScopeKey::new(Scope(0), now.carrier);
                    submitted.request = Some(self.requests.id(bare, None, None));
                }
                let mut item = Item::new(self.next_item(), Some(submitted), now.time);
                item.uncounted = true;
                item.for_request = work == Work::RequestThread;
                me.item = Some(item);
                me.undecided = Some(Undecided {
                    since: now.time,
                    held_back: Vec::new(),
                    last_read: None,
                });
                self.undecided.insert(now.carrier);
                let carried = of_thread(&me);
                inventory::tell(&mut me, out, HopWhat::Taken(carried));
            }
            None if self.lost_something() => {
                me.item = Some(Item::unseen(self.next_item(), now.time, None));
            }
            None => {}
        }
        self.keep(now.carrier, me, out);
    }

    pub(super) fn end(&mut self, me: &mut CarrierState, carrier: Carrier, out: &mut Out<'_>) {
        decide(me, &mut self.requests, out);
        self.undecided.remove(&carrier);
        self.mintings
            .close_if(scene!(self, out), out, |c, _, _| c == carrier);
        if let Some(item) = me.item.take() {
            self.left_context(&item);
            self.end_item(carrier, &item, out);
        }
        self.squat_gauge(me, false, out);
        let bare = ScopeKey::new(Scope(0), carrier);
        self.returns.end_scope(bare);
        self.requests.end_scope(bare);
    }

    /// The item is over: its binds can no longer be reset, and what it submitted has nobody to come back to.
    pub(super) fn end_item(&mut self, carrier: Carrier, item: &Item, out: &mut Out<'_>) {
        let findings = self.returns.ended(scene!(self, out), item);
        self.say_lost(out, findings);
        self.pins_kept(item, false, out);
        self.cover(item, out);
        self.leave_base(carrier, item);
    }

    pub(super) fn leave_base(&mut self, carrier: Carrier, item: &Item) {
        self.returns.end_scope(ScopeKey::new(item.base, carrier));
        self.returns.end_scope(ScopeKey::new(Scope(0), carrier));
    }

    pub(super) fn existing(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        doing: Doing,
        scope: Scope,
        holds: &[Found],
        out: &mut Out<'_>,
    ) {
        match doing {
            Doing::Loop => return,
            Doing::ByHand(how) => return self.by_hand(me, how, out),
            Doing::UnseenItem | Doing::Waiting | Doing::Thread => {}
        }
        if doing == Doing::Waiting {
            me.waiting = Some(Waiting {
                since: now.time,
                base: scope,
                held: holds.to_vec(),
            });
        }
        if matches!(doing, Doing::UnseenItem | Doing::Thread) {
            let mut item = Item::unseen(self.next_item(), now.time, None);
            item.base = scope;
            me.item = Some(item);
        }
        me.pool = doing != Doing::Thread;
        let squatting = me.pool && self.slots.any_bound(holds);
        self.squat_gauge(me, squatting, out);
    }

    /// A thread does more than what it was started for, or than the item that it took: what belongs to which work cannot be told.
    fn by_hand(&mut self, me: &mut CarrierState, how: ByHand, out: &mut Out<'_>) {
        let Some(item) = me.item.as_mut().filter(|item| item.judged && !item.by_context) else {
            return;
        };
        let Some(hop) = &item.hop else { return };
        // Requests and executors' work ask many things for `get`.
        if how == ByHand::Caller && (item.queue.is_some() || item.for_request) {
            return;
        }
        if hop.primitive != Primitive::Thread || item.queue.is_some() {
            item.by_hand = item.by_hand.max(Some(how));
            if how == ByHand::Named {
                self.returns.abandon(scene!(self, out), item);
            }
            return;
        }
        self.returns.abandon(scene!(self, out), item);
        item.judged = false;
        if let Some(undecided) = &mut me.undecided {
            // That it was started stays true.
            undecided
                .held_back
                .retain(|what| matches!(what, FactKind::Hop(hop) if matches!(hop.what, HopWhat::Taken(_))));
            undecided.last_read = None;
        }
    }

    /// What a submitter hands over (rule 5).
    pub(super) fn submitted(
        &mut self,
        me: &CarrierState,
        now: Now,
        (primitive, brings, queue): (Primitive, Brings, QueueKey),
        scope: Scope,
        holds: &[Found],
        stack: &Stack,
    ) -> Submitted {
        let mut values = Vec::new();
        let mut residue = Vec::new();
        for slot in self.slots.all() {
            let holds = held(holds, slot);
            let (handed, foreign) = match &me.item {
                None => (outside(me, &self.slots, slot, holds), None),
                Some(item) => inside(me, item, &self.slots, slot, scope, holds),
            };
            values.push(handed);
            residue.push(foreign);
        }
        let judged = me.item.as_ref().is_none_or(Item::is_told);
        let key = ScopeKey::new(scope, now.carrier);
        Submitted {
            primitive,
            brings,
            site: stack.site().cloned(),
            submitter: now.carrier,
            within: me.item.as_ref().map(|item| item.number),
            queue,
            scope: key,
            // Whether an unjudged submitter's own item ends may not be seen.
            generation: if judged { self.returns.home(key) } else { NO_HOME },
            time: now.time,
            seq: now.seq,
            values,
            later_slots: if self.from_start && judged {
                HopValue::None
            } else {
                HopValue::Unknown
            },
            residue,
            request: match &me.item {
                None => Some(self.request_held(key, holds)),
                Some(item) => item
                    .hop
                    .as_ref()
                    .filter(|_| item.is_told())
                    .and_then(|hop| hop.request.clone()),
            },
        }
    }

    fn request_held(&mut self, key: ScopeKey, holds: &[Found]) -> RequestId {
        let of = |role| {
            let slots = &self.slots;
            let of_role = slots.all().filter(move |slot| slots.role(*slot) == Some(role));
            of_role.filter_map(|slot| slots.bound(slot, held(holds, slot)))
        };
        let request = of(Role::Request).next();
        let identity = of(Role::Identity)
            .find(|v| v.is_opaque())
            .or_else(|| of(Role::Identity).next());
        let id = self.requests.id(key, request, identity);
        match &self.lineage {
            Some(lineage) => id.of_tasks(lineage, key),
            None => id,
        }
    }

    pub(super) fn submit(
        &mut self,
        me: &mut CarrierState,
        item: ItemKey,
        work: Work,
        submitted: Submitted,
        out: &mut Out<'_>,
    ) {
        match work {
            Work::Thread { .. } | Work::ContextThread | Work::RequestThread => {
                me.starting = Some((work, submitted));
                return;
            }
            Work::InContext => {
                self.contexts.insert(item, submitted);
            }
            Work::Batch => {
                self.data.remove(&item);
                self.batches.insert(item, submitted);
            }
            // Its hop is that of the batch.
            Work::Piece => self.hand_on(me, item, submitted.queue),
            Work::Item => {
                self.data.remove(&item);
                self.submits.insert(item, submitted);
            }
            Work::Data => {
                self.submits.remove(&item);
                inventory::tell_data(&submitted, out);
                self.data.insert(item, ());
                out.say(FactKind::Data);
            }
        }
        decide(me, &mut self.requests, out);
    }

    pub(super) fn take(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        (item, queue): (ItemKey, QueueKey),
        scope: Scope,
        holds: &[Found],
        out: &mut Out<'_>,
    ) {
        self.turned_out_worker(me, now.carrier, out);
        if self.data.remove(&item).is_some() {
            // Of a thread that did nothing else before.
            if me.item.is_none() && me.started.is_some() {
                me.fed = Some(Fed {
                    first: me.fed.map_or(now.seq, |fed| fed.first),
                    last: now.seq,
                });
            }
            return;
        }
        if let Some(batch) = self.batches.remove(&item) {
            me.batch = Some(Box::new(batch));
            return;
        }
        let submitted = self.submits.remove(&item);
        if submitted.is_none() && !me.works_for(queue) {
            return;
        }
        if let Some(mut former) = me.item.take() {
            if former.base.0 == 0 {
                former.base = scope;
            }
            self.returns.abandon(scene!(self, out), &former);
            self.leave_base(now.carrier, &former);
        }
        let Some(hop) = submitted else {
            me.item = Some(Item::unseen(self.next_item(), now.time, Some(queue)));
            return;
        };
        out.say(FactKind::Wait(now.time.saturating_sub(hop.time)));
        let item = Item::new(self.next_item(), Some(hop), now.time);
        self.start(me, item, queue, scope, holds, out);
    }

    /// An item begins, whose submit was seen.
    fn start(
        &mut self,
        me: &mut CarrierState,
        mut item: Item,
        queue: QueueKey,
        scope: Scope,
        holds: &[Found],
        out: &mut Out<'_>,
    ) {
        let carried = item
            .hop
            .as_ref()
            .map(|hop| carried(&self.slots, me, item.number, hop, holds));
        if let (Some(hop), Some(carried)) = (&item.hop, carried) {
            out.say(FactKind::Handoff(hop.primitive, carried));
        }
        item.queue = Some(queue);
        item.base = scope;
        item.carried = self.slots.all().map(|slot| held(holds, slot).clone()).collect();
        item.carried_later = if self.from_start {
            Found::Unset
        } else {
            Found::Unreadable
        };
        me.item = Some(item);
        if let Some(carried) = carried {
            inventory::tell(me, out, HopWhat::Taken(carried));
        }
        me.pool = true;
        me.pool_queue = Some(queue);
        me.base.settle(holds);
        let squatting = self.slots.any_bound(holds);
        self.squat_gauge(me, squatting, out);
    }

    /// Who took a batch hands a piece of it on: the work of whoever submitted the batch.
    fn hand_on(&mut self, me: &CarrierState, item: ItemKey, queue: QueueKey) {
        self.data.remove(&item);
        self.submits.remove(&item);
        if let Some(batch) = &me.batch {
            let mut piece = Submitted::clone(batch);
            piece.queue = queue;
            self.submits.insert(item, piece);
        }
    }

    /// A worker that waited for work when the agent attached does something: it took an item, whose take no probe saw.
    ///
    /// Its queue was empty then, and every submit since is known; so, if there is just one that nobody took, it is that one.
    pub(super) fn conclude_take(&mut self, me: &mut CarrierState, now: Now, out: &mut Out<'_>) {
        let Some(waiting) = me.waiting.take() else {
            return;
        };
        let pending = self.submits.keys();
        let hop = match pending.as_slice() {
            [only] if now.time > waiting.since => self.submits.remove(only),
            _ => None,
        };
        let Some(hop) = hop else {
            me.item = Some(Item::unseen(self.next_item(), now.time, None));
            return;
        };
        let queue = hop.queue;
        let mut item = Item::new(self.next_item(), Some(hop), now.time);
        item.taken = None;
        self.start(me, item, queue, waiting.base, &waiting.held, out);
    }

    pub(super) fn idle(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        queue: QueueKey,
        scope: Scope,
        holds: &[Found],
        out: &mut Out<'_>,
    ) {
        self.turned_out_worker(me, now.carrier, out);
        me.batch = None;
        self.mintings
            .close_if(scene!(self, out), out, |c, _, _| c == now.carrier);
        if me.item.as_ref().is_some_and(|item| item.queue != Some(queue)) {
            return;
        }
        if let Some(mut item) = me.item.take() {
            if item.base.0 == 0 {
                item.base = scope;
            }
            if let (Some(_), Some(taken)) = (&item.hop, item.taken) {
                out.say(FactKind::Busy(now.time.saturating_sub(taken)));
            }
            for slot in self.slots.all() {
                if matches!(held(holds, slot), Found::Unreadable | Found::Unresolved) {
                    item.unanswered.insert(slot);
                }
            }
            if scope == item.base {
                say_findings(out, squat::report(scene!(self, out), me, &item, now, holds));
            }
            self.end_item(now.carrier, &item, out);
        }
        if me.pool {
            me.base.settle(holds);
            let squatting = self.slots.any_bound(holds);
            self.squat_gauge(me, squatting, out);
        }
    }

    /// A thread whose first queue event is a dequeue is a pool's worker: its start handed over nothing (rule 2).
    pub(super) fn turned_out_worker(&mut self, me: &mut CarrierState, carrier: Carrier, out: &mut Out<'_>) {
        if me.undecided.take().is_none() {
            return;
        }
        self.undecided.remove(&carrier);
        self.mintings.turned_out_worker(scene!(self, out), out, carrier);
        if let Some(item) = me.item.take() {
            self.returns.abandon(scene!(self, out), &item);
            me.started = item.hop.map(Box::new);
        }
        me.base.disown();
    }

    /// Counts a bare thread's handoff, once something watched happens in it that can be judged: in contexts that it enters
    /// nothing can.
    pub(super) fn count_thread(me: &mut CarrierState, (scope, entered): (Scope, bool), out: &mut Out<'_>) {
        let Some(item) = me
            .item
            .as_mut()
            .filter(|item| item.uncounted && item.judged && !item.by_context)
        else {
            return;
        };
        if item.place(scope, entered) == Where::Entered {
            return;
        }
        item.uncounted = false;
        let Some(hop) = &item.hop else { return };
        let primitive = hop.primitive;
        let carried = of_thread(me);
        say(me, out, FactKind::Handoff(primitive, carried));
    }
}

fn outside(me: &CarrierState, slots: &Slots, slot: super::event::Slot, holds: &Found) -> Handed {
    let value = match (holds, slots.bound(slot, holds)) {
        (Found::Unreadable | Found::Unresolved, _) => HopValue::Unknown,
        (_, Some(value)) if me.item.is_none() && !me.knows(slot, value) => HopValue::Unknown,
        (_, Some(value)) => HopValue::Bound(value.clone()),
        (_, None) => HopValue::None,
    };
    Handed { value, depth: 0 }
}

/// What an item hands on: its own, else what was handed to it.
fn inside(
    me: &CarrierState,
    item: &Item,
    slots: &Slots,
    slot: super::event::Slot,
    scope: Scope,
    holds: &Found,
) -> (Handed, Option<Residue>) {
    let unknown = Handed {
        value: HopValue::Unknown,
        depth: 0,
    };
    let Some(hop) = &item.hop else {
        return (unknown, None);
    };
    let value = || match holds {
        Found::Value(value) => Some(value.clone()),
        Found::Unset | Found::Unreadable | Found::Unresolved => None,
    };
    let depth = hop.depth(slot) + 1;
    let handed_on = || Handed {
        value: if depth > ANCESTORS {
            HopValue::None
        } else {
            hop.value(slot).clone()
        },
        depth: depth.min(ANCESTORS),
    };
    match judge(me, item, slots, item.place_known(scope), slot, holds, None) {
        Verdict::Own => (
            Handed {
                value: value().map_or(HopValue::Unknown, HopValue::Bound),
                depth: 0,
            },
            None,
        ),
        Verdict::Empty { .. } => (handed_on(), None),
        Verdict::Foreign { from, .. } => (
            handed_on(),
            value().map(|value| origin(me, item, slot, value, from)),
        ),
        // A bare thread carries no residue: what a context that it entered holds was put there for this work.
        Verdict::Unjudged
            if hop.primitive == Primitive::Thread
                && item.judged
                && item.place_known(scope) == Where::Entered
                && slots.bound(slot, holds).is_some() =>
        {
            (outside(me, slots, slot, holds), None)
        }
        Verdict::Unreadable | Verdict::Unjudged => (unknown, None),
    }
}

fn origin(
    me: &CarrierState,
    item: &Item,
    slot: super::event::Slot,
    value: Value,
    from: Option<Box<Residue>>,
) -> Residue {
    if let Some(residue) = from {
        return *residue;
    }
    let (source, bind) = me.origin(slot, &value, item.number);
    Residue { value, source, bind }
}

/// What a bare thread carries.
fn of_thread(me: &CarrierState) -> Carried {
    match me.item.as_ref().and_then(|item| item.hop.as_ref()) {
        Some(hop) if matches!(hop.brings, Brings::Scope(_)) => Carried::Copied,
        _ => Carried::None,
    }
}

/// What a worker carries when it takes an item; of several slots the worst.
fn carried(slots: &Slots, me: &CarrierState, item: u64, hop: &Submitted, holds: &[Found]) -> Carried {
    if matches!(hop.brings, Brings::Scope(_)) || hop.primitive == Primitive::Asgiref {
        return Carried::Copied;
    }
    let of_slot = |slot| match (slots.bound(slot, held(holds, slot)), hop.value(slot)) {
        (None, _) | (Some(_), HopValue::Unknown) => Carried::None,
        (Some(value), HopValue::Bound(own)) if own.same(value) => Carried::Own,
        (Some(value), _) if me.origin(slot, value, item).0 == Source::Inherited => Carried::Inherited,
        (Some(_), _) => Carried::Foreign,
    };
    slots.all().map(of_slot).min().unwrap_or(Carried::None)
}
