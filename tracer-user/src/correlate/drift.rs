//! `drift_blindness`: a digest that a worker pinned is missing where it is verified, and a task was minted.
//!
//! A pin belongs to the request that handed the work over, and to the item in which it did so, if it was in one: a thread that
//! accepts connections hands over the work of many. It counts as long as its work does not reset it and its request does not come
//! to know the digest: by binding it itself, or by finding it.

use super::{
    carrier::{BindRecord, CarrierState},
    event::{Named, Role, Slot},
    fact::FactKind,
    finding::{Confidence, Evidence, Finding, Hop, Kind, Mint, Read},
    item::Item,
    reporter::{Now, Out, told},
    request::{RequestId, RequestKey},
    table::Table,
    target::{Target, scene},
    value::Value,
};
use crate::wire::secret::Fingerprint;

/// A digest of a request: of a watched variable, or none of the program's announcements. The item is the one that handed over.
type Key = (RequestKey, Option<u64>, Option<Slot>);

/// Which task: by its handle on the wire, or as the program calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TaskName {
    Handle(Fingerprint),
    Said(String),
}

/// A digest that a worker pinned.
#[derive(Debug)]
struct Pin {
    bind: BindRecord,
    item: u64,
    hop: Hop,
    evidence: Evidence,
    /// Its work found it again, and may have carried it out as data.
    found_again: bool,
    /// How its work has ended without a reset, if it has.
    kept: Option<End>,
    missed: Option<Missed>,
    minted: Option<(u64, Mint)>,
    reported: bool,
}

/// How work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// The target ended first.
    CutShort,
}

/// A verification that found nothing.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) now: Now,
    pub(super) found: Option<Value>,
    pub(super) read: Read,
    pub(super) evidence: Evidence,
}

#[derive(Debug)]
pub(super) struct Drifts {
    pins: Table<Key, Pin>,
    /// By what contexts of a request that pinned something share (its identity object, whom its tasks work for): what it goes by itself.
    shared: Table<RequestKey, RequestKey>,
    /// The last verifications of requests, if they found nothing.
    missed: Table<Key, Missed>,
    /// What was pinned when a task was minted.
    tasks: Table<TaskName, Vec<Key>>,
}

impl Drifts {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            pins: Table::new(bound),
            shared: Table::new(bound),
            missed: Table::new(bound),
            tasks: Table::new(bound),
        }
    }

    pub(super) fn clear(&mut self) {
        self.pins.clear();
        self.shared.clear();
        self.missed.clear();
        self.tasks.clear();
    }

    /// The request knows the digest.
    fn known(&mut self, keys: &[Key]) {
        for key in keys {
            self.pins.remove(key);
            self.missed.remove(key);
        }
    }

    fn pin_of<'k>(&mut self, keys: &'k [Key], item: u64) -> Option<(&'k Key, &mut Pin)> {
        let key = keys
            .iter()
            .find(|key| self.pins.get(key).is_some_and(|pin| pin.item == item))?;
        Some((key, self.pins.get_mut(key)?))
    }
}

/// The item in which somebody works.
fn level(me: &CarrierState) -> Option<u64> {
    me.item.as_ref().map(|item| item.number)
}

impl Target {
    /// The digests that are watched, and what is announced.
    fn digests(&self) -> Vec<Option<Slot>> {
        let watched = self
            .slots
            .all()
            .filter(|slot| self.slots.role(*slot) == Some(Role::Digest));
        watched.map(Some).chain([None]).collect()
    }

    fn keys(&self, id: &RequestId, level: Option<u64>, slot: Option<Slot>) -> Vec<Key> {
        let mut also = self.requests.own_object(id).into_iter().chain(id.task());
        let shared = also.find_map(|name| self.drifts.shared.get(name));
        let names = [&id.exact]
            .into_iter()
            .chain(shared.filter(|name| **name != id.exact));
        names.map(|name| (name.clone(), level, slot)).collect()
    }

