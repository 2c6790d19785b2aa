//! What `trace` and the agent make of a run: findings, metrics, and the books from which the summary is drawn up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tracer_common::stats::Probe;

use super::{
    error::Error,
    events::Sinks,
    output::{self, Output},
    recorder::Recorder,
    refused::Refused,
    report_files::ReportFiles,
    session::{self, FOLLOW_HINT, Observer},
};
use crate::{
    attach::programs::ProgramTotals,
    config::{Config, Tier},
    correlate::{
        event::{Event, Slot, TargetId, What},
        fact::{Fact, FactKind},
        finding::{Finding, Kind},
    },
    privilege,
    report::{
        clock::Clock,
        counters::{Counters, Total},
        finding::{ExportedFinding, Runtime, TargetInfo},
        metrics::{Metrics, Outcome},
        privacy::{Privacy, clean},
        sink::Item,
        store::Store,
        summary::{Ending, Summary, TargetState, exit_code},
        tally::Tally,
    },
    target::follow::{Follower, Notice},
};

/// Names that are remembered because they were said, or are to be said.
const MAX_NAMES: usize = 4_096;

/// Where what is no finding is said.
#[derive(Clone, Copy, Debug)]
pub enum Voice {
    /// With the findings, to whoever reads them.
    Output,
    /// In the log, as a daemon does.
    Log,
}

/// What comes out of a run.
pub struct Report {
    /// The books.
    pub tally: Tally,
    /// What is recorded of the run.
    pub recorder: Recorder,
    /// Where findings go besides the output.
    pub sinks: Sinks,
    /// What is left behind of the run.
    pub reports: ReportFiles,
    /// Give up what is not needed once everything is attached; whether what signals to others take is.
    pub confine: Option<bool>,
    output: Output,
    in_use: BTreeSet<String>,
    attached_any: bool,
    config: Config,
    privacy: Privacy,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    refused: Refused,
    voice: Voice,
    targets: HashMap<TargetId, Reported>,
    /// Those that have ended: forgotten when all that was known of them is told.
    gone: Vec<TargetId>,
    /// Those of them that had ended when the counters were last read.
    going: Vec<TargetId>,
    /// Services and variables that were said to be watched.
    watching: BTreeSet<(Arc<str>, Arc<str>)>,
    /// What earlier runs of this process have counted, and what this one has.
    former: BTreeMap<Probe, Total>,
    totals: BTreeMap<Probe, Total>,
}

struct Reported {
    info: TargetInfo,
    slots: BTreeMap<Slot, Arc<str>>,
}

impl Report {
    /// Nothing to report yet.
    pub fn new(
        config: Config,
        privacy: Privacy,
        clock: Clock,
        metrics: Arc<Metrics>,
        store: Arc<Store>,
        output: Output,
        voice: Voice,
    ) -> Self {
        let mut report = Self {
            tally: Tally::default(),
            recorder: Recorder::default(),
            sinks: Sinks::default(),
            reports: ReportFiles::default(),
            confine: None,
            output,
            in_use: BTreeSet::new(),
            attached_any: false,
            config: Config::default(),
            privacy,
            clock,
            metrics,
            store,
            refused: Refused::default(),
            voice,
            targets: HashMap::new(),
            gone: Vec::new(),
            going: Vec::new(),
            watching: BTreeSet::new(),
            former: BTreeMap::new(),
            totals: BTreeMap::new(),
        };
        report.follow(config);
        report
    }

    /// Goes on with another run, by another configuration: processes are numbered anew, and the kernel side counts from 0.
    pub fn start_over(&mut self, config: Config, privacy: Privacy) {
        for id in self.targets.drain().map(|(id, _)| id) {
            self.metrics.target_gone(id);
        }
        self.store.start_over();
        self.refused = Refused::default();
        if self.config.reveal && !config.reveal {
            self.store.forget_findings();
        }
        self.gone.clear();
        self.going.clear();
        self.watching.clear();
        self.tally = Tally::default();
        for (probe, total) in std::mem::take(&mut self.totals) {
            let former = self.former.entry(probe).or_default();
            *former = total.after(former);
        }
        self.privacy = privacy;
        self.follow(config);
    }

