//! Keeps what a summary does not: counts for each service, threads that squat, and how fast all of it grows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use tracer_common::stats::Probe;

use super::{
    super::{
        clock::Clock,
        counters::Total,
        finding::Site,
        hops::Hops,
        privacy::{Privacy, clean},
        store::{Filter, Store},
        summary::Summary,
    },
    snapshot::{LeftLine, ProbeLine, ServiceLine, Snapshot, SquatLine},
};
use crate::correlate::{
    event::{Carrier, Event, Slot, TargetId, What},
    fact::{Fact, FactKind, ReadResult},
    finding::{Finding, Kind, Severity},
};

/// Services that are counted one by one; what further ones do is counted together.
const SERVICES: usize = 1_000;
/// The name under which those are counted.
const OTHERS: &str = "(others)";
/// Threads that are listed.
const SQUATTERS: usize = 4_096;
/// Sites that are listed.
const SITES: usize = 1_000;

/// The books of a run.
pub struct Books {
    clock: Clock,
    privacy: Privacy,
    started: u64,
    targets: HashMap<TargetId, Known>,
    /// Those that ended since the last snapshot, and those that had ended before it: facts of theirs may still come.
    ended: Vec<TargetId>,
    over: Vec<TargetId>,
    services: BTreeMap<Arc<str>, Service>,
    hops: Hops,
    squatters: BTreeMap<(TargetId, Carrier), Squatter>,
    /// The event that facts follow from.
    at: Option<(Carrier, u64)>,
    events: u64,
    lag: u64,
    before: Before,
}

struct Known {
    service: Arc<str>,
    pid: u32,
    slots: HashMap<Slot, Arc<str>>,
    squatting: u64,
}

#[derive(Default)]
struct Service {
    events: u64,
    events_before: u64,
    handoffs: u64,
    reads: BTreeMap<ReadResult, u64>,
    findings: BTreeMap<Severity, u64>,
    allowed: u64,
}

struct Squatter {
    since: u64,
    times: u64,
    left: Option<LeftLine>,
}

/// What was so at the last snapshot.
#[derive(Default)]
struct Before {
    time: u64,
    events: u64,
    probes: BTreeMap<Probe, Total>,
}

impl Books {
    /// Nothing yet, at a time of the monotonic clock.
    pub fn new(clock: Clock, privacy: Privacy, now: u64) -> Self {
        Self {
            clock,
            privacy,
            started: now,
            targets: HashMap::new(),
            ended: Vec::new(),
            over: Vec::new(),
            services: BTreeMap::new(),
            hops: Hops::default(),
            squatters: BTreeMap::new(),
            at: None,
            events: 0,
            lag: 0,
            before: Before {
                time: now,
                ..Before::default()
            },
        }
    }

    /// A process is traced from now on.
    pub fn attached(&mut self, id: TargetId, service: &Arc<str>, pid: u32) {
        let known = self.services.contains_key(service) || self.services.len() < SERVICES;
        let service = if known {
            Arc::clone(service)
        } else {
            Arc::from(OTHERS)
        };
        self.services.entry(Arc::clone(&service)).or_default();
        self.targets.insert(
            id,
            Known {
                service,
                pid,
                slots: HashMap::new(),
                squatting: 0,
            },
        );
    }

    /// A process has ended.
    pub fn ended(&mut self, id: TargetId) {
        self.squatters.retain(|(target, _), _| *target != id);
        self.ended.push(id);
    }

    /// Something happened; the facts that are told next follow from it.
    pub fn event(&mut self, event: &Event) {
        self.at = Some((event.carrier, event.time));
        self.events += 1;
        let Some(target) = self.targets.get_mut(&event.target) else {
            return;
        };
        if let Some(service) = self.services.get_mut(&target.service) {
            service.events += 1;
        }
        if let What::Variable { slot, name, .. } = &event.what {
            target.slots.insert(*slot, Arc::clone(name));
        }
    }

    /// Takes a fact. `allowed` says of a finding whether the operator accepts it.
    pub fn fact(&mut self, fact: &Fact, allowed: bool) {
        let Some(target) = self.targets.get_mut(&fact.target) else {
            return;
        };
        let slots = &target.slots;
        let name = |slot| slots.get(&slot).cloned().unwrap_or_else(|| Arc::from("?"));
        self.hops.fold(&target.service, &fact.what, name);
        let Some(service) = self.services.get_mut(&target.service) else {
            return;
        };
        match &fact.what {
            FactKind::Handoff(..) => service.handoffs += 1,
            FactKind::Read(_, result, times) => *service.reads.entry(*result).or_default() += times,
            FactKind::Finding(_) if allowed => service.allowed += 1,
            FactKind::Finding(finding) => {
                *service.findings.entry(finding.kind.severity()).or_default() += 1;
            }
            FactKind::Squatting(threads) => {
                let more = *threads > mem::replace(&mut target.squatting, *threads);
                self.squats(fact.target, more);
            }
            _ => {}
        }
        if let FactKind::Finding(finding) = &fact.what
            && finding.kind == Kind::Squat
        {
            self.left(finding);
        }
    }

    /// The reader was this many nanoseconds behind.
    pub fn lag(&mut self, nanos: u64) {
        self.lag = self.lag.max(nanos);
    }

    /// The thread of the last event holds something from now on, or does not any more.
    fn squats(&mut self, target: TargetId, squats: bool) {
        let Some((carrier, time)) = self.at else { return };
        let key = (target, carrier);
        if !squats {
            self.squatters.remove(&key);
        } else if self.squatters.len() < SQUATTERS {
            self.squatters.entry(key).or_insert(Squatter {
                since: time,
                times: 0,
                left: None,
            });
        }
    }

