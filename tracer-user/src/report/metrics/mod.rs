//! Metrics in Prometheus' text format. The only module (with what is in it) that names the crate `prometheus`: everybody else speaks in enums.

mod events;
pub mod families;
mod known;
mod labels;
mod otlp;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use tracer_common::stats::{Probe, ProbeStats};

use self::{
    events::{EVENTS, event_number},
    families::Family,
    known::Known,
    labels::Labels,
};
use super::{clock::Clock, finding::Runtime, sink::SinkKind, summary::TargetState, tally::losses};
use crate::correlate::{
    event::{Primitive, TargetId, What},
    fact::{Attribution, Carried, Fact, FactKind, Heard, Place, ReadResult, Table},
    finding::{Confidence, Finding, Kind, Source, names},
    ledger::PollOutcome,
};
use crate::{elf::Cost, wire::reason::Reason};

/// Which way a value did not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// To the worker.
    Read,
    /// Back to the submitter.
    Return,
}

names!(Direction { Read => "read", Return => "return" });

/// What became of a process of Python that was come across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is traced.
    Attached,
    /// It should be traced, and that failed.
    Failed,
    /// It cannot be traced.
    Unsupported,
    /// It ended before it could be attached to.
    Missed,
}

names!(Outcome {
    Attached => "attached",
    Failed => "failed",
    Unsupported => "unsupported",
    Missed => "missed",
});

/// What became of another configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It holds.
    Applied,
    /// It cannot be used: the one before holds.
    Refused,
}

names!(Reload { Applied => "applied", Refused => "refused" });

/// Upper bounds of the buckets for handoffs and items: 10 µs to 5 minutes.
const WORK_SECONDS: &[f64] = &[1e-5, 1e-4, 1e-3, 5e-3, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];
/// Upper bounds of the buckets for the age of a bled value: 1 ms to a day.
const AGE_SECONDS: &[f64] = &[1e-3, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];

/// All metrics of a run. Shared between the pipeline, which writes, and the HTTP server, which renders.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    clock: Clock,
    state: Mutex<State>,
    bleeds: IntCounterVec,
    black_holes: IntCounterVec,
    findings: IntCounterVec,
    allowed: IntCounterVec,
    squatting: IntGaugeVec,
    bleed_age: Histogram,
    last_finding: GaugeVec,
    handoffs: IntCounterVec,
    reads: IntCounterVec,
    binds: IntCounterVec,
    tasks: IntCounterVec,
    polls: IntCounterVec,
    announced: IntCounterVec,
    unparsed: IntCounterVec,
    wait: HistogramVec,
    busy: HistogramVec,
    targets: IntGaugeVec,
    seen: IntCounterVec,
    reloads: IntCounterVec,
    probe_attached: IntGaugeVec,
    received: Vec<IntCounter>,
    agreed: IntCounter,
    lost: IntCounterVec,
    entries: Vec<IntGauge>,
    evictions: IntCounterVec,
    ring_lag: Gauge,
    probe_hits: IntCounterVec,
    probe_seconds: CounterVec,
    recorded: IntCounterVec,
    unrecorded: IntCounter,
    selftest: IntGauge,
    selftest_time: Gauge,
    drained_ago: Gauge,
    clock_shift: Gauge,
    armed_files: IntGauge,
    findings_dropped: IntCounter,
    connections_shed: IntCounter,
    sink_sent: IntCounterVec,
    sink_dropped: IntCounterVec,
    sink_errors: IntCounterVec,
    overflow: IntCounter,
}

/// What became of recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recordings {
    /// Files of the flight recorder that were written.
    pub written: u64,
    /// Files that were not asked for: there was one just before, or there are too many.
    pub skipped: u64,
    /// Files that could not be written.
    pub failed: u64,
    /// Entries that are in no recording.
    pub lost: u64,
}

/// What gauges over several targets are summed up from.
#[derive(Debug, Default)]
struct State {
    labels: Labels,
    known: Known,
    squatting: BTreeMap<TargetId, (Arc<str>, u64)>,
    entries: BTreeMap<(Table, TargetId), u64>,
    runtimes: BTreeMap<Arc<str>, &'static str>,
}

