//! Adds a run up, and judges by the rule of coverage whether its silence means anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use tracer_common::stats::{Probe, ProbeStats};

use super::{
    finding::TargetInfo,
    privacy::clean,
    summary::{AtAttach, Events, Overhead, Reason, ReasonCode, Summary, TargetLine, TargetState, Verdict},
};
use crate::{
    config::Tier,
    correlate::{
        event::{Primitive, Slot, TargetId},
        fact::{Attribution, Carried, Fact, FactKind, Heard, Place, ReadResult, Table},
        finding::Kind,
        ledger::PollOutcome,
    },
    wire::reason::Reason as Unparsed,
};

/// Variables that are named when none of the watched ones was seen.
const LISTED: usize = 12;

/// Targets that are listed one by one.
const TARGET_LINES: usize = 1_000;

/// Counts of a run while it goes on.
#[derive(Debug, Default)]
pub struct Tally {
    targets: BTreeMap<TargetId, Target>,
    /// Targets that have ended and were forgotten, and processes that had ended before they could be looked at.
    past: u64,
    refused: Vec<TargetLine>,
    refused_states: BTreeMap<TargetState, u64>,
    failed: Vec<String>,
    children: Vec<String>,
    seen: Vec<String>,
    not_followed: BTreeSet<String>,
    findings: BTreeMap<Kind, u64>,
    allowed: u64,
    hops: BTreeMap<Primitive, u64>,
    reads: BTreeMap<ReadResult, u64>,
    binds: BTreeMap<Place, u64>,
    tasks: BTreeMap<Attribution, u64>,
    /// Whether what targets receive and send is read.
    wire: bool,
    announced: BTreeMap<Heard, u64>,
    out_of_sight: BTreeSet<String>,
    /// A message was seen there.
    heard: bool,
    polls: BTreeMap<PollOutcome, u64>,
    unparsed: BTreeMap<Unparsed, u64>,
    received: u64,
    agreed: u64,
    kernel: ProbeStats,
    malformed: u64,
    bpf_seconds: Option<f64>,
    /// Why what is replayed is not all that happened.
    unrecorded: Vec<String>,
}

#[derive(Debug)]
struct Target {
    info: TargetInfo,
    exited: bool,
    missing: BTreeSet<Probe>,
    slots: BTreeSet<Slot>,
    /// Variables that some item was proof for.
    judged: BTreeSet<Slot>,
    /// Variables with reads that could not be judged.
    unjudged: BTreeSet<Slot>,
    /// Slots of which a read said whose they are.
    told: BTreeSet<Slot>,
    handoffs: u64,
    /// Handoffs that a thread took that carried somebody else's identity.
    foreign: u64,
    findings: u64,
    gaps: u64,
    lost: u64,
    unreadable: u64,
    /// Threads and waiting work that had to be forgotten.
    forgotten: u64,
    found: Option<AtAttach>,
}

impl Tally {
    /// What targets receive and send is read.
    pub const fn watch_wire(&mut self) {
        self.wire = true;
    }

