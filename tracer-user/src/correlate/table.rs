//! A map that stays within its bound: the entry written longest ago goes first.

use std::collections::{BTreeMap, VecDeque};

/// Places in the order that may be out of date beside as many as there are entries.
const SPARE: usize = 64;

#[derive(Debug)]
pub(crate) struct Table<K, V> {
    bound: usize,
    clock: u64,
    entries: BTreeMap<K, (u64, V)>,
    /// When each was written, the oldest first. What was removed or written anew since is passed over.
    order: VecDeque<(u64, K)>,
    evicted: u64,
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            clock: 0,
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            evicted: 0,
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
        self.entries.contains_key(key)
    }

    /// Keys from `low` to `high`, both included, in their order.
    pub(crate) fn keys_between(&self, low: &K, high: &K) -> Vec<K> {
        self.entries
            .range(low.clone()..=high.clone())
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    pub(crate) fn keys(&self) -> Vec<K> {
        self.entries.keys().cloned().collect()
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
            let mut model: Vec<(u8, usize)> = Vec::new();
            let mut evicted = 0;
            for (number, (step, key)) in steps.into_iter().enumerate() {
                let at = model.iter().position(|(known, _)| *known == key);
                match step {
                    0 => {
                        let removed = at.map(|at| model.remove(at).1);
                        prop_assert_eq!(table.remove(&key), removed);
                    }
                    1 if number % 7 == 0 => {
                        let oldest = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(table.pop_oldest(), oldest);
                    }
                    _ => {
                        if let Some(at) = at {
                            model.remove(at);
                        }
                        let oldest = (model.len() == bound).then(|| model.remove(0));
                        evicted += u64::from(oldest.is_some());
                        model.push((key, number));
                        prop_assert_eq!(table.insert(key, number), oldest);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.order.len() <= 2 * bound + SPARE);
                for (key, value) in &model {
                    prop_assert_eq!(table.get(key), Some(value));
                }
            }
            prop_assert_eq!(table.take_evicted(), evicted);
        }
    }
}
