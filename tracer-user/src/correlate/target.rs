//! What is known of one target.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    announced::Announced,
    black_hole::Returns,
    carrier::{CarrierState, Undecided},
    check::Checks,
    drift::Drifts,
    event::{Carrier, Event, ItemKey, Scope, Slot, What},
    fact::{FactKind, ReadResult, Table as Which},
    finding::Finding,
    hop::{ScopeKey, Submitted},
    item::Item,
    lineage::Lineage,
    reporter::{Loss, Now, Out},
    request::Requests,
    settings::Settings,
    slots::Slots,
    table::Table,
    task::{Mintings, PATIENCE},
    value::Value,
};
use crate::wire::chunk::Context;

/// The part of a target that findings are told by; a macro so that the other fields stay free.
macro_rules! scene {
    ($target:expr, $out:expr) => {
        $crate::correlate::reporter::Scene {
            target: $out.target,
            slots: &$target.slots,
            last_gap: $target.last_gap,
        }
    };
}
pub(super) use scene;

/// Nanoseconds after which a thread that touched no queue is no pool's worker.
const DECISION: u64 = 1_000_000_000;

pub(super) struct Target {
    pub(super) from_start: bool,
    pub(super) slots: Slots,
    pub(super) carriers: Table<Carrier, Box<CarrierState>>,
    pub(super) submits: Table<ItemKey, Submitted>,
    /// Batches that nobody took yet.
    pub(super) batches: Table<ItemKey, Submitted>,
    /// Work that nobody began yet, by the context that was copied for it.
    pub(super) contexts: Table<ItemKey, Submitted>,
    /// Who is inside a context that was copied for an item.
    pub(super) inside: BTreeMap<Scope, Carrier>,
    /// Variables that some item was proof for.
    pub(super) judged: BTreeSet<Slot>,
    /// What requests bound, by slot and object.
    pub(super) bound: Table<(Slot, u64), Value>,
    /// Objects in queues that are not work.
    pub(super) data: Table<ItemKey, ()>,
    pub(super) returns: Returns,
    pub(super) requests: Requests,
    pub(super) mintings: Mintings,
    pub(super) checks: Checks,
    pub(super) announced: Announced,
    /// What is announced now is seen on the wire, too.
    pub(super) seen_on_wire: bool,
    pub(super) drifts: Drifts,
    /// Whom asyncio tasks work for, where they are followed.
    pub(super) lineage: Option<Lineage>,
    pub(super) undecided: BTreeSet<Carrier>,
    /// Number of its last item.
    items: u64,
    pub(super) seq: u64,
    pub(super) last_gap: Option<Loss>,
    /// A carrier's past may be forgotten.
    forgetful: bool,
    first_thread: Carrier,
    pub(super) squatting: u64,
    entries: [u64; 5],
}

/// Says a fact of a carrier; what depends on a thread's being no pool's worker waits until that is decided.
pub(super) fn say(me: &mut CarrierState, out: &mut Out<'_>, what: FactKind) {
    match &mut me.undecided {
        Some(undecided)
            if matches!(
                what,
                FactKind::Finding(_) | FactKind::Handoff(..) | FactKind::Hop(_)
            ) =>
        {
            undecided.held_back.push(what);
        }
        _ => out.say(what),
    }
}

pub(super) fn say_findings(out: &mut Out<'_>, findings: Vec<Finding>) {
    for finding in findings {
        out.say(FactKind::Finding(Box::new(finding)));
    }
}

impl Target {
    pub(super) fn new(settings: &Settings, first_thread: Carrier, from_start: bool) -> Self {
        let bounds = settings.bounds;
        Self {
            from_start,
            slots: Slots::default(),
            carriers: Table::new(bounds.carriers),
            submits: Table::new(bounds.submits),
            batches: Table::new(bounds.submits),
            contexts: Table::new(bounds.submits),
            inside: BTreeMap::new(),
            judged: BTreeSet::new(),
            bound: Table::new(bounds.requests),
            data: Table::new(bounds.submits),
            returns: Returns::new(bounds.returns),
            requests: Requests::new(bounds.requests, from_start),
            mintings: Mintings::new(settings.wire.is_some()),
            checks: Checks::new(bounds.requests),
            announced: Announced::new(bounds.requests),
            seen_on_wire: false,
            drifts: Drifts::new(bounds.requests),
            lineage: settings.tasks.then(|| Lineage::new(bounds.requests)),
            undecided: BTreeSet::new(),
            items: 0,
            seq: 0,
            last_gap: None,
            forgetful: false,
            first_thread,
            squatting: 0,
            entries: [0; 5],
        }
    }

