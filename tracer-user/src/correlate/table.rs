//! A map that stays within its bound: the entry written longest ago goes first.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Table<K, V> {
    bound: usize,
    clock: u64,
    entries: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    evicted: u64,
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            clock: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            evicted: 0,
        }
    }

    /// Writes an entry as the newest; returns what had to go for it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.remove(&key);
        let dropped = if self.entries.len() < self.bound {
            None
        } else {
            self.pop_oldest()
        };
        self.evicted += u64::from(dropped.is_some());
        self.clock += 1;
        self.order.insert(self.clock, key.clone());
        self.entries.insert(key, (self.clock, value));
        dropped
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (_, value) = self.entries.remove(&key)?;
        Some((key, value))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        Some(value)
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