    /// A target is traced from now on. `missing` are the probes that it needs and does not have.
    pub fn attached(&mut self, id: TargetId, info: TargetInfo, missing: impl IntoIterator<Item = Probe>) {
        let missing = missing.into_iter().collect();
        match self.targets.entry(id) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let target = entry.get_mut();
                (target.info, target.missing) = (info, missing);
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Target {
                    info,
                    exited: false,
                    missing,
                    slots: BTreeSet::new(),
                    judged: BTreeSet::new(),
                    unjudged: BTreeSet::new(),
                    told: BTreeSet::new(),
                    handoffs: 0,
                    foreign: 0,
                    findings: 0,
                    gaps: 0,
                    lost: 0,
                    unreadable: 0,
                    forgotten: 0,
                    found: None,
                });
            }
        }
    }

    /// What a target held already when it was attached to.
    pub fn found(&mut self, id: TargetId, found: AtAttach) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.found = Some(found);
        }
    }

    /// Patterns of functions under which nothing was seen to happen so far.
    pub fn out_of_sight(&mut self, patterns: BTreeSet<String>) {
        self.out_of_sight = patterns;
    }

    /// A target ended.
    pub fn exited(&mut self, id: TargetId) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.exited = true;
        }
    }

    /// A process of Python ended before it could be attached to.
    pub const fn missed(&mut self) {
        self.past += 1;
    }

    /// Forgets targets that have ended, but for their number. A summary says nothing of them any more.
    pub fn forget_exited(&mut self) {
        let known = self.targets.len();
        self.targets.retain(|_, target| !target.exited);
        self.past += (known - self.targets.len()) as u64;
    }

    /// A process has no supported runtime: said, and no reason against the verdict.
    pub fn unsupported(&mut self, service: &str, pid: u32, reason: &str) {
        self.refuse(service, pid, TargetState::Unsupported, reason);
    }

    /// A process that was to be traced could not be.
    pub fn failed(&mut self, service: &str, pid: u32, reason: &str) {
        self.refuse(service, pid, TargetState::Failed, reason);
        note(&mut self.failed, pid, reason);
    }

    /// A target's Python child could not be traced.
    pub fn child_not_attached(&mut self, service: &str, pid: u32, reason: &str) {
        self.refuse(service, pid, TargetState::Failed, reason);
        note(&mut self.children, pid, reason);
    }

    fn refuse(&mut self, service: &str, pid: u32, state: TargetState, reason: &str) {
        *self.refused_states.entry(state).or_default() += 1;
        if self.refused.len() >= TARGET_LINES {
            return;
        }
        self.refused.push(TargetLine {
            service: clean(service),
            pid,
            runtime: None,
            tier: None,
            state,
            reason: Some(clean(reason)),
            slots: 0,
            handoffs: 0,
            findings: 0,
            probes_missing: Vec::new(),
            at_attach: None,
        });
    }

    /// Why the first process that could not be traced could not.
    pub fn first_refusal(&self) -> Option<String> {
        let refusal = self.failed.iter().chain(&self.children).next()?;
        Some(format!("cannot trace process {refusal}"))
    }

    /// A configured path is not watched: another one is.
    pub fn not_followed(&mut self, path: &str) {
        if self.not_followed.len() < TARGET_LINES {
            self.not_followed.insert(clean(path));
        }
    }

    /// A variable of just this name is watched: it was no path.
    pub fn watched(&mut self, name: &str) {
        self.not_followed.remove(&clean(name));
    }

    /// Names of all variables in use, watched or not: what to offer when no watched one was seen.
    pub fn variables_in_use(&mut self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        self.seen = names.into_iter().map(|name| clean(name.as_ref())).collect();
    }

    /// Events arrived.
    pub const fn received(&mut self, events: u64) {
        self.received += events;
    }

    /// So many reads were counted in the kernel.
    pub const fn agreed(&mut self, reads: u64) {
        self.agreed += reads;
    }

    /// What the kernel side's counters say by now, and the seconds that its programs ran, where the kernel counts them.
    pub fn kernel(&mut self, stats: &[(Probe, ProbeStats)], bpf_seconds: Option<f64>) {
        let sum = |field: fn(&ProbeStats) -> u64| stats.iter().map(|(_, stats)| field(stats)).sum();
        self.kernel = ProbeStats {
            hits: sum(|stats| stats.hits),
            lost_ring: sum(|stats| stats.lost_ring),
            lost_map: sum(|stats| stats.lost_map),
            lost_image: sum(|stats| stats.lost_image),
            lost_slot: sum(|stats| stats.lost_slot),
            unreadable: sum(|stats| stats.unreadable),
            ..ProbeStats::default()
        };
        self.bpf_seconds = bpf_seconds;
    }

    /// Records that made no sense, over the whole run so far.
    pub const fn malformed(&mut self, records: u64) {
        self.malformed = records;
    }

    /// What is replayed is not all that happened, and this is why.
    pub fn unrecorded(&mut self, why: impl Into<String>) {
        self.unrecorded.push(why.into());
    }

    /// A finding that the operator accepts: count it here instead of folding it.
    pub const fn allowed(&mut self) {
        self.allowed += 1;
    }

    /// Counts one fact.
    pub fn fold(&mut self, fact: &Fact) {
        let target = self.targets.get_mut(&fact.target);
        match &fact.what {
            FactKind::Finding(finding) => {
                *self.findings.entry(finding.kind).or_default() += 1;
                if let Some(target) = target {
                    target.findings += 1;
                }
            }
            FactKind::SlotSeen(slot) => {
                if let Some(target) = target {
                    target.slots.insert(*slot);
                }
            }
            FactKind::Judged(slot) => {
                if let Some(target) = target {
                    target.judged.insert(*slot);
                }
            }
            FactKind::Read(slot, result, times) => {
                *self.reads.entry(*result).or_default() += times;
                match (target, result) {
                    (Some(target), ReadResult::Unreadable) => target.unreadable += times,
                    (Some(target), ReadResult::Unjudged) => {
                        target.unjudged.insert(*slot);
                    }
                    (Some(target), ReadResult::Own | ReadResult::Foreign | ReadResult::Empty) => {
                        target.told.insert(*slot);
                    }
                    (None, _) => {}
                }
            }
            FactKind::Bind(_, place) => *self.binds.entry(*place).or_default() += 1,
            FactKind::Handoff(primitive, carried) => {
                *self.hops.entry(*primitive).or_default() += 1;
                if let Some(target) = target {
                    target.handoffs += 1;
                    target.foreign += u64::from(matches!(carried, Carried::Foreign | Carried::Inherited));
                }
            }
            FactKind::Data => *self.hops.entry(Primitive::Unknown).or_default() += 1,
            FactKind::Mint(attribution) => *self.tasks.entry(*attribution).or_default() += 1,
            FactKind::Announced(heard) => *self.announced.entry(*heard).or_default() += 1,
            FactKind::Poll(outcome) => *self.polls.entry(*outcome).or_default() += 1,
            FactKind::Heard => self.heard = true,
            FactKind::Unparsed(reason) => *self.unparsed.entry(*reason).or_default() += 1,
            FactKind::Gap(lost) => {
                if let Some(target) = target {
                    target.gaps += 1;
                    target.lost += lost;
                }
            }
            // Without its submit or its thread's past, work is not judged. What else is dropped is only old.
            FactKind::Evicted(Table::Submits | Table::Carriers, entries) => {
                if let Some(target) = target {
                    target.forgotten += entries;
                }
            }
            FactKind::Wait(_)
            | FactKind::Busy(_)
            | FactKind::BleedAge(_)
            | FactKind::Squatting(_)
            | FactKind::Entries(..)
            | FactKind::Evicted(..)
            | FactKind::Hop(_)
            | FactKind::Life(_) => {}
        }
    }

    /// Targets by state, for the metrics.
    pub fn states(&self) -> BTreeMap<TargetState, u64> {
        let mut states: BTreeMap<_, _> = TargetState::ALL.iter().map(|state| (*state, 0)).collect();
        for target in self.targets.values() {
            *states.entry(target.state()).or_default() += 1;
        }
        *states.entry(TargetState::Exited).or_default() += self.past;
        for (state, count) in &self.refused_states {
            *states.entry(*state).or_default() += count;
        }
        states
    }

    /// What the run amounts to.
    pub fn finish(&self, command_exit: Option<i32>) -> Summary {
        let reasons = self.reasons();
        let verdict = if self.findings.values().any(|&count| count > 0) {
            Verdict::Findings
        } else if reasons.is_empty() {
            Verdict::Clean
        } else {
            Verdict::NoVerdict
        };
        Summary {
            verdict,
            reasons,
            findings: counts(Kind::ALL, Kind::name, &self.findings),
            allowed: self.allowed,
            targets: self.lines(),
            hops: counts(&Primitive::ALL, Primitive::name, &self.hops),
            reads: counts(ReadResult::ALL, ReadResult::name, &self.reads),
            binds: counts(Place::ALL, Place::name, &self.binds),
            tasks: counts(Attribution::ALL, Attribution::name, &self.tasks),
            out_of_sight: self.out_of_sight.iter().map(|pattern| clean(pattern)).collect(),
            announced: counts(Heard::ALL, Heard::name, &self.announced),
            polls: (self.wire || !self.polls.is_empty())
                .then(|| counts(PollOutcome::ALL, PollOutcome::name, &self.polls)),
            unparsed: self
                .wire
                .then(|| counts(Unparsed::ALL, Unparsed::name, &self.unparsed)),
            events: Events {
                received: self.received,
                agreed: self.agreed,
                lost: losses(&self.kernel)
                    .into_iter()
                    .chain([("malformed", self.malformed)])
                    .collect(),
            },
            overhead: Overhead {
                probe_hits: self.kernel.hits,
                bpf_seconds: self.bpf_seconds,
            },
            command_exit,
        }
    }

    fn lines(&self) -> Vec<TargetLine> {
        let traced = self.targets.values().map(Target::line);
        traced
            .chain(self.refused.iter().cloned())
            .take(TARGET_LINES)
            .collect()
    }

    fn reasons(&self) -> Vec<Reason> {
        let watched = || self.targets.values().filter(|target| !target.slots.is_empty());
        let unreadable: u64 = watched().map(|target| target.unreadable).sum();
        let mut reasons = Vec::new();
        let mut because = |code, message| reasons.push(Reason { code, message });
        if self.targets.is_empty() {
            because(ReasonCode::NoTarget, "no process was traced".to_owned());
        } else if watched().next().is_none() {
            because(ReasonCode::NoWatchedVariable, self.no_variable());
        } else if watched().all(|target| target.handoffs == 0) {
            because(
                ReasonCode::NoHandoff,
                "watched variables were used, but no work was seen to go from one thread to another"
                    .to_owned(),
            );
        } else if unreadable == 0 && !watched().any(Target::covered) && watched().any(Target::is_full) {
            because(
                ReasonCode::Unjudged,
                "work went from one thread to another, but whose a watched variable was there could not be told"
                    .to_owned(),
            );
        }
        if let Some(message) = self.unwatched_reads() {
            because(ReasonCode::ReadsNotWatched, message);
        }
        if self.wire && !self.heard && !self.targets.is_empty() {
            because(
                ReasonCode::NoMessage,
                "the wire was to be read, but no message of HTTP or JSON-RPC was seen on it".to_owned(),
            );
        }
        if !self.not_followed.is_empty() {
            let names: Vec<_> = self.not_followed.iter().cloned().collect();
            because(
                ReasonCode::NotFollowed,
                format!("not watched, because other paths are: {}", some(&names)),
            );
        }
        if let Some(message) = self.loss() {
            because(ReasonCode::EventsLost, message);
        }
        if unreadable > 0 {
            because(
                ReasonCode::Unreadable,
                format!("{unreadable} reads met memory that could not be read"),
            );
        }
        let forgotten: u64 = watched().map(|target| target.forgotten).sum();
        if forgotten > 0 {
            because(
                ReasonCode::TooMuchState,
                format!("{forgotten} threads or pieces of waiting work were more than can be remembered"),
            );
        }
        if self.kernel.lost_slot > 0 {
            because(
                ReasonCode::TooManyVariables,
                "a process has more watched variables than can be watched at once; watch fewer".to_owned(),
            );
        }
        let missing: BTreeSet<_> = self.targets.values().flat_map(|target| &target.missing).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.into_iter().map(|probe| probe.name()).collect();
            because(
                ReasonCode::ProbesMissing,
                format!("probes are not attached: {}", names.join(", ")),
            );
        }
        for why in &self.unrecorded {
            because(ReasonCode::Recording, why.clone());
        }
        for (code, pids, what) in [
            (ReasonCode::TargetFailed, &self.failed, "process"),
            (
                ReasonCode::ChildNotAttached,
                &self.children,
                "Python child process",
            ),
        ] {
            if !pids.is_empty() {
                because(code, format!("{what} not traced: {}", some(pids)));
            }
        }
        reasons
    }

    /// Of which processes it is not known what they read, and what they risk.
    fn unwatched_reads(&self) -> Option<String> {
        let watched = || {
            let all = self.targets.values().filter(|target| !target.slots.is_empty());
            all.filter(|target| !target.is_full())
        };
        let processes = watched().count();
        let handoffs: u64 = watched().map(|target| target.handoffs).sum();
        let foreign: u64 = watched().map(|target| target.foreign).sum();
        let whose = match processes {
            0 => return None,
            1 => "a process".to_owned(),
            _ => format!("{processes} processes"),
        };
        Some(format!(
            "what {whose} read was not watched (tier handoffs), so that bleeds and black holes are not seen there; of {handoffs} handoffs \
             {foreign} were taken by a thread that carried somebody else's identity"
        ))
    }

    fn no_variable(&self) -> String {
        if self.seen.is_empty() {
            "no watched variable was seen, nor any other context variable".to_owned()
        } else {
            format!(
                "no watched variable was seen; variables in use: {}",
                some(&self.seen)
            )
        }
    }

    /// Losses that touch a target with a watched variable, or that no gap of any target accounts for.
    fn loss(&self) -> Option<String> {
        let watched = || self.targets.values().filter(|target| !target.slots.is_empty());
        let gaps: u64 = watched().map(|target| target.gaps).sum();
        let accounted: u64 = self.targets.values().map(|target| target.lost).sum();
        let all = self.kernel.lost_ring + self.kernel.lost_map + self.kernel.lost_image + self.malformed;
        let trailing = all.saturating_sub(accounted);
        let lost = watched().map(|target| target.lost).sum::<u64>() + trailing;
        match (gaps, lost) {
            (0, 0) => None,
            (_, 0) => Some(format!(
                "{gaps} gaps: events that could not be read, or state that could not be followed"
            )),
            _ => Some(format!("{lost} events were lost: findings may be missing")),
        }
    }
}

