//! Label values that a target chooses are bounded in number and length.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prometheus::IntCounter;

use crate::report::privacy::clean;

/// Services that have series of their own.
pub const MAX_SERVICES: usize = 64;
/// Slots of one service that have series of their own.
pub const MAX_SLOTS: usize = 16;
/// What all further ones are counted under.
pub const OTHER: &str = "other";

/// The label values that are in use.
#[derive(Debug, Default)]
pub struct Labels {
    services: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Labels {
    /// The label value of a service.
    pub fn service(&mut self, name: &str, overflow: &IntCounter) -> Arc<str> {
        let name = clean(name);
        if let Some((known, _)) = self.services.get_key_value(name.as_str()) {
            return Arc::clone(known);
        }
        if self.services.len() >= MAX_SERVICES {
            overflow.inc();
            return Arc::from(OTHER);
        }
        let name: Arc<str> = name.into();
        self.services.insert(Arc::clone(&name), BTreeSet::new());
        name
    }

    /// The label value of a slot of a service.
    pub fn slot(&mut self, service: &str, name: &str, overflow: &IntCounter) -> Arc<str> {
        let name = clean(name);
        let slots = self.services.entry(service.into()).or_default();
        if let Some(known) = slots.get(name.as_str()) {
            return Arc::clone(known);
        }
        if slots.len() >= MAX_SLOTS {
            overflow.inc();
            return Arc::from(OTHER);
        }
        let name: Arc<str> = name.into();
        slots.insert(Arc::clone(&name));
        name
    }
}
