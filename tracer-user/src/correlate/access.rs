//! Watched variables are read, bound and reset, and tasks are minted.

use std::sync::Arc;

use super::{
    black_hole,
    bleed::{self, ForeignRead},
    carrier::{BindRecord, CarrierState},
    drift::Missed,
    event::{Carrier, Named, Role, Scope, Slot, Stack, What},
    fact::{FactKind, HopWhat, Place, ReadResult},
    finding::{Confidence, Evidence, Kind, Mint, Read},
    hop::ScopeKey,
    inventory,
    item::{Verdict, Where, judge},
    lineage::Binding,
    reporter::{Now, Out, told},
    request::{IdentityRead, RequestId},
    stale::Whose,
    target::{Target, say, scene},
    task::Before,
    value::{Found, Value},
};

/// Where it happened.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) scope: Scope,
    pub(super) entered: bool,
    /// What the request slot holds.
    pub(super) request: Option<&'a Value>,
    pub(super) stack: &'a Arc<Stack>,
}

impl Here<'_> {
    pub(super) const fn key(&self, carrier: Carrier) -> ScopeKey {
        ScopeKey::new(self.scope, carrier)
    }
}

/// A look-up and what it found.
pub(super) struct Asked<'a> {
    pub(super) slot: Slot,
    pub(super) found: &'a Found,
    pub(super) call_default: Option<&'a Value>,
    /// Whether that counts as nothing.
    pub(super) nothing: bool,
}

impl Asked<'_> {
    fn value(&self) -> Option<Value> {
        match self.found {
            Found::Value(value) => Some(value.clone()),
            Found::Unset | Found::Unreadable | Found::Unresolved => None,
        }
    }
}

impl Target {
    /// Something that has to do with variables or tasks.
    pub(super) fn access(&mut self, me: &mut CarrierState, now: Now, what: &What, out: &mut Out<'_>) {
        match what {
            What::Read {
                slot,
                scope,
                entered,
                found,
                call_default,
                request,
                stack,
            } => {
                let call_default = call_default.as_ref();
                let nothing = match found {
                    Found::Unreadable | Found::Unresolved => false,
                    Found::Unset => true,
                    Found::Value(value) => self.slots.is_nothing(*slot, value, call_default),
                };
                let asked = Asked {
                    slot: *slot,
                    found,
                    call_default,
                    nothing,
                };
                let here = Here {
                    scope: *scope,
                    entered: *entered,
                    request: request.as_ref(),
                    stack,
                };
                self.enter(me, now, *scope, out);
                self.look(now, *scope, stack, out);
                self.read(me, now, &asked, here, out);
            }
            What::Bind {
                slot,
                scope,
                entered,
                value,
                request,
                stack,
            } => {
                let here = Here {
                    scope: *scope,
                    entered: *entered,
                    request: request.as_ref(),
                    stack,
                };
                self.enter(me, now, *scope, out);
                self.look(now, *scope, stack, out);
                self.bind(me, now, *slot, here, value, out);
            }
            What::Unbind {
                slot,
                scope,
                entered,
                restored,
                stack,
            } => {
                self.enter(me, now, *scope, out);
                self.look(now, *scope, stack, out);
                self.unbind(me, now, *slot, (*scope, *entered), restored);
            }
            What::Random {
                scope,
                request,
                stack,
            }
            | What::Coroutine {
                scope,
                request,
                stack,
            } => {
                let here = Here {
                    scope: *scope,
                    entered: false,
                    request: request.as_ref(),
                    stack,
                };
                self.enter(me, now, *scope, out);
                self.look(now, *scope, stack, out);
                self.at_mint(me, now, here, matches!(what, What::Coroutine { .. }), out);
            }
            What::Announced {
                scope,
                request,
                entered,
                said,
                stack,
            } => {
                let here = Here {
                    scope: *scope,
                    entered: *entered,
                    request: request.as_ref(),
                    stack,
                };
                self.enter(me, now, *scope, out);
                self.look(now, *scope, stack, out);
                self.announced(me, now, here, said, out);
            }
            _ => {}
        }
    }