impl Metrics {
    /// Metrics at their start. `clock` turns the time of a finding into the wall clock's.
    pub fn new(clock: Clock) -> Self {
        let registry = Registry::new();
        let process = ProcessCollector::for_self();
        registry
            .register(Box::new(process))
            .expect("the first collector cannot clash");
        let counters = |family| add(&registry, IntCounterVec::new(opts(family), family.labels));
        let gauges = |family| add(&registry, IntGaugeVec::new(opts(family), family.labels));
        let histograms = |family, buckets| {
            add(
                &registry,
                HistogramVec::new(histogram_opts(family, buckets), family.labels),
            )
        };
        let received = counters(&families::RECEIVED);
        let entries = gauges(&families::ENTRIES);
        let metrics = Self {
            clock,
            state: Mutex::default(),
            bleeds: counters(&families::BLEEDS),
            black_holes: counters(&families::BLACK_HOLES),
            findings: counters(&families::FINDINGS),
            allowed: counters(&families::ALLOWED),
            squatting: gauges(&families::SQUATTING),
            bleed_age: add(
                &registry,
                Histogram::with_opts(histogram_opts(&families::BLEED_AGE, AGE_SECONDS)),
            ),
            last_finding: add(
                &registry,
                GaugeVec::new(opts(&families::LAST_FINDING), families::LAST_FINDING.labels),
            ),
            handoffs: counters(&families::HANDOFFS),
            reads: counters(&families::READS),
            binds: counters(&families::BINDS),
            tasks: counters(&families::TASKS),
            polls: counters(&families::POLLS),
            announced: counters(&families::ANNOUNCED),
            unparsed: counters(&families::UNPARSED),
            wait: histograms(&families::WAIT, WORK_SECONDS),
            busy: histograms(&families::BUSY, WORK_SECONDS),
            targets: gauges(&families::TARGETS),
            seen: counters(&families::SEEN),
            reloads: counters(&families::RELOADS),
            probe_attached: gauges(&families::PROBE_ATTACHED),
            received: EVENTS.map(|event| received.with_label_values(&[event])).to_vec(),
            agreed: add(&registry, IntCounter::with_opts(opts(&families::AGREED))),
            lost: counters(&families::LOST),
            entries: Table::ALL
                .iter()
                .map(|table| entries.with_label_values(&[table.name()]))
                .collect(),
            evictions: counters(&families::EVICTIONS),
            ring_lag: add(&registry, Gauge::with_opts(opts(&families::RING_LAG))),
            probe_hits: counters(&families::PROBE_HITS),
            probe_seconds: add(
                &registry,
                CounterVec::new(opts(&families::PROBE_SECONDS), families::PROBE_SECONDS.labels),
            ),
            recorded: counters(&families::RECORDED),
            unrecorded: add(&registry, IntCounter::with_opts(opts(&families::UNRECORDED))),
            selftest: add(&registry, IntGauge::with_opts(opts(&families::SELFTEST))),
            selftest_time: add(&registry, Gauge::with_opts(opts(&families::SELFTEST_TIME))),
            drained_ago: add(&registry, Gauge::with_opts(opts(&families::DRAINED_AGO))),
            clock_shift: add(&registry, Gauge::with_opts(opts(&families::CLOCK_SHIFT))),
            armed_files: add(&registry, IntGauge::with_opts(opts(&families::ARMED_FILES))),
            findings_dropped: add(
                &registry,
                IntCounter::with_opts(opts(&families::FINDINGS_DROPPED)),
            ),
            connections_shed: add(
                &registry,
                IntCounter::with_opts(opts(&families::CONNECTIONS_SHED)),
            ),
            sink_sent: counters(&families::SINK_SENT),
            sink_dropped: counters(&families::SINK_DROPPED),
            sink_errors: counters(&families::SINK_ERRORS),
            overflow: add(&registry, IntCounter::with_opts(opts(&families::OVERFLOW))),
            registry: registry.clone(),
        };
        gauges(&families::BUILD_INFO)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        metrics.start();
        metrics
    }

    /// The series that need no service start at 0.
    fn start(&self) {
        for state in TargetState::ALL {
            self.targets.with_label_values(&[state.name()]);
        }
        for outcome in Outcome::ALL {
            self.seen.with_label_values(&[outcome.name()]);
        }
        for result in Reload::ALL {
            self.reloads.with_label_values(&[result.name()]);
        }
        self.recordings(&Recordings::default());
        for sink in SinkKind::ALL {
            for counter in [&self.sink_sent, &self.sink_dropped, &self.sink_errors] {
                counter.with_label_values(&[sink.name()]);
            }
        }
        for table in Table::ALL {
            self.evictions.with_label_values(&[table.name()]);
        }
        for probe in Probe::ALL {
            self.probe_hits.with_label_values(&[probe.name()]);
            self.probe_seconds.with_label_values(&[probe.name()]);
            for (reason, _) in losses(&ProbeStats::default()) {
                self.lost.with_label_values(&[probe.name(), reason]);
            }
        }
    }

