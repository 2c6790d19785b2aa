//! `empty_check`: a policy was evaluated for nobody, inside a request.
//!
//! At start-up, in a health check, in a scheduler nobody is what a policy finds, and that is right. A check is inside a request if
//! one of these is known: the request slot is bound for it; its item was handed over with the identity that it misses; what a
//! worker bound for its scope did not come back to it; a response of MCP was written in its scope, and the check ran between
//! that one's request and the response.

use super::{
    access::Here,
    carrier::CarrierState,
    event::{Named, Role, Slot},
    fact::FactKind,
    finding::{Finding, Kind},
    hop::{HopValue, ScopeKey},
    item::{Item, Verdict, judge},
    reporter::{Now, Out},
    request::{IdentityRead, RequestId, RequestKey},
    table::{SortedTable, Table},
    target::{Target, say, scene},
    value::Found,
};

/// What is known of checks that ran for nobody outside items.
#[derive(Debug)]
pub(super) struct Checks {
    /// One finding for each request and variable.
    reported: Table<(RequestKey, Option<Slot>), ()>,
    /// What a worker bound for the request in this scope, and what never came back to it.
    lost: SortedTable<(ScopeKey, Slot), Finding>,
    /// The last check in a scope of which it is not known that it is inside a request.
    waiting: SortedTable<(ScopeKey, Option<Slot>), Waiting>,
    /// Where the last of these is of a request that tasks work for.
    of_task: Table<RequestKey, ScopeKey>,
}

#[derive(Debug)]
struct Waiting {
    /// None for a check in an item, which is reported once at most.
    request: Option<RequestKey>,
    item: Option<u64>,
    finding: Finding,
}

impl Checks {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            reported: Table::new(bound),
            lost: SortedTable::new(bound),
            waiting: SortedTable::new(bound),
            of_task: Table::new(bound),
        }
    }

    pub(super) fn clear(&mut self) {
        self.lost.clear();
        self.waiting.clear();
        self.of_task.clear();
    }

    pub(super) fn end_scope(&mut self, scope: ScopeKey) {
        let (first, last) = ((scope, Slot(0)), (scope, Slot(u8::MAX)));
        for key in self.lost.keys_between(&first, &last) {
            self.lost.remove(&key);
        }
        for key in self.waiting_in(scope) {
            self.waiting.remove(&key);
        }
    }

    /// The scope itself says who it is for.
    pub(super) fn bound(&mut self, scope: ScopeKey, slot: Slot) {
        self.lost.remove(&(scope, slot));
    }

    /// Whether what a worker bound for this scope did not come back to it.
    pub(super) fn has_lost(&self, scope: ScopeKey, slot: Slot) -> bool {
        self.lost.contains(&(scope, slot))
    }

    fn waiting_in(&self, scope: ScopeKey) -> Vec<(ScopeKey, Option<Slot>)> {
        self.waiting
            .keys_between(&(scope, None), &(scope, Some(Slot(u8::MAX))))
    }

    /// Takes a check that turned out to be inside a request, unless its request has one already.
    fn settle(&mut self, key: (ScopeKey, Option<Slot>)) -> Option<Finding> {
        let waiting = self.waiting.remove(&key)?;
        match waiting.request {
            Some(request) => self.first(request, key.1).then_some(waiting.finding),
            None => Some(waiting.finding),
        }
    }

    fn first(&mut self, request: RequestKey, slot: Option<Slot>) -> bool {
        let key = (request, slot);
        let first = !self.reported.contains(&key);
        if first {
            self.reported.insert(key, ());
        }
        first
    }
}

impl Target {
    /// An identity was read, and nothing found.
    pub(super) fn empty_read(
        &mut self,
        me: &mut CarrierState,
        now: Now,
        here: Here<'_>,
        judged: &IdentityRead,
        out: &mut Out<'_>,
    ) {
        let Some(policy) = here.stack.outermost(Named::Policy) else {
            return;
        };
        let slot = judged.slot;
        let mut finding = scene!(self, out).finding(Kind::EmptyCheck, now, slot, judged.seq);
        finding.policy = Some(policy.site.clone());
        finding.item = judged.item;
        finding.expected.clone_from(&judged.expected);
        finding.found.clone_from(&judged.found);
        finding.hop.clone_from(&judged.hop);
        finding.read = Some(judged.read.clone());
        let inside = judged.expected.is_some();
        self.check_for_nobody(me, here, (Some(slot), inside), finding, out);
    }

