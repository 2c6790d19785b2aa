//! `black_hole_read`: a worker reads nothing although the hop value was bound.
//! `black_hole_return`: an item's bind does not come back to the scope that submitted it (rule 11).

use super::{
    carrier::BindRecord,
    event::{Scope, Slot},
    finding::{Finding, Hop, Kind, Read},
    hop::ScopeKey,
    item::{Item, Where},
    reporter::{Now, Scene, told},
    table::{SortedTable, Table},
    value::{Found, Value},
};

/// Binds of one item and slot that are remembered until they are reset.
const OPEN_BINDS: usize = 16;

/// A worker's read that finds nothing.
pub(super) fn read_report(
    scene: Scene<'_>,
    item: &Item,
    now: Now,
    slot: Slot,
    expected: Value,
    found: &Found,
    read: Read,
) -> Finding {
    let mut finding = scene.finding(
        Kind::BlackHoleRead,
        now,
        slot,
        item.hop.as_ref().map_or(now.seq, |hop| hop.seq),
    );
    finding.item = Some(item.number);
    finding.expected = Some(expected);
    finding.found = value_of(found);
    finding.hop = item.hop.as_ref().map(|hop| told(hop, item.taken));
    finding.read = Some(read);
    finding
}

fn value_of(found: &Found) -> Option<Value> {
    match found {
        Found::Value(value) => Some(value.clone()),
        Found::Unset | Found::Unreadable | Found::Unresolved => None,
    }
}

type Key = (ScopeKey, Slot, u64);

/// What items bound and did not reset, by the scope that submitted them.
#[derive(Debug)]
pub(super) struct Returns {
    pub(super) pending: SortedTable<Key, Pending>,
    /// Scopes that submitted something, with the generation of each: addresses are reused.
    homes: Table<ScopeKey, u64>,
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// Binds that were not reset, with the scope of each: none for the base.
    open: Vec<(Option<Scope>, BindRecord)>,
    hop: Hop,
    submitted: u64,
    ended: bool,
    missed: Option<Missed>,
}

/// A read in the submitting scope that found nothing.
#[derive(Debug)]
struct Missed {
    now: Now,
    found: Option<Value>,
    read: Read,
}

fn home(item: &Item) -> Option<ScopeKey> {
    item.hop.as_ref().filter(|_| item.is_told()).map(|hop| hop.scope)
}

fn place_key(place: Where, scope: Scope) -> Option<Scope> {
    (place != Where::Base).then_some(scope)
}

