//! Findings that are kept to be asked for: equal ones together, the oldest dropped when there are too many.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;

use super::super::{finding::ExportedFinding, groups::Key};
use crate::correlate::finding::Kind;

/// Groups that are kept.
const GROUPS: usize = 500;

/// Equal findings.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// How many of them are confirmed.
    pub confirmed: u64,
    /// Time of the first.
    pub first_time: String,
    /// Time of the last.
    pub last_time: String,
    /// The first of them.
    pub finding: ExportedFinding,
    /// Nanoseconds since 1970 of the last.
    #[serde(skip)]
    last: u64,
}

/// Which findings are asked for. What is empty or none lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these kinds.
    pub kinds: BTreeSet<Kind>,
    /// Of this service.
    pub service: Option<String>,
    /// Of which the last was made at this time or later, in nanoseconds since 1970.
    pub since: Option<u64>,
}

/// Findings that passed a filter.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The groups, the one with the latest finding first.
    pub groups: Vec<Arc<Group>>,
    /// How many findings were dropped so far, whatever the filter.
    pub dropped: u64,
}

/// All that are kept.
#[derive(Debug, Default)]
pub(super) struct Findings {
    // A reader shares a group; it is copied only if it changes meanwhile.
    groups: HashMap<Key, Arc<Group>>,
    dropped: u64,
}

impl Findings {
    /// Adds one, made at this time in nanoseconds since 1970.
    pub(super) fn add(&mut self, time: u64, finding: &ExportedFinding) {
        let key = Key::of(finding);
        let confirmed = u64::from(finding.confidence == "confirmed");
        if let Some(group) = self.groups.get_mut(&key) {
            let group = Arc::make_mut(group);
            group.count += 1;
            group.confirmed += confirmed;
            if time >= group.last {
                group.last = time;
                group.last_time.clone_from(&finding.time);
            }
            return;
        }
        if self.groups.len() >= GROUPS {
            self.drop_oldest();
        }
        let group = Group {
            count: 1,
            confirmed,
            first_time: finding.time.clone(),
            last_time: finding.time.clone(),
            finding: finding.clone(),
            last: time,
        };
        self.groups.insert(key, Arc::new(group));
    }

    /// How many were dropped so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn list(&self, filter: &Filter) -> Listed {
        let passing = self.groups.values().filter(|group| filter.passes(group));
        let mut groups: Vec<_> = passing.cloned().collect();
        groups.sort_by_cached_key(|group| (Reverse(group.last), group.finding.id.clone()));
        Listed {
            groups,
            dropped: self.dropped,
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.groups.iter().min_by_key(|(_, group)| group.last);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(group) = self.groups.remove(&key) {
            self.dropped += group.count;
        }
    }
}

impl Filter {
    fn passes(&self, group: &Group) -> bool {
        let finding = &group.finding;
        (self.kinds.is_empty() || self.kinds.contains(&finding.kind))
            && self
                .service
                .as_ref()
                .is_none_or(|service| *service == finding.service)
            && self.since.is_none_or(|since| group.last >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn finding(kind: Kind, service: &str, second: u64) -> ExportedFinding {
        let mut finding = samples::export(&samples::finding(kind), false);
        finding.service = service.to_owned();
        finding.time = format!("second {second}");
        finding
    }

    fn add(findings: &mut Findings, kind: Kind, service: &str, second: u64) {
        findings.add(second, &finding(kind, service, second));
    }

    #[test]
    fn equal_ones_are_counted_and_keep_the_first() {
        let mut findings = Findings::default();
        for second in [5, 6, 9] {
            add(&mut findings, Kind::Bleed, "proxy", second);
        }
        let mut suspected = finding(Kind::Bleed, "proxy", 7);
        suspected.confidence = "suspected";
        findings.add(7, &suspected);
        let listed = findings.list(&Filter::default());
        let [group] = listed.groups.as_slice() else {
            panic!("{listed:?}")
        };
        assert_eq!((group.count, group.confirmed), (4, 3));
        assert_eq!((&*group.first_time, &*group.last_time), ("second 5", "second 9"));
        assert_eq!(group.finding.time, "second 5");
    }

    #[test]
    fn filters_apply_together() {
        let mut findings = Findings::default();
        add(&mut findings, Kind::Bleed, "proxy", 1);
        add(&mut findings, Kind::Squat, "proxy", 2);
        add(&mut findings, Kind::Squat, "billing", 3);
        let found = |kinds: &[Kind], service: Option<&str>, since: Option<u64>| {
            let filter = Filter {
                kinds: kinds.iter().copied().collect(),
                service: service.map(str::to_owned),
                since,
            };
            let listed = findings.list(&filter).groups;
            listed.iter().map(|group| group.last).collect::<Vec<_>>()
        };
        assert_eq!(found(&[], None, None), [3, 2, 1]);
        assert_eq!(found(&[Kind::Squat], None, None), [3, 2]);
        assert_eq!(found(&[Kind::Bleed, Kind::Squat], Some("proxy"), None), [2, 1]);
        assert_eq!(found(&[Kind::Squat], Some("proxy"), Some(3)), [0_u64; 0]);
        assert_eq!(found(&[], None, Some(2)), [3, 2]);
        assert_eq!(found(&[], Some("prox"), None), [0_u64; 0]);
    }

    #[test]
    fn the_oldest_goes_and_is_counted() {
        let mut findings = Findings::default();
        for number in 0..GROUPS as u64 {
            add(
                &mut findings,
                Kind::Bleed,
                &format!("service {number}"),
                10 + number,
            );
        }
        // The first has been seen again: the second is the oldest now, with two findings.
        add(&mut findings, Kind::Bleed, "service 0", 10_000);
        add(&mut findings, Kind::Bleed, "service 1", 11);
        assert_eq!(findings.dropped(), 0);
        add(&mut findings, Kind::Bleed, "another", 20_000);
        assert_eq!(findings.dropped(), 2);
        let listed = findings.list(&Filter::default());
        assert_eq!((listed.groups.len(), listed.dropped), (GROUPS, 2));
        let has = |service: &str| listed.groups.iter().any(|group| group.finding.service == service);
        assert!(has("service 0") && has("another") && !has("service 1"));
    }

    #[test]
    fn a_reader_keeps_what_it_has_read() {
        let mut findings = Findings::default();
        add(&mut findings, Kind::Bleed, "proxy", 1);
        let before = findings.list(&Filter::default());
        add(&mut findings, Kind::Bleed, "proxy", 2);
        assert_eq!(before.groups[0].count, 1);
        assert_eq!(findings.list(&Filter::default()).groups[0].count, 2);
    }
}