    /// A policy was evaluated for nobody: reports it, or keeps it until it is known to be inside a request. `inside` says that it
    /// is known already.
    pub(super) fn check_for_nobody(
        &mut self,
        me: &mut CarrierState,
        here: Here<'_>,
        (slot, inside): (Option<Slot>, bool),
        mut finding: Finding,
        out: &mut Out<'_>,
    ) {
        let scope = here.key(finding.carrier);
        let lost = slot.and_then(|slot| self.checks.lost.get(&(scope, slot)));
        if let Some(lost) = lost {
            tell_lost(&mut finding, lost);
        }
        let inside = inside || lost.is_some() || self.names_request(me, here);
        let id = match &me.item {
            Some(_) => None,
            None => self.request(me, scope, here.request, None),
        };
        let task = id.as_ref().and_then(|id| id.task()).cloned();
        let request = id.map(|id| id.exact);
        if !inside {
            if let Some(task) = task {
                self.checks.of_task.insert(task, scope);
            }
            let item = me.item.as_ref().map(|item| item.number);
            let waiting = Waiting {
                request,
                item,
                finding,
            };
            self.checks.waiting.insert((scope, slot), waiting);
            return;
        }
        let first = match (&mut me.item, request) {
            (Some(item), _) => item.first_check(slot),
            (None, Some(request)) => self.checks.first(request, slot),
            (None, None) => false,
        };
        if first {
            say(me, out, FactKind::Finding(Box::new(finding)));
        }
    }

    /// Whether the request slot says that this is part of a request, and is not what another one has left.
    fn names_request(&self, me: &CarrierState, here: Here<'_>) -> bool {
        let of_role = |slot: &Slot| self.slots.role(*slot) == Some(Role::Request);
        let Some(slot) = self.slots.all().find(of_role) else {
            return false;
        };
        let named = here.request.filter(|v| !self.slots.is_nothing(slot, v, None));
        match (&me.item, named) {
            (None, named) => named.is_some_and(|value| me.knows(slot, value)),
            (Some(item), named) => {
                let handed = item.hop.as_ref().filter(|_| item.is_told());
                let own = |item: &Item, value: &super::value::Value| {
                    let found = Found::Value(value.clone());
                    let place = item.place_known(here.scope);
                    matches!(
                        judge(me, item, &self.slots, place, slot, &found, None),
                        Verdict::Own
                    )
                };
                handed.is_some_and(|hop| matches!(hop.value(slot), HopValue::Bound(_)))
                    || named.is_some_and(|value| own(item, value))
            }
        }
    }

    /// Binds of items that did not come back, each with the scope that they should have come back to.
    pub(super) fn say_lost(&mut self, out: &mut Out<'_>, findings: Vec<(ScopeKey, Finding)>) {
        for (scope, lost) in findings {
            if let Some(slot) = lost
                .slot
                .filter(|slot| self.slots.role(*slot) == Some(Role::Identity))
            {
                self.checks.lost.insert((scope, slot), lost.clone());
                let key = (scope, Some(slot));
                let later = |waiting: &Waiting| waiting.finding.time >= lost.time;
                if self.checks.waiting.get(&key).is_some_and(later)
                    && let Some(mut finding) = self.checks.settle(key)
                {
                    tell_lost(&mut finding, &lost);
                    out.say(FactKind::Finding(Box::new(finding)));
                }
            }
            out.say(FactKind::Finding(Box::new(lost)));
        }
    }

    /// A response was written in this scope, or for a request that the same task works for: what was checked there since its request
    /// came was checked for that one.
    pub(super) fn answered(
        &mut self,
        me: &mut CarrierState,
        (scope, id): (ScopeKey, &RequestId),
        since: u64,
        out: &mut Out<'_>,
    ) {
        let item = me.item.as_ref().map(|item| item.number);
        let other = id.task().and_then(|task| self.checks.of_task.get(task)).copied();
        let scopes = [scope].into_iter().chain(other.filter(|other| *other != scope));
        let keys: Vec<_> = scopes.flat_map(|scope| self.checks.waiting_in(scope)).collect();
        for key in keys {
            let is_its = |w: &Waiting| w.finding.time >= since && w.item == item;
            if !self.checks.waiting.get(&key).is_some_and(is_its) {
                continue;
            }
            let Some(finding) = self.checks.settle(key) else {
                continue;
            };
            if me.item.as_mut().is_none_or(|item| item.first_check(key.1)) {
                say(me, out, FactKind::Finding(Box::new(finding)));
            }
        }
    }
}

/// What the check would have found, had it come back.
fn tell_lost(finding: &mut Finding, lost: &Finding) {
    finding.expected.clone_from(&lost.expected);
    finding.hop.clone_from(&lost.hop);
    finding.bind.clone_from(&lost.bind);
    finding.window_complete &= lost.window_complete;
}