    /// A service has a traced process: its bounded series start at 0.
    pub fn attach_service(&self, name: &str, runtime: Runtime) {
        let mut state = self.state();
        let service = state.labels.service(name, &self.overflow);
        state.runtimes.insert(Arc::clone(&service), runtime.name());
        state.known.add_service(self, name, &service);
        drop(state);
        let service = &*service;
        for kind in Kind::ALL {
            self.findings
                .with_label_values(&[service, runtime.name(), kind.name()]);
            self.last_finding.with_label_values(&[service, kind.name()]);
            self.allowed.with_label_values(&[service, kind.name()]);
        }
        self.squatting.with_label_values(&[service]);
        for primitive in Primitive::ALL {
            for carried in Carried::ALL {
                self.handoffs
                    .with_label_values(&[service, primitive.name(), carried.name()]);
            }
        }
        for attribution in Attribution::ALL {
            self.tasks.with_label_values(&[service, attribution.name()]);
        }
        for outcome in PollOutcome::ALL {
            self.polls.with_label_values(&[service, outcome.name()]);
        }
        for heard in Heard::ALL {
            self.announced.with_label_values(&[service, heard.name()]);
        }
        for reason in Reason::ALL {
            self.unparsed.with_label_values(&[service, reason.name()]);
        }
        self.wait.with_label_values(&[service]);
        self.busy.with_label_values(&[service]);
    }

    /// A watched variable of a service is in use: its bounded series start at 0.
    pub fn slot_seen(&self, service: &str, slot: &str) {
        let named = (service, slot);
        let (service, slot) = self.labels(service, slot);
        let (service, slot) = (&*service, &*slot);
        self.state().known.add_slot(self, named, (service, slot));
        for confidence in Confidence::ALL {
            for source in Source::ALL {
                self.bleeds
                    .with_label_values(&[service, slot, confidence.name(), source.name()]);
            }
        }
        for direction in Direction::ALL {
            self.black_holes
                .with_label_values(&[service, slot, direction.name()]);
        }
        for result in ReadResult::ALL {
            self.reads.with_label_values(&[service, slot, result.name()]);
        }
        for place in Place::ALL {
            self.binds.with_label_values(&[service, slot, place.name()]);
        }
    }

    /// Counts one fact about a target of `service`; `slot` is the name of the variable that it is about, if it is about one.
    pub fn fold(&self, fact: &Fact, service: &str, slot: &str) {
        match &fact.what {
            FactKind::Finding(finding) => self.finding(finding, service),
            FactKind::SlotSeen(_) => self.slot_seen(service, slot),
            FactKind::Read(_, result, times) => {
                if let Some(known) = self.state().known.slot(service, slot) {
                    return known.read(*result).inc_by(*times);
                }
                let (service, slot) = self.labels(service, slot);
                self.reads
                    .with_label_values(&[&*service, &*slot, result.name()])
                    .inc_by(*times);
            }
            FactKind::Bind(_, place) => {
                if let Some(known) = self.state().known.slot(service, slot) {
                    return known.bind(*place).inc();
                }
                let (service, slot) = self.labels(service, slot);
                self.binds
                    .with_label_values(&[&*service, &*slot, place.name()])
                    .inc();
            }
            FactKind::Handoff(primitive, carried) => {
                if let Some(known) = self.state().known.service(service) {
                    return known.handoff(*primitive, *carried).inc();
                }
                let service = self.service(service);
                self.handoffs
                    .with_label_values(&[&*service, primitive.name(), carried.name()])
                    .inc();
            }
            FactKind::Wait(nanos) => {
                if let Some(known) = self.state().known.service(service) {
                    return known.wait.observe(seconds(*nanos));
                }
                self.wait
                    .with_label_values(&[&*self.service(service)])
                    .observe(seconds(*nanos));
            }
            FactKind::Busy(nanos) => {
                if let Some(known) = self.state().known.service(service) {
                    return known.busy.observe(seconds(*nanos));
                }
                self.busy
                    .with_label_values(&[&*self.service(service)])
                    .observe(seconds(*nanos));
            }
            FactKind::BleedAge(nanos) => self.bleed_age.observe(seconds(*nanos)),
            FactKind::Mint(attribution) => {
                self.tasks
                    .with_label_values(&[&*self.service(service), attribution.name()])
                    .inc();
            }
            FactKind::Poll(outcome) => {
                self.polls
                    .with_label_values(&[&*self.service(service), outcome.name()])
                    .inc();
            }
            FactKind::Announced(heard) => {
                self.announced
                    .with_label_values(&[&*self.service(service), heard.name()])
                    .inc();
            }
            FactKind::Unparsed(reason) => {
                self.unparsed
                    .with_label_values(&[&*self.service(service), reason.name()])
                    .inc();
            }
            FactKind::Squatting(workers) => {
                let service = self.service(service);
                self.state()
                    .squatting
                    .insert(fact.target, (Arc::clone(&service), *workers));
                self.sum_squatting(&service);
            }
            FactKind::Entries(table, entries) => {
                let before = self.state().entries.insert((*table, fact.target), *entries);
                let more = *entries as i64 - before.unwrap_or(0) as i64;
                self.entries[*table as usize].add(more);
            }
            FactKind::Evicted(table, entries) => {
                self.evictions.with_label_values(&[table.name()]).inc_by(*entries);
            }
            // Data is no handoff; a gap shows up in the kernel's own counters.
            FactKind::Data
            | FactKind::Gap(_)
            | FactKind::Heard
            | FactKind::Hop(_)
            | FactKind::Life(_)
            | FactKind::Judged(_) => {}
        }
    }