    /// What an item pinned, if it did.
    fn keys_of(&self, item: &Item, slot: Option<Slot>) -> Vec<Key> {
        let hop = item.hop.as_ref().filter(|_| item.is_told());
        let id = hop.and_then(|hop| Some((hop.request.as_ref()?, hop.within)));
        id.map_or_else(Vec::new, |(id, within)| self.keys(id, within, slot))
    }

    /// A digest was pinned.
    pub(super) fn pinned(
        &mut self,
        me: &CarrierState,
        (slot, id): (Option<Slot>, Option<RequestId>),
        bind: BindRecord,
        evidence: Evidence,
    ) {
        if let Some(id) = id {
            let keys = self.keys(&id, level(me), slot);
            self.drifts.known(&keys);
        }
        let Some(item) = &me.item else { return };
        let (Some(key), Some(hop)) = (self.keys_of(item, slot).into_iter().next(), &item.hop) else {
            return;
        };
        if let Some(id) = &hop.request {
            for name in self.requests.own_object(id).into_iter().chain(id.task()) {
                self.drifts.shared.insert(name.clone(), key.0.clone());
            }
        }
        let pin = Pin {
            bind,
            item: item.number,
            hop: told(hop, item.taken),
            evidence,
            found_again: false,
            kept: None,
            missed: None,
            minted: None,
            reported: false,
        };
        self.drifts.pins.insert(key, pin);
    }

    /// A digest was reset to nothing.
    pub(super) fn unpinned(&mut self, me: &CarrierState, slot: Option<Slot>) {
        let Some(item) = &me.item else { return };
        let keys = self.keys_of(item, slot);
        if let Some((key, _)) = self.drifts.pin_of(&keys, item.number) {
            self.drifts.pins.remove(key);
        }
    }

    /// The work of an item has ended, or is `cut_short` (rule 13).
    pub(super) fn pins_kept(&mut self, item: &Item, cut_short: bool, out: &mut Out<'_>) {
        if self.drifts.pins.len() == 0 {
            return;
        }
        for slot in self.digests() {
            let keys = self.keys_of(item, slot);
            if let Some((key, pin)) = self.drifts.pin_of(&keys, item.number) {
                pin.kept = Some(if cut_short { End::CutShort } else { End::Whole });
                self.drift(key, out);
            }
        }
    }

    /// A digest was found where it is verified.
    pub(super) fn verified(&mut self, me: &CarrierState, slot: Option<Slot>, id: Option<RequestId>) {
        if let Some(item) = &me.item {
            let keys = self.keys_of(item, slot);
            if let Some((_, pin)) = self.drifts.pin_of(&keys, item.number) {
                pin.found_again = true;
            }
        }
        if let Some(id) = id {
            let keys = self.keys(&id, level(me), slot);
            self.drifts.known(&keys);
        }
    }

    /// A digest was not found where it is verified.
    pub(super) fn not_verified(
        &mut self,
        me: &CarrierState,
        (slot, id): (Option<Slot>, Option<RequestId>),
        missed: &Missed,
        out: &mut Out<'_>,
    ) {
        let Some(id) = id else { return };
        for key in self.keys(&id, level(me), slot) {
            self.drifts.missed.insert(key.clone(), missed.clone());
            let Some(pin) = self.drifts.pins.get_mut(&key) else {
                continue;
            };
            if Some(pin.item) != level(me) {
                pin.missed.get_or_insert_with(|| missed.clone());
                self.drift(&key, out);
            }
        }
    }