impl Target {
    /// Work went from one thread to another, and whose every variable was could be told at least once: where it was read, by a read.
    fn covered(&self) -> bool {
        let told = |slot| self.judged.contains(slot) && self.told.contains(slot);
        self.handoffs > 0 && !self.judged.is_empty() && self.unjudged.iter().all(told)
    }

    fn is_full(&self) -> bool {
        self.info.tier == Tier::Full
    }

    const fn state(&self) -> TargetState {
        if self.exited {
            TargetState::Exited
        } else {
            TargetState::Attached
        }
    }

    fn line(&self) -> TargetLine {
        TargetLine {
            service: clean(&self.info.service),
            pid: self.info.pid,
            runtime: Some(format!(
                "{} {}",
                self.info.runtime.name(),
                clean(&self.info.version)
            )),
            tier: (!self.is_full()).then(|| self.info.tier.name()),
            state: self.state(),
            reason: None,
            slots: self.slots.len() as u64,
            handoffs: self.handoffs,
            findings: self.findings,
            probes_missing: self.missing.iter().map(|probe| probe.name()).collect(),
            at_attach: self.found,
        }
    }
}

/// Why the kernel side lost events, and how many.
pub(super) const fn losses(stats: &ProbeStats) -> [(&'static str, u64); 5] {
    [
        ("ring_full", stats.lost_ring),
        ("map_full", stats.lost_map),
        ("no_image", stats.lost_image),
        ("no_slot", stats.lost_slot),
        ("unreadable", stats.unreadable),
    ]
}

fn note(list: &mut Vec<String>, pid: u32, reason: &str) {
    if list.len() < TARGET_LINES {
        list.push(format!("{pid} ({})", clean(reason)));
    }
}

/// A count for every name, zero included.
fn counts<K: Copy + Ord>(
    all: &[K],
    name: fn(K) -> &'static str,
    counted: &BTreeMap<K, u64>,
) -> BTreeMap<&'static str, u64> {
    all.iter()
        .map(|key| (name(*key), counted.get(key).copied().unwrap_or(0)))
        .collect()
}

/// The first of a list that may be long.
fn some(list: &[String]) -> String {
    let mut out = list.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if list.len() > LISTED {
        let _ = write!(out, " and {} more", list.len() - LISTED);
    }
    out
}