    /// A finding that the operator accepts: counted here instead of folded.
    pub fn allowed(&self, kind: Kind, service: &str) {
        self.allowed
            .with_label_values(&[&*self.service(service), kind.name()])
            .inc();
    }

    fn finding(&self, finding: &Finding, service: &str) {
        let (service, slot) = self.labels(service, &finding.slot_name);
        let (service, slot) = (&*service, &*slot);
        let runtime = self.state().runtimes.get(service).copied().unwrap_or("unknown");
        self.findings
            .with_label_values(&[service, runtime, finding.kind.name()])
            .inc();
        self.last_finding
            .with_label_values(&[service, finding.kind.name()])
            .set(self.clock.unix_seconds(finding.time));
        let direction = match finding.kind {
            Kind::Bleed => {
                let source = finding.source.map_or("unknown", Source::name);
                self.bleeds
                    .with_label_values(&[service, slot, finding.confidence.name(), source])
                    .inc();
                return;
            }
            Kind::BlackHoleRead => Direction::Read,
            Kind::BlackHoleReturn => Direction::Return,
            Kind::Squat
            | Kind::UnattributedTask
            | Kind::MisattributedTask
            | Kind::ForeignPoll
            | Kind::OwnerRefused
            | Kind::DriftBlindness
            | Kind::EmptyCheck => return,
        };
        self.black_holes
            .with_label_values(&[service, slot, direction.name()])
            .inc();
    }

    /// A target is gone: what gauges counted of it goes with it.
    pub fn target_gone(&self, target: TargetId) {
        let mut state = self.state();
        let squatting = state.squatting.remove(&target);
        for table in Table::ALL {
            if let Some(entries) = state.entries.remove(&(*table, target)) {
                self.entries[*table as usize].sub(entries as i64);
            }
        }
        drop(state);
        if let Some((service, _)) = squatting {
            self.sum_squatting(&service);
        }
    }

    /// A process of Python was come across.
    pub fn came_across(&self, outcome: Outcome) {
        self.seen.with_label_values(&[outcome.name()]).inc();
    }

    /// The agent was given another configuration.
    pub fn reloaded(&self, result: Reload) {
        self.reloads.with_label_values(&[result.name()]).inc();
    }

    /// Targets by state, as the tally counts them.
    pub fn targets(&self, states: &BTreeMap<TargetState, u64>) {
        // What has ended first: a scrape that comes in between may count a process twice, but misses none.
        for (state, count) in states.iter().rev() {
            self.targets.with_label_values(&[state.name()]).set(*count as i64);
        }
    }

    /// A probe that a service needs: attached at this cost, or not at all.
    pub fn probe(&self, service: &str, probe: Probe, attached: Option<Cost>) {
        let service = self.service(service);
        for cost in Cost::ALL {
            let here = attached == Some(*cost);
            self.probe_attached
                .with_label_values(&[&*service, probe.name(), cost.name()])
                .set(here.into());
        }
    }