    /// What work left in its thread: told before, or after, that the thread squats.
    fn left(&mut self, finding: &Finding) {
        let key = (finding.target, finding.carrier);
        if self.squatters.len() >= SQUATTERS && !self.squatters.contains_key(&key) {
            return;
        }
        let site = |site: &Option<_>| site.as_ref().map(Site::from);
        let squatter = self.squatters.entry(key).or_insert(Squatter {
            since: finding.time,
            times: 0,
            left: None,
        });
        squatter.times += 1;
        squatter.left = Some(LeftLine {
            slot: clean(&finding.slot_name),
            value: finding
                .found
                .as_ref()
                .map(|value| self.privacy.render(value).to_string()),
            bind: finding.bind.as_ref().and_then(|bind| site(&bind.site)),
            hop: finding.hop.as_ref().and_then(|hop| site(&hop.site)),
        });
    }

    /// All that is known at this time of the monotonic clock, and how fast it has grown since the last time.
    pub fn snapshot(
        &mut self,
        now: u64,
        summary: Summary,
        store: &Store,
        probes: &BTreeMap<Probe, Total>,
    ) -> Snapshot {
        let seconds = now.saturating_sub(self.before.time) as f64 / 1e9;
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 {
                now.saturating_sub(before) as f64 / seconds
            } else {
                0.0
            }
        };
        let listed = store.findings(&Filter::default());
        let mut hops = self.hops.lines();
        hops.truncate(SITES);
        let snapshot = Snapshot {
            kind: "snapshot",
            time: self.clock.rfc3339(now),
            seconds: now.saturating_sub(self.started) as f64 / 1e9,
            ended: false,
            events_per_second: rate(self.events, self.before.events),
            lag_seconds: self.lag as f64 / 1e9,
            summary,
            condition: store.readiness(now),
            services: self.service_lines(rate),
            targets: store.targets(),
            hops,
            squatting: self.squat_lines(now),
            findings: listed.groups,
            findings_dropped: listed.dropped,
            probes: self.probe_lines(probes, seconds),
            log: Vec::new(),
        };
        for service in self.services.values_mut() {
            service.events_before = service.events;
        }
        self.before = Before {
            time: now,
            events: self.events,
            probes: probes.clone(),
        };
        self.lag = 0;
        for id in mem::replace(&mut self.over, mem::take(&mut self.ended)) {
            self.targets.remove(&id);
        }
        snapshot
    }

    fn service_lines(&self, rate: impl Fn(u64, u64) -> f64) -> Vec<ServiceLine> {
        let gone: BTreeSet<_> = self.ended.iter().chain(&self.over).collect();
        let mut running: HashMap<&Arc<str>, u64> = HashMap::new();
        for (_, target) in self.targets.iter().filter(|(id, _)| !gone.contains(id)) {
            *running.entry(&target.service).or_default() += 1;
        }
        let mut squatting: HashMap<&Arc<str>, u64> = HashMap::new();
        for (target, _) in self.squatters.keys() {
            if let Some(target) = self.targets.get(target) {
                *squatting.entry(&target.service).or_default() += 1;
            }
        }
        let line = |(name, service): (&Arc<str>, &Service)| ServiceLine {
            service: clean(name),
            processes: running.get(name).copied().unwrap_or(0),
            events_per_second: rate(service.events, service.events_before),
            handoffs: service.handoffs,
            reads: service.reads.iter().map(|(k, n)| (k.name(), *n)).collect(),
            squatting: squatting.get(name).copied().unwrap_or(0),
            findings: service.findings.iter().map(|(k, n)| (k.name(), *n)).collect(),
            allowed: service.allowed,
        };
        self.services.iter().map(line).collect()
    }

    fn squat_lines(&self, now: u64) -> Vec<SquatLine> {
        let line = |((target, carrier), squatter): (&(TargetId, Carrier), &Squatter)| {
            let target = self.targets.get(target)?;
            Some(SquatLine {
                service: clean(&target.service),
                pid: target.pid,
                tid: carrier.0,
                since: self.clock.rfc3339(squatter.since),
                seconds: now.saturating_sub(squatter.since) as f64 / 1e9,
                times: squatter.times,
                left: squatter.left.clone(),
            })
        };
        self.squatters.iter().filter_map(line).collect()
    }

    fn probe_lines(&self, probes: &BTreeMap<Probe, Total>, seconds: f64) -> Vec<ProbeLine> {
        // Where the kernel does not measure, all of them took no time.
        let measured = probes.values().any(|total| total.seconds > 0.0);
        let line = |(probe, total): (&Probe, &Total)| {
            let before = self.before.probes.get(probe).copied().unwrap_or_default();
            let hits = total.stats.hits;
            let lately = |value: f64| if seconds > 0.0 { value / seconds } else { 0.0 };
            ProbeLine {
                probe: probe.name(),
                hits,
                hits_per_second: lately(hits.saturating_sub(before.stats.hits) as f64),
                nanos_per_hit: (measured && hits > 0).then(|| total.seconds * 1e9 / hits as f64),
                busy: measured.then(|| lately((total.seconds - before.seconds).max(0.0))),
                lost: total.lost(),
            }
        };
        probes
            .iter()
            .filter(|(_, total)| total.stats.hits > 0)
            .map(line)
            .collect()
    }
}