    fn follow(&mut self, config: Config) {
        let wire = std::iter::once(&config.watch).chain(config.services.iter().map(|rule| &rule.watch));
        if wire.into_iter().any(|watch| watch.wire == Some(true)) {
            self.tally.watch_wire();
        }
        self.config = config;
    }

    /// Says something that is no finding.
    pub fn say(&mut self, line: &str) {
        match self.voice {
            Voice::Output => self.output.say(line),
            Voice::Log => tracing::info!("{line}"),
        }
    }

    /// The same, of something that is not as it should be.
    pub fn warn(&mut self, line: &str) {
        match self.voice {
            Voice::Output => self.output.say(line),
            Voice::Log => tracing::warn!("{line}"),
        }
    }

    /// The kernel side has counted so much.
    pub fn counted(&mut self, counters: Counters) {
        let stats: Vec<_> = counters
            .probes
            .iter()
            .map(|(probe, total)| (*probe, total.stats))
            .collect();
        let seconds = counters.probes.values().map(|total| total.seconds).sum();
        self.tally.kernel(&stats, Some(seconds));
        let mut lost = 0;
        for (probe, total) in &counters.probes {
            let total = self
                .former
                .get(probe)
                .map_or(*total, |former| total.after(former));
            lost += total.lost();
            self.metrics.kernel(*probe, &total.stats);
            self.metrics.probe_seconds(*probe, total.seconds);
        }
        let news = self.store.lost(lost, session::now());
        if let (true, Voice::Log) = (news, self.voice) {
            tracing::warn!(
                lost,
                "events are lost, for want of room in the ring or in a table: what happened around them is judged as far as it is known"
            );
        }
        self.metrics.targets(&self.tally.states());
        self.tally.out_of_sight(counters.out_of_sight);
        self.totals = counters.probes;
    }

    /// What the run amounts to so far.
    pub fn summary(&mut self) -> Summary {
        self.tally.variables_in_use(&self.in_use);
        self.tally.finish(None)
    }

    /// What the kernel side had counted when it was last asked.
    pub const fn totals(&self) -> &BTreeMap<Probe, Total> {
        &self.totals
    }

    /// Why nothing at all could be traced.
    fn refusal(&self) -> Option<Error> {
        let reason = (!self.attached_any)
            .then(|| self.tally.first_refusal())
            .flatten()?;
        Some(Error::cannot_trace(reason, FOLLOW_HINT))
    }