    pub(super) fn read(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        asked: &Asked<'_>,
        here: Here<'_>,
        out: &mut Out<'_>,
    ) {
        Self::count_thread(me, (here.scope, here.entered), out);
        self.learn(me, (asked.slot, asked.found), here.request, out);
        let read = Read {
            site: here.stack.site().cloned(),
            stack: Arc::clone(here.stack),
        };
        let key = here.key(now.carrier);
        if let Some(lineage) = &mut self.lineage {
            lineage.touched(key, now.seq);
        }
        if asked.nothing {
            let reader = me.item.as_ref().map(|item| item.number);
            let scene = scene!(self, out);
            let findings = self
                .returns
                .missed(scene, now, (key, asked.slot), reader, asked.found, &read);
            self.say_lost(out, findings);
        }
        let mut judged = IdentityRead {
            result: ReadResult::Unjudged,
            confidence: Confidence::Confirmed,
            slot: asked.slot,
            expected: None,
            found: asked.value(),
            read,
            item: me.item.as_ref().map(|item| item.number),
            within: me.item.as_ref().and_then(|item| item.hop.as_ref()?.within),
            hop: None,
            source: None,
            bind: None,
            seq: now.seq,
            time: now.time,
        };
        self.judge_read(me, now, asked, here, &mut judged, out);
        me.results.keep(asked.slot, judged.result);
        out.say(FactKind::Read(asked.slot, judged.result, 1));
        inventory::tell(me, out, HopWhat::Read(asked.slot, judged.result));
        if self.slots.role(asked.slot) == Some(Role::Digest) {
            self.digest_read(me, now, asked.slot, (here, &judged), out);
        }
        if self.slots.role(asked.slot) == Some(Role::Identity) {
            if judged.result == ReadResult::Empty {
                self.empty_read(me, now, here, &judged, out);
            }
            let identity = asked.value().filter(|_| !asked.nothing);
            let request = self.request(me, key, here.request, identity.as_ref());
            if let (Some(id), Some(mint)) = (&request, minted_under(here.stack)) {
                self.task_was_minted(me, id, (now, &mint, None), out);
            }
            let judged = Arc::new(judged);
            let minting = (here.scope, request.as_ref().map(RequestId::keys));
            self.mintings.read(scene!(self, out), out, now, minting, &judged);
            match (request, &mut me.undecided) {
                (Some(request), Some(undecided)) => undecided.last_read = Some((request, judged)),
                (Some(request), None) => {
                    self.requests.read(&request, &judged);
                }
                (None, _) => self.requests.read_unplaced(now.seq),
            }
        }
    }

