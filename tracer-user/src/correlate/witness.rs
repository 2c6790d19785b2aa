//! What the wire says, joined with what contexts held: whose the tasks are that requests mint and poll (rules 9, 12 and 15).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    announcement::Announcement,
    carrier::CarrierState,
    drift::TaskName,
    event::{Bytes, Carrier, Event, Handle, Role, Slot, TargetId, What},
    fact::{Attribution, FactKind, ReadResult, Table},
    finding::{Kind, Mint, Poll},
    hop::ScopeKey,
    item::{Verdict, judge},
    ledger::{Realm, TaskFact, TaskFinding, TaskLedger, Told},
    life::Life,
    reporter::{Now, Out},
    request::{IdentityRead, RequestId},
    slots::held,
    target::{Target, scene},
    task::{Before, finding_of},
    value::{Content, Value},
};
use crate::wire::{
    Wire,
    chunk::{Chunk, Context, StreamKey},
    fact::{Bounded, Fact, Outcome, Response, Side},
    rules::Rules,
    secret::{Fingerprint, Hasher, Tag},
};

/// Reads what targets receive and send.
pub(super) struct Witness {
    wire: Wire,
    ledger: TaskLedger,
    hasher: Hasher,
    services: BTreeMap<Arc<str>, Realm>,
    realms: BTreeMap<TargetId, Realm>,
    /// Targets that received or sent something which began like a message.
    heard: BTreeSet<TargetId>,
    said: Vec<Fact>,
}

impl Witness {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            hasher: rules.hasher.clone(),
            ledger: TaskLedger::new(rules.bounds.tasks),
            wire: Wire::new(rules),
            services: BTreeMap::new(),
            realms: BTreeMap::new(),
            heard: BTreeSet::new(),
            said: Vec::new(),
        }
    }

    /// A target is part of a service.
    pub(super) fn serves(&mut self, target: TargetId, service: &str) {
        let next = Realm(self.services.len() as u32);
        let realm = *self.services.entry(Arc::from(service)).or_insert(next);
        self.realms.insert(target, realm);
    }

    /// A target ended, or is let go. What it was asked and did not answer is answered by nobody.
    pub(super) fn exit(&mut self, target: TargetId) {
        self.wire.exit(target, &mut self.said);
        self.said.clear();
        self.realms.remove(&target);
        self.heard.remove(&target);
    }

    /// Whether the program announces that it shows a task whose handle it has given over the wire: then the wire shows that, too.
    pub(super) fn sees(&self, event: &Event) -> bool {
        let (What::Announced { said, .. }, Some(realm)) = (&event.what, self.realms.get(&event.target))
        else {
            return false;
        };
        let Announcement::TaskServed { task, .. } = said else {
            return false;
        };
        handle_of(&self.hasher, task).is_some_and(|handle| self.ledger.knows(*realm, handle))
    }

    /// Reads an event of the wire.
    pub(super) fn look(&mut self, event: &Event, target: &mut Target, out: &mut Out<'_>) {
        match &event.what {
            What::Wire(bytes) => self.wire.apply(&chunk(event, bytes), &mut self.said),
            What::WireClosed(handle) => self.wire.close(key(event.target, *handle), &mut self.said),
            What::Said(said) => self.said.extend_from_slice(&said.facts),
            _ => return,
        }
        let Some(realm) = self.realms.get(&event.target).copied() else {
            self.said.clear();
            return;
        };
        if self.heard.insert(event.target) {
            out.say(FactKind::Heard);
        }
        for fact in std::mem::take(&mut self.said) {
            match fact {
                Fact::Response(response) => target.responded(&response, &mut self.ledger, realm, out),
                Fact::Unparsed(_, reason) => out.say(FactKind::Unparsed(reason)),
                Fact::Evicted(Bounded::Streams, entries) => {
                    out.say(FactKind::Evicted(Table::Streams, entries));
                }
                Fact::Evicted(Bounded::Open, entries) => {
                    out.say(FactKind::Evicted(Table::OpenRequests, entries));
                }
                Fact::Request(_) => {}
            }
        }
    }
}

/// What a task's name is as a handle on the wire.
pub(crate) fn handle_of(hasher: &Hasher, task: &Value) -> Option<Fingerprint> {
    match &task.content {
        Content::Str(name) => Some(hasher.hash(Tag::Task, &[name.shown.as_bytes()])),
        Content::Sealed(sealed) => sealed.handle,
        _ => None,
    }
}