impl Returns {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            pending: SortedTable::new(bound),
            homes: Table::new(bound),
            generation: 0,
        }
    }

    /// The generation of a scope that submits something.
    pub(super) fn home(&mut self, scope: ScopeKey) -> u64 {
        let generation = self.homes.remove(&scope).unwrap_or_else(|| {
            self.generation += 1;
            self.generation
        });
        self.homes.insert(scope, generation);
        generation
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.homes.clear();
    }

    pub(super) fn take_evicted(&mut self) -> u64 {
        self.pending.take_evicted() + self.homes.take_evicted()
    }

    /// An item bound something.
    pub(super) fn bound(
        &mut self,
        item: &Item,
        slot: Slot,
        (place, scope): (Where, Scope),
        bind: BindRecord,
    ) {
        let (Some(home), Some(hop)) = (home(item), item.hop.as_ref()) else {
            return;
        };
        let key = (home, slot, item.number);
        if !self.pending.contains(&key) {
            if self.homes.get(&home) != Some(&hop.generation) {
                return;
            }
            let pending = Pending {
                open: Vec::new(),
                hop: told(hop, item.taken),
                submitted: hop.seq,
                ended: false,
                missed: None,
            };
            self.pending.insert(key, pending);
        }
        if let Some(pending) = self.pending.get_mut(&key) {
            if pending.open.len() == OPEN_BINDS {
                pending.open.remove(0);
            }
            pending.open.push((place_key(place, scope), bind));
        }
    }

    /// An item reset something, or bound nothing over it: what that scope holds now is all that is left of its binds there.
    pub(super) fn unbound(&mut self, item: &Item, slot: Slot, place: Where, scope: Scope, now_holds: &Found) {
        let Some(home) = home(item) else { return };
        let key = (home, slot, item.number);
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let place = place_key(place, scope);
        let mut undone = false;
        while let Some(last) = pending.open.iter().rposition(|(p, _)| *p == place) {
            if undone && matches!(now_holds, Found::Value(v) if pending.open[last].1.is(v)) {
                break;
            }
            pending.open.remove(last);
            undone = true;
        }
        if pending.open.is_empty() {
            self.pending.remove(&key);
        }
    }

    /// The submitting scope itself binds what an item bound: that came back, whatever happens to it later.
    pub(super) fn came_back(&mut self, (scope, slot): (ScopeKey, Slot), binder: Option<u64>, value: &Value) {
        for key in self
            .pending
            .keys_between(&(scope, slot, 0), &(scope, slot, u64::MAX))
        {
            let brought = |p: &Pending| p.missed.is_none() && p.open.iter().any(|(_, bind)| bind.is(value));
            if binder != Some(key.2) && self.pending.get(&key).is_some_and(brought) {
                self.pending.remove(&key);
            }
        }
    }

    /// A read found nothing in this scope, by a carrier that runs the item `reader`. What is confirmed by that comes with its scope.
    pub(super) fn missed(
        &mut self,
        scene: Scene<'_>,
        now: Now,
        (scope, slot): (ScopeKey, Slot),
        reader: Option<u64>,
        found: &Found,
        read: &Read,
    ) -> Vec<(ScopeKey, Finding)> {
        let mut findings = Vec::new();
        for key in self
            .pending
            .keys_between(&(scope, slot, 0), &(scope, slot, u64::MAX))
        {
            if reader == Some(key.2) {
                continue;
            }
            let Some(pending) = self.pending.get_mut(&key) else {
                continue;
            };
            pending.missed.get_or_insert_with(|| Missed {
                now,
                found: value_of(found),
                read: read.clone(),
            });
            if pending.ended {
                findings.extend(self.confirm(scene, key));
            }
        }
        findings
    }

    fn confirm(&mut self, scene: Scene<'_>, key: Key) -> Option<(ScopeKey, Finding)> {
        let (scope, slot, item) = key;
        let pending = self.pending.remove(&key)?;
        let missed = pending.missed?;
        let (_, bind) = pending.open.last()?;
        let mut finding = scene.finding(
            Kind::BlackHoleReturn,
            missed.now,
            slot,
            pending.submitted.min(bind.seq),
        );
        finding.item = Some(item);
        finding.expected.clone_from(&bind.value);
        finding.found = missed.found;
        finding.bind = Some(bind.told(missed.now.time));
        finding.hop = Some(pending.hop);
        finding.read = Some(missed.read);
        Some((scope, finding))
    }

    fn keys_of(&self, scene: Scene<'_>, item: &Item) -> Vec<Key> {
        let Some(home) = home(item) else { return Vec::new() };
        let keys = scene.slots.all().map(|slot| (home, slot, item.number));
        keys.filter(|key| self.pending.contains(key)).collect()
    }

    /// The item ended: what was missed and not reset is confirmed, what is read later counts at once.
    pub(super) fn ended(&mut self, scene: Scene<'_>, item: &Item) -> Vec<(ScopeKey, Finding)> {
        let mut findings = Vec::new();
        for key in self.keys_of(scene, item) {
            let Some(pending) = self.pending.get_mut(&key) else {
                continue;
            };
            pending.ended = true;
            if pending.missed.is_some() {
                findings.extend(self.confirm(scene, key));
            }
        }
        findings
    }

    /// The target ended with the item open (rule 13).
    pub(super) fn cut_short(&mut self, scene: Scene<'_>, item: &Item) -> Vec<(ScopeKey, Finding)> {
        let mut findings = self.ended(scene, item);
        for (_, finding) in &mut findings {
            finding.window_complete = false;
        }
        findings
    }

    /// The item's end can no longer be known.
    pub(super) fn abandon(&mut self, scene: Scene<'_>, item: &Item) {
        for key in self.keys_of(scene, item) {
            self.pending.remove(&key);
        }
    }

    /// The scope ended: nobody will read in it again. What was missed already still waits for its item's end.
    pub(super) fn end_scope(&mut self, scope: ScopeKey) {
        self.homes.remove(&scope);
        for key in self
            .pending
            .keys_between(&(scope, Slot(0), 0), &(scope, Slot(u8::MAX), u64::MAX))
        {
            if self.pending.get(&key).is_some_and(|p| p.missed.is_none()) {
                self.pending.remove(&key);
            }
        }
    }
}