    pub(super) fn next_item(&mut self) -> u64 {
        self.items += 1;
        self.items
    }

    pub(super) fn lost_something(&self) -> bool {
        self.last_gap.is_some()
    }

    /// Looks at one event of this target, other than its attach and its exit.
    pub(super) fn apply(&mut self, event: &Event, out: &mut Out<'_>) {
        self.seq += 1;
        let now = Now {
            time: event.time,
            seq: self.seq,
            carrier: event.carrier,
        };
        self.overdue(now.time, out);
        match &event.what {
            What::Attach { .. } | What::Exit { .. } | What::WireClosed(_) => {}
            // Whoever receives is not in the request's context yet: that tells nothing of a carrier.
            What::Wire(bytes) if bytes.context.is_none() => {}
            What::Said(said) if said.context.is_none() => {}
            What::Variable {
                slot,
                name,
                role,
                default,
                empty,
            } => {
                self.slots.add(*slot, name, *role, default.as_ref(), empty);
                out.say(FactKind::SlotSeen(*slot));
            }
            What::Gap { lost } => self.gap(now, *lost, out),
            What::Spawn { .. } | What::TaskScope { .. } | What::Complete { .. } | What::Wake { .. } => {
                self.follow(now, &event.what);
            }
            What::ScopeEnd { scope } => {
                let scene = scene!(self, out);
                self.mintings.close_if(scene, out, |_, s, _| s == *scope);
                self.end_context(*scope, out);
                let key = ScopeKey::new(*scope, now.carrier);
                self.returns.end_scope(key);
                self.checks.end_scope(key);
                self.requests.end_scope(key);
                if let Some(lineage) = &mut self.lineage {
                    lineage.ended(key, now.time);
                }
                // A thread frees its base before it ends; by then another context may be at that address.
                let item = self
                    .carriers
                    .get_mut(&now.carrier)
                    .and_then(|me| me.item.as_mut());
                if let Some(item) = item.filter(|item| item.base == *scope) {
                    item.base = Scope(0);
                }
            }
            What::Agreed { slot, times } => {
                let me = self.carriers.get(&now.carrier);
                let result = me.map_or(ReadResult::Unjudged, |me| me.results.of(*slot));
                out.say(FactKind::Read(*slot, result, *times));
            }
            what => self.of_carrier(now, what, out),
        }
        self.count(out);
    }

    fn of_carrier(&mut self, now: Now, what: &What, out: &mut Out<'_>) {
        if let What::Begin { parent } = what {
            self.begin(now, *parent, out);
            return;
        }
        let mut me = match self.carriers.remove(&now.carrier) {
            Some(me) => me,
            None => self.stranger(now),
        };
        match what {
            What::Existing { .. } | What::End => {}
            What::Take { .. } => me.waiting = None,
            _ => self.conclude_take(&mut me, now, out),
        }
        match what {
            What::Existing { doing, scope, held } => self.existing(&mut me, now, *doing, *scope, held, out),
            What::Submit {
                item,
                work,
                queue,
                primitive,
                brings,
                scope,
                held,
                stack,
            } => {
                self.enter(&mut me, now, *scope, out);
                self.learn_all(&mut me, *scope, held, out);
                let how = (*primitive, *brings, *queue);
                let submitted = self.submitted(&me, now, how, *scope, held, stack);
                self.look(now, *scope, stack, out);
                self.submit(&mut me, *item, *work, submitted, out);
            }
            What::Idle { queue, scope, held } => self.idle(&mut me, now, *queue, *scope, held, out),
            What::Take {
                item,
                queue,
                scope,
                held,
            } => {
                self.take(&mut me, now, (*item, *queue), *scope, held, out);
            }
            What::Read { .. }
            | What::Bind { .. }
            | What::Unbind { .. }
            | What::Random { .. }
            | What::Coroutine { .. }
            | What::Announced { .. } => self.access(&mut me, now, what, out),
            What::Wire(bytes) => self.learn_context(&mut me, now, bytes.context.as_deref(), out),
            What::Said(said) => self.learn_context(&mut me, now, said.context.as_deref(), out),
            What::End => {
                self.end(&mut me, now.carrier, out);
                return;
            }
            _ => {}
        }
        self.keep(now.carrier, me, out);
    }