/// A stream, as what reads the wire knows it.
pub(crate) const fn key(target: TargetId, handle: Handle) -> StreamKey {
    StreamKey {
        process: target,
        transport: handle.transport,
        handle: handle.number,
        generation: handle.generation,
    }
}

/// The bytes as what reads the wire takes them.
pub(crate) fn chunk<'a>(event: &Event, bytes: &'a Bytes) -> Chunk<'a> {
    Chunk {
        stream: key(event.target, bytes.stream),
        direction: bytes.direction,
        thread: event.carrier,
        time: event.time,
        offset: bytes.offset,
        total: bytes.total,
        last: bytes.last,
        lost_before: bytes.lost_before,
        bytes: &bytes.bytes,
        context: bytes.context.clone(),
    }
}

impl Target {
    /// A response was written, or received.
    fn responded(&mut self, response: &Response, ledger: &mut TaskLedger, realm: Realm, out: &mut Out<'_>) {
        if response.side == Side::Client {
            return;
        }
        let now = Now {
            time: response.moment.time,
            seq: self.seq,
            carrier: response.moment.thread,
        };
        let (told, before) = match &response.moment.context {
            Some(context) => {
                let since = response.request.as_ref().map(|request| request.moment.time);
                self.told(now, context, since, &response.outcome, out)
            }
            None => <(Told, Before)>::default(),
        };
        let mut said = Vec::new();
        ledger.apply(realm, response, told, &mut said);
        let is_mint = |fact: &TaskFact| matches!(fact, TaskFact::Minted(_));
        let known = said.iter().any(is_mint) && self.mintings.seen_on_wire(scene!(self, out), out, &before);
        for fact in said {
            match fact {
                TaskFact::Minted(_) if known => {}
                TaskFact::Minted(attribution) => {
                    out.say(FactKind::Mint(attribution));
                    let read = before.read.as_deref();
                    Life::new(scene!(self, out), read, None, attribution).minted(out);
                }
                TaskFact::Polled { outcome, life, .. } => {
                    out.say(FactKind::Poll(outcome));
                    if let Some(life) = life {
                        life.polled(out, outcome);
                    }
                }
                TaskFact::Evicted(entries) => out.say(FactKind::Evicted(Table::Tasks, entries)),
                TaskFact::Finding(finding) => self.task_finding(now, *finding, &before, known, out),
            }
        }
    }

    /// What the context under which a response was written says of its request, which came `since`, if that was seen; of one that
    /// minted, also what was read before it, if that was since the request came.
    fn told(
        &mut self,
        now: Now,
        context: &Context,
        since: Option<u64>,
        outcome: &Outcome,
        out: &mut Out<'_>,
    ) -> (Told, Before) {
        let Some(mut me) = self.carriers.remove(&now.carrier) else {
            return <(Told, Before)>::default();
        };
        let identities = self.whose(&mut me, context);
        let identity = identities.first().map(|(_, value)| value);
        let mut before = Before::default();
        let minted = matches!(outcome, Outcome::Minted { .. });
        let key = ScopeKey::new(context.scope, now.carrier);
        if let Some(since) = since {
            let request = self.slot_of(Role::Request, context).cloned();
            if let Some(id) = self.request(&me, key, request.as_ref(), None) {
                self.answered(&mut me, (key, &id), since, out);
                self.shown_or_minted(&me, &id, (now, outcome, since), out);
            }
        }
        if minted {
            let request = self.slot_of(Role::Request, context).cloned();
            if me.item.is_none() && identity.is_some() {
                // A context that was copied from the request's has its identity, too.
                self.requests.id(key, request.as_ref(), identity);
            }
            before = self.last_read(&me, key, request.as_ref());
            let strange = |read: &IdentityRead| {
                read.time < since.unwrap_or(0) || self.is_of_another(now.carrier, &me, context, read)
            };
            before.read.take_if(|read| strange(read));
            before.undecided.take_if(|(_, read)| strange(read));
        }
        self.keep(now.carrier, me, out);
        // A thread that may or may not be part of the request has read later: nobody can say yet.
        let read = before.read.as_deref().filter(|_| before.undecided.is_none());
        let life = minted.then(|| Life::new(scene!(self, out), read, None, Attribution::Unknown));
        let told = Told {
            life: life.map(Box::new),
            last_read: read.map(|read| (read.result, read.confidence)),
            identities,
        };
        (told, before)
    }