    /// Ends without a word: the output is for something else. An error if nothing could be traced.
    pub fn into_output(self) -> Result<Output, Error> {
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(self.output),
        }
    }

    /// Sums up. Returns the exit code that follows, of which the command's own, if there was one, is a part.
    pub fn finish(mut self, fail_on: Option<&[Kind]>, code: Option<u8>) -> Result<u8, Error> {
        self.tally.variables_in_use(&self.in_use);
        let summary = self.tally.finish(code.map(i32::from));
        let refusal = self.refusal();
        self.sinks.send(|| Item::Summary(Box::new(summary.clone())));
        self.close_sinks();
        let reported = self.reports.finish(&summary);
        self.output
            .finish(&summary)
            .map_err(|error| output::write_error(&error))?;
        if let Some(refusal) = refusal {
            if let Err(error) = reported {
                tracing::warn!(%error, "a report is missing");
            }
            return Err(refusal);
        }
        reported?;
        let fail_on = fail_on.map(|kinds| kinds.iter().copied().collect());
        Ok(exit_code(Ending::Summary(&summary), fail_on.as_ref()) as u8)
    }

    /// Waits for what is on its way to the sinks. Nothing goes there any more.
    pub fn close_sinks(&mut self) {
        for text in std::mem::take(&mut self.sinks).close() {
            match self.voice {
                Voice::Output => anstream::eprintln!("warning: {text}"),
                Voice::Log => tracing::warn!("{text}"),
            }
        }
    }

    /// A process could not be traced.
    fn refuse(&mut self, pid: u32, service: &str, state: TargetState, reason: &str) {
        let now = session::now();
        self.store.refused(pid, service, state, reason, now);
        if !self.refused.add(pid) {
            self.store.refused_ended(pid, now);
        }
    }

    /// Something was found.
    fn finding(&mut self, fact: &Fact, finding: &Finding) {
        let allowed = self.config.allowed(finding).map(str::to_owned);
        let Some(target) = self.targets.get(&fact.target) else {
            if allowed.is_some() {
                self.tally.allowed();
            } else {
                self.tally.fold(fact);
            }
            return;
        };
        let service = &target.info.service;
        let exported = ExportedFinding::new(finding, &target.info, self.clock, &self.privacy);
        self.reports
            .fact(service, &fact.what, |_| Arc::clone(&finding.slot_name));
        if let Some(reason) = self.reports.finding(&exported, allowed) {
            self.tally.allowed();
            self.metrics.allowed(finding.kind, service);
            let exported = exported.allowed(&reason);
            self.output.finding(&exported);
            self.sinks.send(|| Item::Finding(Box::new(exported)));
            return;
        }
        self.tally.fold(fact);
        self.metrics.fold(fact, service, &finding.slot_name);
        let dropped = self.store.finding(finding.time, &exported);
        self.metrics.findings_dropped(dropped);
        self.output.finding(&exported);
        if let Some(said) = self.recorder.finding(&exported, finding.time) {
            self.say(&said);
        }
        self.sinks.send(|| Item::Finding(Box::new(exported)));
    }

    fn use_of(&mut self, names: BTreeSet<String>) {
        let room = MAX_NAMES.saturating_sub(self.in_use.len());
        self.in_use.extend(names.into_iter().take(room));
    }
}

impl Observer for Report {
    fn notice(&mut self, notice: Notice) {
        self.recorder.notice(&notice);
        match notice {
            Notice::Attached {
                id,
                pid,
                service,
                version,
                probes,
                missing,
                found,
                container,
            } => {
                self.say(&session::attached(pid, &service, &version));
                if let Some(found) = found {
                    self.say(&session::at_attach(found));
                }
                self.metrics.attach_service(&service, Runtime::Cpython);
                self.metrics.came_across(Outcome::Attached);
                for (probe, cost) in &probes {
                    self.metrics.probe(&service, *probe, Some(*cost));
                }
                for probe in &missing {
                    self.metrics.probe(&service, *probe, None);
                }
                let reads = probes.keys().chain(&missing).any(|probe| probe.is_read());
                if !reads {
                    for probe in Probe::ALL.into_iter().filter(|probe| probe.is_read()) {
                        self.metrics.no_probe(&service, probe);
                    }
                }
                let info = TargetInfo {
                    service,
                    pid,
                    runtime: Runtime::Cpython,
                    version,
                    container,
                    tier: if reads { Tier::Full } else { Tier::Handoffs },
                };
                self.attached_any = true;
                self.store.attached(id, &info, &missing, session::now());
                self.tally.attached(id, info.clone(), missing);
                if let Some(found) = found {
                    self.tally.found(id, found);
                }
                self.targets.insert(
                    id,
                    Reported {
                        info,
                        slots: BTreeMap::new(),
                    },
                );
            }
            Notice::Failed { pid, service, reason } => {
                let reason = clean(&reason);
                self.warn(&format!(
                    "process {pid} ({}) cannot be traced: {reason}",
                    clean(&service)
                ));
                self.tally.child_not_attached(&service, pid, &reason);
                self.refuse(pid, &service, TargetState::Failed, &reason);
                self.metrics.came_across(Outcome::Failed);
            }
            Notice::Unsupported { pid, service, reason } => {
                let reason = clean(&reason);
                self.warn(&format!(
                    "process {pid} ({}) is not supported: {reason}",
                    clean(&service)
                ));
                self.tally.unsupported(&service, pid, &reason);
                self.refuse(pid, &service, TargetState::Unsupported, &reason);
                self.metrics.came_across(Outcome::Unsupported);
            }
            Notice::Missed => {
                self.tally.missed();
                self.metrics.came_across(Outcome::Missed);
            }
            Notice::NotFollowed { pid, path, text } => {
                self.say(&session::remark(pid, &text));
                self.tally.not_followed(&path);
            }
            Notice::Ended { id, .. } => {
                self.tally.exited(id);
                self.metrics.target_gone(id);
                self.store.ended(id, session::now());
                self.gone.push(id);
            }
            Notice::Remark { pid, text } => self.say(&session::remark(pid, &text)),
            Notice::InUse(names) => self.use_of(names),
            Notice::Used(_) => {}
        }
    }

