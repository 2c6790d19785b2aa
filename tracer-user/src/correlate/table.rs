//! A map that stays within its bound: the entry written longest ago goes first.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::Hash,
    marker::PhantomData,
};

/// Places in the order that may be out of date beside as many as there are entries.
const SPARE: usize = 64;

/// One whose entries are only looked up by their keys.
pub(crate) type Table<K, V> = Bounded<K, V, foldhash::HashMap<K, (u64, V)>>;
/// One whose entries are also looked for between two keys.
pub(crate) type SortedTable<K, V> = Bounded<K, V, BTreeMap<K, (u64, V)>>;

#[derive(Debug)]
pub(crate) struct Bounded<K, V, E> {
    bound: usize,
    clock: u64,
    entries: E,
    /// When each was written, the oldest first. What was removed or written anew since is passed over.
    order: VecDeque<(u64, K)>,
    evicted: u64,
    of: PhantomData<V>,
}

/// How entries are kept, each with the time when it was written.
pub(crate) trait Entries<K, V>: Default {
    fn get(&self, key: &K) -> Option<&(u64, V)>;
    fn get_mut(&mut self, key: &K) -> Option<&mut (u64, V)>;
    fn insert(&mut self, key: K, entry: (u64, V));
    fn remove(&mut self, key: &K) -> Option<(u64, V)>;
    fn clear(&mut self);
    fn len(&self) -> usize;
    /// In their order, so that what follows from a run is the same each time.
    fn keys(&self) -> Vec<K>;
}

impl<K: Hash + Ord + Clone, V> Entries<K, V> for foldhash::HashMap<K, (u64, V)> {
    fn get(&self, key: &K) -> Option<&(u64, V)> {
        Self::get(self, key)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut (u64, V)> {
        Self::get_mut(self, key)
    }

    fn insert(&mut self, key: K, entry: (u64, V)) {
        Self::insert(self, key, entry);
    }

    fn remove(&mut self, key: &K) -> Option<(u64, V)> {
        Self::remove(self, key)
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn keys(&self) -> Vec<K> {
        let mut keys: Vec<_> = Self::keys(self).cloned().collect();
        keys.sort_unstable();
        keys
    }
}

impl<K: Ord + Clone, V> Entries<K, V> for BTreeMap<K, (u64, V)> {
    fn get(&self, key: &K) -> Option<&(u64, V)> {
        Self::get(self, key)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut (u64, V)> {
        Self::get_mut(self, key)
    }

    fn insert(&mut self, key: K, entry: (u64, V)) {
        Self::insert(self, key, entry);
    }

    fn remove(&mut self, key: &K) -> Option<(u64, V)> {
        Self::remove(self, key)
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn keys(&self) -> Vec<K> {
        Self::keys(self).cloned().collect()
    }
}

impl<K: Ord + Clone, V> SortedTable<K, V> {
    /// Keys from `low` to `high`, both included, in their order.
    pub(crate) fn keys_between(&self, low: &K, high: &K) -> Vec<K> {
        self.entries
            .range(low.clone()..=high.clone())
            .map(|(key, _)| key.clone())
            .collect()
    }
}

impl<K: Clone, V, E: Entries<K, V>> Bounded<K, V, E> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            clock: 0,
            entries: E::default(),
            order: VecDeque::new(),
            evicted: 0,
            of: PhantomData,
        }
    }

    /// Writes an entry as the newest; returns what had to go for it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        if let Some(entry) = self.entries.get_mut(&key) {
            // The newest stays the newest.
            if entry.0 < self.clock {
                self.clock += 1;
                self.order.push_back((self.clock, key));
            }
            *entry = (self.clock, value);
            self.tidy();
            return None;
        }
        let dropped = if self.entries.len() < self.bound {
            None
        } else {
            self.pop_oldest()
        };
        self.evicted += u64::from(dropped.is_some());
        self.clock += 1;
        self.order.push_back((self.clock, key.clone()));
        self.entries.insert(key, (self.clock, value));
        self.tidy();
        dropped
    }

    /// Forgets the places that are out of date once they are the most: as seldom as that it costs next to nothing per entry.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.entries.len() + SPARE {
            let entries = &self.entries;
            self.order
                .retain(|(at, key)| entries.get(key).is_some_and(|(now, _)| now == at));
        }
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<(K, V)> {
        loop {
            let (at, key) = self.order.pop_front()?;
            if self.entries.get(&key).is_some_and(|(now, _)| *now == at) {
                let (_, value) = self.entries.remove(&key)?;
                return Some((key, value));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.get(key).is_some()
    }

    /// In their order.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.entries.keys()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries had to go since the last call.
    pub(crate) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_entry_written_longest_ago_goes_first(
            bound in 1..6_usize,
            steps in prop::collection::vec((0..4_u8, 0..10_u8), 0..600),
        ) {
            let mut table = Table::new(bound);
            let mut sorted = SortedTable::new(bound);
            let mut model: Vec<(u8, usize)> = Vec::new();
            let mut evicted = 0;
            for (number, (step, key)) in steps.into_iter().enumerate() {
                let at = model.iter().position(|(known, _)| *known == key);
                match step {
                    0 => {
                        let removed = at.map(|at| model.remove(at).1);
                        prop_assert_eq!(table.remove(&key), removed);
                        prop_assert_eq!(sorted.remove(&key), removed);
                    }
                    1 if number % 7 == 0 => {
                        let oldest = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(table.pop_oldest(), oldest);
                        prop_assert_eq!(sorted.pop_oldest(), oldest);
                    }
                    _ => {
                        if let Some(at) = at {
                            model.remove(at);
                        }
                        let oldest = (model.len() == bound).then(|| model.remove(0));
                        evicted += u64::from(oldest.is_some());
                        model.push((key, number));
                        prop_assert_eq!(table.insert(key, number), oldest);
                        prop_assert_eq!(sorted.insert(key, number), oldest);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.order.len() <= 2 * bound + SPARE);
                for (key, value) in &model {
                    prop_assert_eq!(table.get(key), Some(value));
                    prop_assert_eq!(sorted.get(key), Some(value));
                }
                let mut keys: Vec<_> = model.iter().map(|(key, _)| *key).collect();
                keys.sort_unstable();
                prop_assert_eq!(&table.keys(), &keys);
                prop_assert_eq!(&sorted.keys_between(&u8::MIN, &u8::MAX), &keys);
            }
            prop_assert_eq!(table.take_evicted(), evicted);
        }
    }
}