    /// A probe that a service does without, as it is configured.
    pub fn no_probe(&self, service: &str, probe: Probe) {
        let service = self.service(service);
        for cost in Cost::ALL {
            // There need not be any.
            let _ = self
                .probe_attached
                .remove_label_values(&[&*service, probe.name(), cost.name()]);
        }
    }

    /// An event reached the engine.
    pub fn received(&self, what: &What) {
        self.received[event_number(what)].inc();
        if let What::Agreed { times, .. } = what {
            self.agreed.inc_by(*times);
        }
    }

    /// What the kernel side has counted for a probe since it was loaded, summed over processors.
    pub fn kernel(&self, probe: Probe, stats: &ProbeStats) {
        raise(&self.probe_hits.with_label_values(&[probe.name()]), stats.hits);
        for (reason, total) in losses(stats) {
            raise(&self.lost.with_label_values(&[probe.name(), reason]), total);
        }
    }

    /// Seconds that the kernel has run a probe's program since it was loaded.
    pub fn probe_seconds(&self, probe: Probe, total: f64) {
        let counter = self.probe_seconds.with_label_values(&[probe.name()]);
        let more = total - counter.get();
        if more > 0.0 {
            counter.inc_by(more);
        }
    }

    /// What became of recordings so far.
    pub fn recordings(&self, recordings: &Recordings) {
        for (outcome, total) in [
            ("written", recordings.written),
            ("skipped", recordings.skipped),
            ("failed", recordings.failed),
        ] {
            raise(&self.recorded.with_label_values(&[outcome]), total);
        }
        raise(&self.unrecorded, recordings.lost);
    }

    /// Age of the newest event when it was read from the ring.
    pub fn ring_lag(&self, nanos: u64) {
        self.ring_lag.set(seconds(nanos));
    }

    /// A call of our own did, or did not, come out of the pipeline.
    pub fn selftest(&self, arrived: bool, now: u64) {
        self.selftest.set(arrived.into());
        if arrived {
            self.selftest_time.set(self.clock.unix_seconds(now));
        }
    }

    /// What had come in was taken in so many seconds ago.
    pub fn drained_ago(&self, seconds: f64) {
        self.drained_ago.set(seconds);
    }

    /// The wall clock is so many nanoseconds away from where it was.
    pub fn clock_shift(&self, nanos: i64) {
        self.clock_shift.set(nanos as f64 / 1e9);
    }

    /// So many files are armed.
    pub fn armed_files(&self, files: usize) {
        self.armed_files.set(files as i64);
    }

    /// Findings that are not kept any more to be asked for.
    pub fn findings_dropped(&self, findings: u64) {
        self.findings_dropped.inc_by(findings);
    }

    /// A connection was closed to make room for another.
    pub fn connection_shed(&self) {
        self.connections_shed.inc();
    }

    /// A sink took in so many findings and summaries.
    pub fn sink_sent(&self, sink: SinkKind, items: u64) {
        self.sink_sent.with_label_values(&[sink.name()]).inc_by(items);
    }

    /// So many did not get to a sink.
    pub fn sink_dropped(&self, sink: SinkKind, items: u64) {
        self.sink_dropped.with_label_values(&[sink.name()]).inc_by(items);
    }

    /// A sink failed once.
    pub fn sink_error(&self, sink: SinkKind) {
        self.sink_errors.with_label_values(&[sink.name()]).inc();
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every family has a name and writing to a string cannot fail")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update of the state is one insertion or removal: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn service(&self, service: &str) -> Arc<str> {
        self.state().labels.service(service, &self.overflow)
    }

    fn labels(&self, service: &str, slot: &str) -> (Arc<str>, Arc<str>) {
        let mut state = self.state();
        let service = state.labels.service(service, &self.overflow);
        let slot = state.labels.slot(&service, slot, &self.overflow);
        (service, slot)
    }

    fn sum_squatting(&self, service: &str) {
        let sum: u64 = self
            .state()
            .squatting
            .values()
            .filter(|(of, _)| **of == *service)
            .map(|(_, workers)| workers)
            .sum();
        self.squatting.with_label_values(&[service]).set(sum as i64);
    }
}

/// Brings a counter up to a total that somebody else keeps.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn histogram_opts(family: &Family, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec())
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("names and labels of the table are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("names of the table are unique");
    collector
}
