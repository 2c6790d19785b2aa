//! Counters of what happens with nearly every event, looked up once for each service and each of its slots.

use std::collections::BTreeMap;

use prometheus::{Histogram, IntCounter};

use super::{
    Metrics,
    labels::{MAX_SERVICES, MAX_SLOTS, OTHER},
};
use crate::correlate::{
    event::Primitive,
    fact::{Carried, Place, ReadResult},
};

/// Those that were looked up, by the names that the services and slots go by themselves.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<Box<str>, OfService>);

/// A service's.
#[derive(Debug)]
pub(super) struct OfService {
    pub(super) wait: Histogram,
    pub(super) busy: Histogram,
    handoffs: Vec<IntCounter>,
    slots: BTreeMap<Box<str>, OfSlot>,
}

/// Those of a slot of a service.
#[derive(Debug)]
pub(super) struct OfSlot {
    reads: Vec<IntCounter>,
    binds: Vec<IntCounter>,
}

impl Known {
    pub(super) fn service(&self, service: &str) -> Option<&OfService> {
        self.0.get(service)
    }

    pub(super) fn slot(&self, service: &str, slot: &str) -> Option<&OfSlot> {
        self.0.get(service)?.slots.get(slot)
    }

    /// A service that is counted under this label. What has no series of its own is looked up each time, for that is counted, too.
    pub(super) fn add_service(&mut self, metrics: &Metrics, service: &str, label: &str) {
        if label == OTHER || self.0.contains_key(service) || self.0.len() >= MAX_SERVICES {
            return;
        }
        let carried = |primitive: Primitive| {
            Carried::ALL.iter().map(move |carried| {
                let labels = [label, primitive.name(), carried.name()];
                metrics.handoffs.with_label_values(&labels)
            })
        };
        let counters = OfService {
            wait: metrics.wait.with_label_values(&[label]),
            busy: metrics.busy.with_label_values(&[label]),
            handoffs: Primitive::ALL.into_iter().flat_map(carried).collect(),
            slots: BTreeMap::new(),
        };
        self.0.insert(service.into(), counters);
    }

    /// The same of a slot of a service.
    pub(super) fn add_slot(
        &mut self,
        metrics: &Metrics,
        (service, slot): (&str, &str),
        labels: (&str, &str),
    ) {
        self.add_service(metrics, service, labels.0);
        let Some(of) = self.0.get_mut(service) else {
            return;
        };
        if labels.1 == OTHER || of.slots.len() >= MAX_SLOTS {
            return;
        }
        let reads = ReadResult::ALL.iter().map(|result| result.name());
        let binds = Place::ALL.iter().map(|place| place.name());
        let counters = OfSlot {
            reads: reads
                .map(|name| metrics.reads.with_label_values(&[labels.0, labels.1, name]))
                .collect(),
            binds: binds
                .map(|name| metrics.binds.with_label_values(&[labels.0, labels.1, name]))
                .collect(),
        };
        of.slots.insert(slot.into(), counters);
    }
}

impl OfService {
    pub(super) fn handoff(&self, primitive: Primitive, carried: Carried) -> &IntCounter {
        &self.handoffs[primitive as usize * Carried::ALL.len() + carried as usize]
    }
}

impl OfSlot {
    pub(super) fn read(&self, result: ReadResult) -> &IntCounter {
        &self.reads[result as usize]
    }

    pub(super) fn bind(&self, place: Place) -> &IntCounter {
        &self.binds[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_the_one_of_its_labels() {
        let metrics = Metrics::new(crate::report::clock::Clock::default());
        let mut known = Known::default();
        known.add_slot(&metrics, ("proxy", "tenant"), ("proxy", "tenant"));
        let slot = known.slot("proxy", "tenant").unwrap();
        let service = known.service("proxy").unwrap();
        let counted = |vec: &prometheus::IntCounterVec, labels: &[&str]| vec.with_label_values(labels).get();
        for (times, result) in (1..).zip(ReadResult::ALL) {
            slot.read(*result).inc_by(times);
            assert_eq!(
                counted(&metrics.reads, &["proxy", "tenant", result.name()]),
                times
            );
        }
        for (times, place) in (1..).zip(Place::ALL) {
            slot.bind(*place).inc_by(times);
            assert_eq!(counted(&metrics.binds, &["proxy", "tenant", place.name()]), times);
        }
        let mut times = 0;
        for primitive in Primitive::ALL {
            for carried in Carried::ALL {
                times += 1;
                service.handoff(primitive, *carried).inc_by(times);
                let labels = ["proxy", primitive.name(), carried.name()];
                assert_eq!(counted(&metrics.handoffs, &labels), times);
            }
        }
    }

    #[test]
    fn what_has_no_series_of_its_own_is_not_kept() {
        let metrics = Metrics::new(crate::report::clock::Clock::default());
        let mut known = Known::default();
        known.add_slot(&metrics, ("many", "tenant"), (OTHER, "tenant"));
        assert!(known.service("many").is_none());
        known.add_slot(&metrics, ("proxy", "many"), ("proxy", OTHER));
        assert!(known.service("proxy").is_some() && known.slot("proxy", "many").is_none());
        for number in 0..2 * MAX_SLOTS {
            let slot = format!("{number}");
            known.add_slot(&metrics, ("proxy", &slot), ("proxy", "label"));
        }
        assert_eq!(known.0["proxy"].slots.len(), MAX_SLOTS);
    }
}
