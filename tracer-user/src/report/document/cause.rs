//! Findings by what is to be mended: one bind at one line may leak to many readers.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::fingerprint::{Fingerprint, Trait, places};
use crate::{
    correlate::finding::{Kind, Severity},
    report::finding::{ExportedFinding, Site},
};

/// Groups of equal findings that are kept, of each severity.
const MOST: usize = 2_500;
/// Processes of a group that are named.
const PIDS: usize = 16;

/// What is to be mended: a place in the source, of one variable in one service.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// Unique in the report.
    pub id: String,
    /// Where.
    pub service: String,
    /// Which variable; empty if it takes none to see it.
    pub slot: String,
    /// What happens at the place: `bind`, `hop` and so on; nothing if the place is not known.
    pub what: &'static str,
    /// The place.
    pub site: Option<Site>,
    /// The worst of its findings' severities.
    pub severity: &'static str,
    /// Its findings, equal ones counted.
    pub effects: Vec<Effect>,
    /// How many findings.
    pub count: u64,
    /// All of them are accepted.
    pub accepted: bool,
}

/// Equal findings.
#[derive(Clone, Debug, Serialize)]
pub struct Effect {
    /// By what it is known in another run.
    pub fingerprint: Fingerprint,
    /// The first of them.
    pub finding: ExportedFinding,
    /// Time of the last.
    pub last: String,
    /// How many.
    pub count: u64,
    /// How many of them are confirmed.
    pub confirmed: u64,
    /// The first processes that they were found in.
    pub pids: Vec<u32>,
    #[serde(skip)]
    pub(super) known_by: Trait,
}

/// What makes two findings equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    service: String,
    slot: String,
    sites: Vec<(&'static str, Site)>,
    source: Option<&'static str>,
    allowed: Option<String>,
}

/// All findings of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    groups: BTreeMap<Key, Effect>,
    critical: usize,
    /// Findings that count, beyond those that are kept.
    pub(super) beyond: BTreeMap<&'static str, u64>,
}

impl Findings {
    /// Adds a finding.
    pub(super) fn add(&mut self, finding: &ExportedFinding, known_by: &Trait) {
        let key = Key {
            kind: finding.kind,
            service: finding.service.clone(),
            slot: finding.slot.clone(),
            sites: places(finding).map(|(what, site)| (what, site.clone())).collect(),
            source: finding.source,
            allowed: finding.allowed.clone(),
        };
        let critical = finding.kind.severity() == Severity::Critical;
        let confirmed = u64::from(finding.confidence == "confirmed");
        if let Some(group) = self.groups.get_mut(&key) {
            group.count += 1;
            group.confirmed += confirmed;
            group.last.clone_from(&finding.time);
            if group.pids.len() < PIDS && !group.pids.contains(&finding.pid) {
                group.pids.push(finding.pid);
            }
            return;
        }
        let of_its_kind = if critical {
            self.critical
        } else {
            self.groups.len() - self.critical
        };
        if of_its_kind >= MOST {
            if finding.allowed.is_none() {
                *self.beyond.entry(finding.kind.name()).or_default() += 1;
            }
            return;
        }
        self.critical += usize::from(critical);
        let group = Effect {
            fingerprint: known_by.fingerprint(),
            finding: finding.clone(),
            last: finding.time.clone(),
            count: 1,
            confirmed,
            pids: vec![finding.pid],
            known_by: known_by.clone(),
        };
        self.groups.insert(key, group);
    }

    /// What is to be mended, the gravest first, then the most frequent; what is accepted last.
    pub(super) fn causes(self) -> Vec<Cause> {
        let mut causes: BTreeMap<_, Cause> = BTreeMap::new();
        for (_, effect) in self.groups {
            let (what, site) = root(&effect.finding);
            let accepted = effect.finding.allowed.is_some();
            let key = (
                effect.finding.service.clone(),
                effect.finding.slot.clone(),
                what,
                site.cloned(),
                accepted,
            );
            let cause = causes.entry(key).or_insert_with(|| Cause {
                id: String::new(),
                service: effect.finding.service.clone(),
                slot: effect.finding.slot.clone(),
                what,
                site: site.cloned(),
                severity: Severity::Warning.name(),
                effects: Vec::new(),
                count: 0,
                accepted,
            });
            cause.count += effect.count;
            if effect.finding.kind.severity() == Severity::Critical {
                cause.severity = Severity::Critical.name();
            }
            cause.effects.push(effect);
        }
        let mut causes: Vec<_> = causes.into_values().collect();
        let grave = |severity: &str| severity == Severity::Critical.name();
        causes.sort_by_key(|cause| (cause.accepted, !grave(cause.severity), Reverse(cause.count)));
        for (number, cause) in causes.iter_mut().enumerate() {
            cause.id = format!("cause-{}", number + 1);
            cause
                .effects
                .sort_by_key(|effect| (!grave(effect.finding.severity), Reverse(effect.count)));
        }
        causes
    }
}

/// The place at which a finding is to be mended, and what happens there.
fn root(finding: &ExportedFinding) -> (&'static str, Option<&Site>) {
    let order: &[&'static str] = match (finding.kind, finding.source) {
        (Kind::Bleed, Some("task")) => &["made", "bind"],
        (Kind::Bleed, Some("inherited" | "before_attach")) | (Kind::BlackHoleRead, _) => &["hop", "read"],
        (Kind::Bleed | Kind::Squat | Kind::BlackHoleReturn | Kind::DriftBlindness, _) => {
            &["bind", "hop", "read"]
        }
        (Kind::MisattributedTask, _) => &["bind", "hop", "mint"],
        (Kind::UnattributedTask | Kind::ForeignPoll | Kind::OwnerRefused, _) => &["hop", "mint", "read"],
        (Kind::EmptyCheck, _) => &["hop", "policy"],
    };
    order
        .iter()
        .find_map(|wanted| places(finding).find(|(what, _)| what == wanted))
        .map_or(("", None), |(what, site)| (what, Some(site)))
}