    /// A digest was read: to be verified, or to see whether it is there.
    fn digest_read(
        &mut self,
        me: &CarrierState,
        now: Now,
        slot: Slot,
        (here, judged): (Here<'_>, &IdentityRead),
        out: &mut Out<'_>,
    ) {
        let id = self.request(me, here.key(now.carrier), here.request, None);
        match judged.result {
            ReadResult::Own => self.verified(me, Some(slot), id),
            ReadResult::Empty => {
                let missed = Missed {
                    now,
                    found: judged.found.clone(),
                    read: judged.read.clone(),
                    evidence: Evidence::Observed,
                };
                self.not_verified(me, (Some(slot), id), &missed, out);
            }
            ReadResult::Foreign | ReadResult::Unreadable | ReadResult::Unjudged => {}
        }
    }

    fn judge_read(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        asked: &Asked<'_>,
        here: Here<'_>,
        judged: &mut IdentityRead,
        out: &mut Out<'_>,
    ) {
        let Some(mut item) = me.item.take() else {
            judged.result = match asked.found {
                Found::Unreadable => ReadResult::Unreadable,
                Found::Unresolved => ReadResult::Unjudged,
                _ if asked.nothing && me.fed.is_some() => ReadResult::Unjudged,
                _ if asked.nothing => ReadResult::Empty,
                Found::Value(value) if !me.knows(asked.slot, value) => ReadResult::Unjudged,
                Found::Value(value) => self.judge_task(now, asked.slot, value, here, judged, out),
                Found::Unset => ReadResult::Own,
            };
            return;
        };
        let place = item.place(here.scope, here.entered);
        let scene = scene!(self, out);
        let slot = asked.slot;
        let mut finding = None;
        judged.result = match judge(
            me,
            &item,
            &self.slots,
            place,
            slot,
            asked.found,
            asked.call_default,
        ) {
            Verdict::Own => ReadResult::Own,
            Verdict::Unreadable => ReadResult::Unreadable,
            Verdict::Unjudged => ReadResult::Unjudged,
            Verdict::Empty { missed } => {
                judged.expected.clone_from(&missed);
                if let Some(expected) = missed.filter(|_| item.first(Kind::BlackHoleRead, slot)) {
                    let read = judged.read.clone();
                    finding = Some(black_hole::read_report(
                        scene,
                        &item,
                        now,
                        slot,
                        expected,
                        asked.found,
                        read,
                    ));
                }
                ReadResult::Empty
            }
            Verdict::Foreign {
                expected,
                confidence,
                from,
            } => {
                judged.confidence = confidence;
                judged.expected.clone_from(&expected);
                if let Found::Value(found) = asked.found {
                    let foreign = ForeignRead {
                        slot,
                        found: found.clone(),
                        expected,
                        confidence,
                        from,
                        read: judged.read.clone(),
                    };
                    let (bleed, bind) = bleed::report(scene, me, &item, now, foreign);
                    judged.source = bleed.source;
                    judged.bind.clone_from(&bleed.bind);
                    if item.first(Kind::Bleed, slot) {
                        finding = Some(bleed);
                    }
                    if let Some(bind) = bind {
                        out.say(FactKind::BleedAge(now.time.saturating_sub(bind.time)));
                    }
                }
                ReadResult::Foreign
            }
        };
        match judged.result {
            ReadResult::Own | ReadResult::Foreign | ReadResult::Empty => item.answered.insert(slot),
            ReadResult::Unreadable | ReadResult::Unjudged => item.unanswered.insert(slot),
        };
        let hop = item.hop.as_ref().filter(|_| !item.by_context);
        judged.hop = hop.map(|hop| told(hop, item.taken));
        me.item = Some(item);
        if let Some(finding) = finding {
            say(me, out, FactKind::Finding(Box::new(finding)));
        }
    }

    /// A read outside items: the reader may be a task that works for another request than the one whose identity it carries.
    fn judge_task(
        &mut self,
        now: Now,
        slot: Slot,
        found: &Value,
        here: Here<'_>,
        judged: &mut IdentityRead,
        out: &mut Out<'_>,
    ) -> ReadResult {
        let key = here.key(now.carrier);
        let Some(lineage) = &mut self.lineage else {
            return ReadResult::Own;
        };
        let stale = match lineage.whose(key, slot, found) {
            Whose::Own => return ReadResult::Own,
            Whose::Unknown => return ReadResult::Unjudged,
            Whose::Stale(stale) => *stale,
        };
        judged.confidence = stale.confidence;
        judged.expected = Some(stale.expected.clone());
        out.say(FactKind::BleedAge(now.time.saturating_sub(stale.bind.time)));
        let first = lineage.first(stale.request, slot);
        let finding = bleed::of_task(scene!(self, out), now, slot, found, judged, &stale);
        judged.source = finding.source;
        judged.bind.clone_from(&finding.bind);
        if first {
            out.say(FactKind::Finding(Box::new(finding)));
        }
        ReadResult::Foreign
    }

    pub(super) fn bind(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        slot: Slot,
        here: Here<'_>,
        value: &Found,
        out: &mut Out<'_>,
    ) {
        Self::count_thread(me, (here.scope, here.entered), out);
        let place = me.item.as_mut().map(|item| item.place(here.scope, here.entered));
        let told = match place {
            None => Place::Request,
            Some(Where::Base) => Place::WorkerBase,
            Some(Where::Brought | Where::Entered) => Place::WorkerEntered,
        };
        out.say(FactKind::Bind(slot, told));
        inventory::tell(me, out, HopWhat::Bound(slot, told));
        let record = BindRecord {
            value: match value {
                Found::Value(value) => Some(value.clone()),
                Found::Unset | Found::Unreadable | Found::Unresolved => None,
            },
            site: here.stack.site().cloned(),
            carrier: now.carrier,
            item: me.item.as_ref().map(|item| item.number),
            time: now.time,
            seq: now.seq,
        };
        let bound = self.slots.bound(slot, value).is_some();
        if let Some(value) = self.slots.bound(slot, value) {
            self.checks.bound(here.key(now.carrier), slot);
            if self.slots.role(slot) == Some(Role::Identity) {
                self.announced.bound(slot, value);
            }
            let binder = me.item.as_ref().map(|item| item.number);
            self.returns
                .came_back((here.key(now.carrier), slot), binder, value);
        }
        if let (Some(item), Some(place)) = (me.item.as_mut(), place) {
            item.remember_bound(slot, value);
            if bound {
                self.returns
                    .bound(item, slot, (place, here.scope), record.clone());
            } else if !matches!(value, Found::Unreadable | Found::Unresolved) {
                self.returns.unbound(item, slot, place, here.scope, value);
            }
        } else if let Some(value) = self.slots.bound(slot, value) {
            self.bound_by_request(slot, value);
            self.outside_bind(slot, here.key(now.carrier), here.request, value);
            if let Some(lineage) = &mut self.lineage {
                let binding = Binding::new(value.clone(), here.stack.site().cloned(), now);
                lineage.bound(here.key(now.carrier), slot, binding);
            }
        } else if let Some(lineage) = &mut self.lineage {
            lineage.unbound(here.key(now.carrier), slot, value, now.seq);
        }
        if self.slots.role(slot) == Some(Role::Digest)
            && !matches!(value, Found::Unreadable | Found::Unresolved)
        {
            let id = self.request(me, here.key(now.carrier), here.request, None);
            if bound {
                self.pinned(me, (Some(slot), id), record.clone(), Evidence::Observed);
            } else {
                self.unpinned(me, Some(slot));
                self.verified(me, Some(slot), id);
            }
        }
        let in_base = place.map_or(!here.entered, |place| place == Where::Base);
        if in_base
            && !me.base.push(slot, record)
            && let Some(item) = me.item.as_mut()
        {
            item.forgot = true;
        }
    }

    /// A request says whom it is for.
    fn outside_bind(&mut self, slot: Slot, scope: ScopeKey, request: Option<&Value>, value: &Value) {
        if self.slots.role(slot) != Some(Role::Identity) {
            return;
        }
        self.requests.bound(scope, value.root);
        let id = self.requests.id(scope, request, Some(value));
        self.requests.says(&id, slot, value);
    }

    pub(super) fn unbind(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        slot: Slot,
        (scope, entered): (Scope, bool),
        restored: &Found,
    ) {
        let place = me.item.as_mut().map(|item| item.place(scope, entered));
        if self.slots.role(slot) == Some(Role::Digest) && self.slots.bound(slot, restored).is_none() {
            self.unpinned(me, Some(slot));
        }
        if let (Some(item), Some(place)) = (me.item.as_mut(), place) {
            self.returns.unbound(item, slot, place, scope, restored);
            item.forgot |= matches!(restored, Found::Unreadable | Found::Unresolved);
        } else if let Some(lineage) = &mut self.lineage {
            lineage.unbound(ScopeKey::new(scope, now.carrier), slot, restored, now.seq);
        }
        if place.map_or(!entered, |place| place == Where::Base) {
            me.base.undo(slot, restored);
        }
    }

    /// The request that something belongs to (rule 9); none if that cannot be known.
    pub(super) fn request(
        &mut self,
        me: &CarrierState,
        scope: ScopeKey,
        request: Option<&Value>,
        identity: Option<&Value>,
    ) -> Option<RequestId> {
        if let Some(item) = &me.item {
            item.hop.as_ref().filter(|_| item.is_told())?.request.clone()
        } else {
            let of_role = |slot: &Slot| self.slots.role(*slot) == Some(Role::Request);
            let slot = self.slots.all().find(of_role);
            let request = request.filter(|v| slot.is_none_or(|slot| !self.slots.is_nothing(slot, v, None)));
            let id = self.requests.id(scope, request, identity);
            Some(match &self.lineage {
                Some(lineage) => id.of_tasks(lineage, scope),
                None => id,
            })
        }
    }

    pub(super) fn last_read(
        &mut self,
        me: &CarrierState,
        scope: ScopeKey,
        request: Option<&Value>,
    ) -> Before {
        let Some(id) = self.request(me, scope, request, None) else {
            return Before::default();
        };
        let own = me.undecided.as_ref().and_then(|u| u.last_read.as_ref());
        let own = own.filter(|(of, _)| of.exact == id.exact).map(|(_, read)| read);
        let read = self
            .requests
            .decisive(own.or_else(|| self.requests.last(&id)))
            .cloned();
        let since = read.as_ref().map_or(0, |read| read.seq);
        let others = self.undecided.iter().filter_map(|carrier| {
            let (of, read) = self
                .carriers
                .get(carrier)?
                .undecided
                .as_ref()?
                .last_read
                .as_ref()?;
            let later =
                of.exact == id.exact && read.seq > since && self.requests.decisive(Some(read)).is_some();
            later.then(|| (*carrier, Arc::clone(read)))
        });
        Before {
            undecided: others.max_by_key(|(_, read)| read.seq),
            read,
            request: Some(id.keys()),
        }
    }

    /// A minting function is called, or draws an id.
    fn at_mint(&mut self, me: &CarrierState, now: Now, here: Here<'_>, called: bool, out: &mut Out<'_>) {
        let before = self.last_read(me, here.key(now.carrier), here.request);
        let last = (here.scope, before.request.as_ref());
        if !called && self.mintings.goes_on_drawing(now, last, here.stack) {
            return;
        }
        let id = self.request(me, here.key(now.carrier), here.request, None);
        if let (Some(id), Some(mint)) = (id, minted_under(here.stack)) {
            self.task_was_minted(me, &id, (now, &mint, None), out);
        }
        let (scene, scope) = (scene!(self, out), here.scope);
        if called {
            self.mintings.called(scene, out, now, scope, here.stack, before);
        } else {
            self.mintings.drawn(scene, out, now, scope, here.stack, before);
        }
    }

    /// Whom a request is for, as it has read last, or bound.
    pub(super) fn identity_of(
        &mut self,
        me: &CarrierState,
        scope: ScopeKey,
        request: Option<&Value>,
    ) -> Option<(Slot, Value)> {
        let read = self.last_read(me, scope, request).read;
        let own = read.and_then(|read| {
            let own = match read.result {
                ReadResult::Own => read.found.clone(),
                _ => read.expected.clone(),
            };
            Some((read.slot, own?))
        });
        own.or_else(|| {
            let id = self.request(me, scope, request, None)?;
            self.requests.identity(&id)
        })
    }
}

/// The mint that somebody is at, as far as the stack shows.
fn minted_under(stack: &Stack) -> Option<Mint> {
    let frame = stack.outermost(Named::Mint)?;
    Some(Mint {
        site: Some(frame.site.clone()),
        announced: None,
        handle: None,
    })
}