    /// A task was minted, `name` if that is known.
    pub(super) fn task_was_minted(
        &mut self,
        me: &CarrierState,
        id: &RequestId,
        (now, mint, name): (Now, &Mint, Option<TaskName>),
        out: &mut Out<'_>,
    ) {
        if self.drifts.pins.len() == 0 {
            return;
        }
        let within = me
            .item
            .as_ref()
            .map(|item| item.hop.as_ref().and_then(|hop| hop.within));
        let mut levels = vec![level(me)];
        levels.extend(within.filter(|within| *within != level(me)));
        let mut pinned = Vec::new();
        for slot in self.digests() {
            let keys = levels.iter().flat_map(|level| self.keys(id, *level, slot));
            for key in keys.collect::<Vec<_>>() {
                let Some(pin) = self.drifts.pins.get_mut(&key) else {
                    continue;
                };
                pin.minted.get_or_insert_with(|| (now.seq, mint.clone()));
                self.drift(&key, out);
                pinned.push(key);
            }
        }
        if let Some(name) = name.filter(|_| !pinned.is_empty()) {
            self.drifts.tasks.insert(name, pinned);
        }
    }

    /// A task was shown in answer to a request that came `since`: what was pinned when it was minted should have been verified.
    pub(super) fn task_was_shown(
        &mut self,
        me: &CarrierState,
        id: &RequestId,
        (name, since): (&TaskName, u64),
        out: &mut Out<'_>,
    ) {
        let Some(pinned) = self.drifts.tasks.get(name).cloned() else {
            return;
        };
        for key in pinned {
            let asked = self.keys(id, level(me), key.2);
            let missed = asked.iter().find_map(|key| self.drifts.missed.get(key)).cloned();
            let (Some(missed), Some(pin)) = (
                missed.filter(|missed| missed.now.time >= since),
                self.drifts.pins.get_mut(&key),
            ) else {
                continue;
            };
            pin.missed.get_or_insert(missed);
            self.drift(&key, out);
        }
    }

    /// The program says that it found nothing to verify a task with.
    pub(super) fn task_not_verified(&mut self, name: &TaskName, missed: &Missed, out: &mut Out<'_>) {
        for key in self.drifts.tasks.get(name).cloned().unwrap_or_default() {
            if let Some(pin) = self.drifts.pins.get_mut(&key) {
                pin.missed.get_or_insert_with(|| missed.clone());
                self.drift(&key, out);
            }
        }
    }

    /// Reports a pin when it is known to have been missed.
    fn drift(&mut self, key: &Key, out: &mut Out<'_>) {
        let Some(pin) = self.drifts.pins.get_mut(key) else {
            return;
        };
        let (Some(missed), Some((minted, mint))) = (&pin.missed, &pin.minted) else {
            return;
        };
        let stack = &missed.read.stack;
        let later = missed.now.seq > *minted && stack.outermost(Named::Mint).is_none();
        // What the task was minted with is not seen: as data it may have had the digest.
        if pin.kept.is_none() || pin.reported || (later && pin.found_again) {
            return;
        }
        pin.reported = true;
        let scene = scene!(self, out);
        let since = pin.bind.seq.min(missed.now.seq);
        let mut finding = match key.2 {
            Some(slot) => scene.finding(Kind::DriftBlindness, missed.now, slot, since),
            None => scene.finding_of_none(Kind::DriftBlindness, missed.now, since),
        };
        tell(&mut finding, pin, missed, mint);
        if later {
            finding.confidence = Confidence::Suspected;
        }
        out.say(FactKind::Finding(Box::new(finding)));
    }
}

fn tell(finding: &mut Finding, pin: &Pin, missed: &Missed, mint: &Mint) {
    if pin.evidence == Evidence::Claimed || missed.evidence == Evidence::Claimed {
        finding.evidence = Evidence::Claimed;
    }
    finding.item = Some(pin.item);
    finding.window_complete &= pin.kept != Some(End::CutShort);
    finding.expected.clone_from(&pin.bind.value);
    finding.found.clone_from(&missed.found);
    finding.hop = Some(pin.hop.clone());
    finding.bind = Some(pin.bind.told(missed.now.time));
    finding.read = Some(missed.read.clone());
    finding.mint = Some(mint.clone());
}
