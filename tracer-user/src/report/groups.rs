//! Equal findings, counted: the same kind of the same variable at the same places is one thing to mend.

use std::collections::BTreeMap;

use super::finding::{ExportedFinding, Site};
use crate::correlate::finding::{Kind, Severity};

/// Groups that are kept; findings of further ones are only counted.
const GROUPS: usize = 500;

/// What makes two findings equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    kind: Kind,
    service: String,
    slot: String,
    sites: [Option<Site>; 4],
    allowed: Option<String>,
}

/// Findings that are equal.
#[derive(Clone, Debug)]
pub struct Group {
    /// The first of them.
    pub first: ExportedFinding,
    /// Time of the last.
    pub last_time: String,
    /// How many.
    pub count: u64,
    /// How many of them are confirmed.
    pub confirmed: u64,
}

/// All groups of a run.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: BTreeMap<Key, Group>,
    ungrouped: u64,
}

impl Groups {
    /// Adds a finding; its group, unless there are too many.
    pub fn add(&mut self, finding: &ExportedFinding) -> Option<&Group> {
        let key = Key::of(finding);
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            self.ungrouped += 1;
            return None;
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            first: finding.clone(),
            last_time: String::new(),
            count: 0,
            confirmed: 0,
        });
        group.count += 1;
        group.confirmed += u64::from(finding.confidence == "confirmed");
        group.last_time.clone_from(&finding.time);
        Some(group)
    }

    /// Findings that belong to no group, because there are too many.
    pub const fn ungrouped(&self) -> u64 {
        self.ungrouped
    }

    /// The groups: the gravest first, then the most frequent.
    pub fn sorted(&self) -> Vec<&Group> {
        let mut groups: Vec<_> = self.groups.values().collect();
        let grave = |group: &Group| group.first.kind.severity() == Severity::Critical;
        groups.sort_by_key(|group| (!grave(group), std::cmp::Reverse(group.count)));
        groups
    }
}

impl Key {
    pub(super) fn of(finding: &ExportedFinding) -> Self {
        Self {
            kind: finding.kind,
            service: finding.service.clone(),
            slot: finding.slot.clone(),
            sites: [
                finding.hop.as_ref().and_then(|hop| hop.site.clone()),
                finding.bind.as_ref().and_then(|bind| bind.site.clone()),
                finding.read.as_ref().and_then(|read| read.site.clone()),
                finding.task.as_ref().and_then(|task| task.site.clone()),
            ],
            allowed: finding.allowed.clone(),
        }
    }
}