    /// What the context of whoever sends tells.
    fn learn_context(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        context: Option<&Context>,
        out: &mut Out<'_>,
    ) {
        if let Some(context) = context {
            self.enter(me, now, context.scope, out);
            self.learn_all(me, context.scope, &context.held, out);
        }
    }

    /// Puts a carrier back as the newest.
    pub(super) fn keep(&mut self, carrier: Carrier, me: Box<CarrierState>, out: &mut Out<'_>) {
        if let Some((carrier, mut dropped)) = self.carriers.insert(carrier, me) {
            self.forgetful = true;
            self.squat_gauge(&mut dropped, false, out);
            if let Some(item) = &dropped.item {
                self.left_context(item);
                self.returns.abandon(scene!(self, out), item);
                self.leave_base(carrier, item);
                if item.base.0 == 0 {
                    // It began without a context, and may have handed over from one since that its thread has had from then on.
                    self.returns.clear();
                }
            }
        }
    }

    /// A carrier that nobody announced.
    fn stranger(&mut self, now: Now) -> Box<CarrierState> {
        let unsure = self.forgetful || self.lost_something();
        let mut me = Box::new(CarrierState::new(!self.from_start && !unsure, unsure));
        if unsure && now.carrier != self.first_thread {
            me.item = Some(Item::unseen(self.next_item(), now.time, None));
        }
        me
    }

    pub(super) fn look(&mut self, now: Now, scope: Scope, stack: &super::event::Stack, out: &mut Out<'_>) {
        self.mintings.look(scene!(self, out), out, now, scope, stack);
    }

    fn overdue(&mut self, time: u64, out: &mut Out<'_>) {
        let scene = scene!(self, out);
        self.mintings
            .close_if(scene, out, |_, _, opened| time.saturating_sub(opened) > PATIENCE);
        let due: Vec<_> = self.undecided.iter().copied().collect();
        for carrier in due {
            let Some(me) = self.carriers.get_mut(&carrier) else {
                self.undecided.remove(&carrier);
                continue;
            };
            if me
                .undecided
                .as_ref()
                .is_none_or(|u| time.saturating_sub(u.since) > DECISION)
            {
                decide(me, &mut self.requests, out);
                self.undecided.remove(&carrier);
            }
        }
        let undecided = &self.undecided;
        self.mintings
            .decided(scene!(self, out), out, |carrier| !undecided.contains(&carrier));
    }

    /// Something happened to a task, or to a future that tasks wait for.
    fn follow(&mut self, now: Now, what: &What) {
        let Some(lineage) = &mut self.lineage else {
            return;
        };
        let key = |scope: &Scope| ScopeKey::new(*scope, now.carrier);
        match what {
            What::Spawn {
                task,
                scope,
                entered,
                stack,
            } => {
                lineage.spawned(now, *task, (key(scope), *entered), stack.site().cloned());
            }
            What::TaskScope { task, scope } => lineage.context(now, *task, key(scope)),
            What::Complete {
                future,
                scope,
                conveys,
            } => lineage.set(now, *future, key(scope), *conveys),
            What::Wake { future, scope } => lineage.woken(now, *future, key(scope)),
            _ => {}
        }
    }