    /// A response gives a task's handle, or shows its state: what was pinned for it should be verified.
    fn shown_or_minted(
        &mut self,
        me: &CarrierState,
        id: &RequestId,
        (now, outcome, since): (Now, &Outcome, u64),
        out: &mut Out<'_>,
    ) {
        match outcome {
            Outcome::Minted { task, .. } => {
                let mint = Mint {
                    site: None,
                    announced: None,
                    handle: Some(*task),
                };
                self.task_was_minted(me, id, (now, &mint, Some(TaskName::Handle(*task))), out);
            }
            Outcome::State { task } => {
                self.task_was_shown(me, id, (&TaskName::Handle(*task), since), out);
            }
            _ => {}
        }
    }

    /// Whether a read decides nothing about the response that is written in this context, although it goes by the same request.
    fn is_of_another(
        &self,
        carrier: Carrier,
        me: &CarrierState,
        context: &Context,
        read: &IdentityRead,
    ) -> bool {
        match &me.item {
            // Whoever accepts connections hands over requests of many, and each answers in its own item.
            Some(item) if !item.for_request => ![read.item, read.within].contains(&Some(item.number)),
            Some(_) => false,
            // It was asked whether somebody is bound already, and then somebody was.
            None => {
                let since = self
                    .lineage
                    .as_ref()
                    .and_then(|lineage| lineage.identified(ScopeKey::new(context.scope, carrier), read.slot));
                read.result == ReadResult::Empty
                    && read.item.is_none()
                    && since.is_none_or(|since| read.seq < since)
                    && self
                        .slots
                        .bound(read.slot, held(&context.held, read.slot))
                        .is_some()
            }
        }
    }

    /// What the first bound variable of a role, by name, holds.
    fn slot_of<'a>(&self, role: Role, context: &'a Context) -> Option<&'a Value> {
        let bound = self.bound_of(role, context);
        bound.first().map(|(_, value)| *value)
    }

    /// What the variables of a role hold, as far as they are bound, by name.
    fn bound_of<'a>(&self, role: Role, context: &'a Context) -> Vec<(Slot, &'a Value)> {
        let of_role = self
            .slots
            .all()
            .filter(|slot| self.slots.role(*slot) == Some(role));
        let bound = of_role.filter_map(|slot| {
            let value = self.slots.bound(slot, held(&context.held, slot))?;
            Some((slot, value))
        });
        let mut bound: Vec<_> = bound.collect();
        bound.sort_by_key(|(slot, _)| self.slots.name(*slot));
        bound
    }

    /// The identities that a context holds, without those that may be another request's.
    fn whose(&self, me: &mut CarrierState, context: &Context) -> Vec<(Slot, Value)> {
        let bound = self.bound_of(Role::Identity, context).into_iter();
        let own = bound.filter(|(slot, value)| match me.item.take() {
            None => me.knows(*slot, value),
            Some(item) => {
                let place = item.place_known(context.scope);
                let verdict = judge(
                    me,
                    &item,
                    &self.slots,
                    place,
                    *slot,
                    held(&context.held, *slot),
                    None,
                );
                me.item = Some(item);
                matches!(verdict, Verdict::Own)
            }
        });
        own.map(|(slot, value)| (slot, value.clone())).collect()
    }

    fn task_finding(&self, now: Now, found: TaskFinding, before: &Before, known: bool, out: &mut Out<'_>) {
        let scene = scene!(self, out);
        let finding = match found.poller {
            None if known => return,
            None => {
                let Some(read) = &before.read else { return };
                let mint = Mint {
                    site: None,
                    announced: None,
                    handle: Some(found.task),
                };
                finding_of(scene, found.kind, now, read, mint)
            }
            Some(poller) => {
                let mut finding = scene.finding_of_none(found.kind, now, now.seq);
                finding.confidence = found.confidence;
                if found.kind == Kind::ForeignPoll {
                    finding.expected = found.owner.identity().cloned();
                    finding.found = poller.identity().cloned();
                }
                finding.poll = Some(Box::new(Poll {
                    handle: found.task,
                    owner: found.owner,
                    poller,
                    life: found.life,
                }));
                finding
            }
        };
        out.say(FactKind::Finding(Box::new(finding)));
    }
}