    fn started(&mut self) -> Result<(), Error> {
        let Some(signals) = self.confine else {
            return Ok(());
        };
        privilege::confine(signals)
            .map_err(|error| Error::cannot_trace(error.to_string(), "run it without --confine"))
    }

    fn event(&mut self, event: &Event) {
        self.recorder.event(event);
        self.tally.received(1);
        if let What::Agreed { times, .. } = event.what {
            self.tally.agreed(times);
        }
        self.metrics.received(&event.what);
        let service = self
            .targets
            .get(&event.target)
            .map(|target| &*target.info.service);
        self.reports.event(event, service);
        if let What::Variable { slot, name, role, .. } = &event.what
            && let Some(target) = self.targets.get_mut(&event.target)
        {
            target.slots.insert(*slot, Arc::clone(name));
            self.tally.watched(name);
            let service = Arc::clone(&target.info.service);
            let known = self.watching.len() >= MAX_NAMES;
            if !known && self.watching.insert((Arc::clone(&service), Arc::clone(name))) {
                self.say(&format!("watching {name} as {} in {service}", role.name()));
            }
        }
    }

    fn fact(&mut self, fact: &Fact) {
        if let FactKind::Finding(finding) = &fact.what {
            return self.finding(fact, finding);
        }
        self.tally.fold(fact);
        let Some(target) = self.targets.get(&fact.target) else {
            return;
        };
        let slot = match &fact.what {
            FactKind::SlotSeen(slot) | FactKind::Read(slot, ..) | FactKind::Bind(slot, _) => {
                target.slots.get(slot).map_or("?", |name| &**name)
            }
            _ => "",
        };
        let service = &target.info.service;
        self.metrics.fold(fact, service, slot);
        self.reports.fact(service, &fact.what, |slot| {
            target.slots.get(&slot).cloned().unwrap_or_else(|| "?".into())
        });
    }

    fn malformed(&mut self, records: u64) {
        self.recorder.malformed(records);
        self.tally.malformed(records);
    }

    fn lag(&mut self, nanos: u64) {
        self.metrics.ring_lag(nanos);
    }

    fn selftest(&mut self, arrived: bool) {
        self.metrics.selftest(arrived, session::now());
        self.store.selftest(arrived);
        if !arrived {
            tracing::warn!("a call of our own that is probed did not arrive: events may go missing unseen");
        }
    }

    fn settled(&mut self, _follower: &Follower) {
        self.store.drained(session::now());
        self.recorder.tick();
    }

    fn counters(&mut self, follower: &mut Follower) {
        follower.registry.programs.log();
        let totals = follower.registry.programs.totals().into_iter();
        let total = |total: ProgramTotals| Total {
            stats: total.stats,
            seconds: total.seconds,
        };
        let counters = Counters {
            probes: totals.map(|(probe, of)| (probe, total(of))).collect(),
            out_of_sight: follower.out_of_sight(),
        };
        self.recorder.counters(&counters);
        self.metrics.recordings(&self.recorder.recordings());
        self.counted(counters);
        let shift = session::clock().offset - self.clock.offset;
        self.metrics.clock_shift(shift);
        self.store.clock_shift(shift);
        self.metrics.armed_files(follower.registry.armed_files());
        for pid in self.refused.ended() {
            self.store.refused_ended(pid, session::now());
        }
        if let Voice::Log = self.voice {
            // Nobody asks a daemon for a summary: what has ended is only counted.
            self.tally.forget_exited();
            for id in std::mem::replace(&mut self.going, std::mem::take(&mut self.gone)) {
                self.targets.remove(&id);
            }
        }
    }
}