    /// Events were lost: forget what may have changed meanwhile.
    fn gap(&mut self, now: Now, lost: u64, out: &mut Out<'_>) {
        self.last_gap = Some(Loss {
            seq: now.seq,
            time: now.time,
        });
        self.first_thread = now.carrier;
        self.mintings.lose(out);
        self.requests.clear();
        if let Some(lineage) = &mut self.lineage {
            lineage.clear();
        }
        self.returns.clear();
        self.checks.clear();
        self.drifts.clear();
        // A take, the end of its item and a submit at the same address may all be among the lost.
        self.submits.clear();
        self.batches.clear();
        self.contexts.clear();
        self.inside.clear();
        self.bound.clear();
        self.data.clear();
        self.undecided.clear();
        let mut items = self.items;
        for carrier in self.carriers.keys() {
            let Some(me) = self.carriers.get_mut(&carrier) else {
                continue;
            };
            me.base.forget();
            me.binds_lost = true;
            me.at_attach = false;
            me.starting = None;
            me.started = None;
            me.batch = None;
            me.waiting = None;
            let was_undecided = me.undecided.take().is_some();
            match &mut me.item {
                Some(item) => item.judged = false,
                None if me.pool || was_undecided => {
                    items += 1;
                    me.item = Some(Item::unseen(items, now.time, me.pool_queue));
                }
                None => {}
            }
        }
        self.items = items;
        out.say(FactKind::Gap(lost));
    }

    /// The target, or the run, is over (rule 13).
    pub(super) fn close(mut self, out: &mut Out<'_>) {
        let scene = scene!(self, out);
        self.mintings.close_if(scene, out, |_, _, _| true);
        for carrier in self.carriers.keys() {
            let Some(mut me) = self.carriers.remove(&carrier) else {
                continue;
            };
            decide(&mut me, &mut self.requests, out);
            if let Some(item) = &me.item {
                let findings = self.returns.cut_short(scene!(self, out), item);
                self.say_lost(out, findings);
                self.pins_kept(item, true, out);
                self.cover(item, out);
            }
            self.squat_gauge(&mut me, false, out);
        }
        self.mintings.decided(scene!(self, out), out, |_| true);
        self.submits.clear();
        self.batches.clear();
        self.contexts.clear();
        self.data.clear();
        self.returns.clear();
        self.requests.clear();
        self.count(out);
    }

    /// Keeps the number of pool workers whose base scope holds an identity.
    pub(super) fn squat_gauge(&mut self, me: &mut CarrierState, squatting: bool, out: &mut Out<'_>) {
        if me.squatting == squatting {
            return;
        }
        me.squatting = squatting;
        self.squatting = if squatting {
            self.squatting + 1
        } else {
            self.squatting.saturating_sub(1)
        };
        out.say(FactKind::Squatting(self.squatting));
    }

    fn count(&mut self, out: &mut Out<'_>) {
        let tables = [
            (
                Which::Submits,
                self.submits.len() + self.batches.len() + self.contexts.len() + self.data.len(),
                self.submits.take_evicted() + self.batches.take_evicted() + self.contexts.take_evicted(),
            ),
            (Which::Carriers, self.carriers.len(), self.carriers.take_evicted()),
            (
                Which::Returns,
                self.returns.pending.len(),
                self.returns.take_evicted(),
            ),
            (Which::Requests, self.requests.len(), self.requests.take_evicted()),
            (
                Which::Scopes,
                self.lineage.as_ref().map_or(0, Lineage::len),
                self.lineage.as_mut().map_or(0, Lineage::take_evicted),
            ),
        ];
        for (before, (table, now, evicted)) in self.entries.iter_mut().zip(tables) {
            if *before != now as u64 {
                *before = now as u64;
                out.say(FactKind::Entries(table, *before));
            }
            if evicted > 0 {
                out.say(FactKind::Evicted(table, evicted));
            }
        }
    }
}

/// The thread is none of a pool's: lets out what was held back.
pub(super) fn decide(me: &mut CarrierState, requests: &mut Requests, out: &mut Out<'_>) {
    let Some(Undecided {
        held_back, last_read, ..
    }) = me.undecided.take()
    else {
        return;
    };
    for fact in held_back {
        out.say(fact);
    }
    if let Some((id, read)) = last_read
        && requests.last(&id).is_none_or(|newer| newer.seq < read.seq)
    {
        requests.read(&id, &read);
    }
}
