//! `bleedtrace trace`: watch processes, name what is wrong, sum up; `bleedtrace record` writes down the while what was told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    args::{Color, TraceArgs},
    error::Error,
    output::{self, Output},
    recorder::Recorder,
    requirements::{check_machine, privacy},
    session::{self, FOLLOW_HINT, Observer, Session, Wants},
};
use crate::{
    attach::programs::ProgramTotals,
    correlate::{
        event::{Event, Slot, TargetId, What},
        fact::{Fact, FactKind},
        finding::Kind,
    },
    recording::entry::Header,
    report::{
        clock::Clock,
        counters::{Counters, Total},
        finding::{ExportedFinding, Runtime, TargetInfo},
        http::{self, ListenError},
        metrics::Metrics,
        privacy::{Privacy, clean},
        summary::{Ending, exit_code},
        tally::Tally,
    },
    target::follow::{Follower, Notice},
};

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.target.check("trace")?;
    watch(args, color, Recorder::new(None, &args.flight)?)
}

/// Watches, with what is to be recorded of it.
pub fn watch(args: &TraceArgs, color: Color, recorder: Recorder) -> Result<u8, Error> {
    let config = args.watch.resolve(args.wire, args.tasks)?;
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let clock = session::clock();
    let privacy = privacy(&config)?;
    let wants = Wants {
        wire: Some(privacy.derived_key(b"wire")),
        seal: recorder.records().then(|| privacy.clone()),
        ..Wants::default()
    };
    let reveal = config.reveal;
    let mut report = Report::new(output, privacy, clock, recorder);
    let wire = std::iter::once(&config.watch).chain(config.services.iter().map(|rule| &rule.watch));
    if wire.into_iter().any(|watch| watch.wire == Some(true)) {
        report.tally.watch_wire();
    }
    let mut session = Session::open(config, wants, &args.target, report)?;
    let header = Header {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        clock_offset: clock.offset,
        wire: session.settings().wire.is_some(),
        tasks: session.settings().tasks,
        reveal,
        because: None,
    };
    session.observer().recorder.start(header)?;
    if let Some(address) = args.listen {
        let report = session.observer();
        let address =
            http::serve(address, Arc::clone(&report.metrics)).map_err(|error| listen_error(&error))?;
        report.output.say(&format!("metrics at http://{address}/metrics"));
    }
    let (mut report, code) = session.run(&args.target)?;
    let recorded = report.recorder.finish(code);
    let code = report.finish(args.fail_on.as_deref(), code)?;
    recorded.map(|()| code)
}

/// What comes out of a run.
pub(super) struct Report {
    recorder: Recorder,
    output: Output,
    privacy: Privacy,
    clock: Clock,
    metrics: Arc<Metrics>,
    tally: Tally,
    targets: HashMap<TargetId, Reported>,
    /// Services and variables that were said to be watched.
    watching: BTreeSet<(Arc<str>, Arc<str>)>,
    in_use: BTreeSet<String>,
}

struct Reported {
    info: TargetInfo,
    slots: BTreeMap<Slot, Arc<str>>,
}

impl Report {
    pub(super) fn new(output: Output, privacy: Privacy, clock: Clock, recorder: Recorder) -> Self {
        Self {
            recorder,
            output,
            privacy,
            clock,
            metrics: Arc::new(Metrics::new(clock)),
            tally: Tally::default(),
            targets: HashMap::new(),
            watching: BTreeSet::new(),
            in_use: BTreeSet::new(),
        }
    }

    /// What was counted, where it can be told more of.
    pub(super) const fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Says something that is for people only.
    pub(super) fn say(&mut self, line: &str) {
        self.output.say(line);
    }

    /// The kernel side has counted so much.
    pub(super) fn counted(&mut self, counters: Counters) {
        let stats: Vec<_> = counters
            .probes
            .iter()
            .map(|(probe, total)| (*probe, total.stats))
            .collect();
        let seconds = counters.probes.values().map(|total| total.seconds).sum();
        self.tally.kernel(&stats, Some(seconds));
        for (probe, total) in &counters.probes {
            self.metrics.kernel(*probe, &total.stats);
            self.metrics.probe_seconds(*probe, total.seconds);
        }
        self.metrics.targets(&self.tally.states());
        self.tally.out_of_sight(counters.out_of_sight);
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
            } => {
                self.output.say(&session::attached(pid, &service, &version));
                if let Some(found) = found {
                    self.output.say(&session::at_attach(found));
                }
                self.metrics.attach_service(&service, Runtime::Cpython);
                for (probe, cost) in probes {
                    self.metrics.probe(&service, probe, Some(cost));
                }
                for probe in &missing {
                    self.metrics.probe(&service, *probe, None);
                }
                let info = TargetInfo {
                    service,
                    pid,
                    runtime: Runtime::Cpython,
                    version,
                };
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
                self.output.say(&format!(
                    "process {pid} ({}) cannot be traced: {reason}",
                    clean(&service)
                ));
                self.tally.child_not_attached(&service, pid, &reason);
            }
            Notice::NotFollowed { pid, path, text } => {
                self.output.say(&session::remark(pid, &text));
                self.tally.not_followed(&path);
            }
            Notice::Ended { id, .. } => {
                self.tally.exited(id);
                self.metrics.target_gone(id);
            }
            Notice::Remark { pid, text } => self.output.say(&session::remark(pid, &text)),
            Notice::InUse(names) => self.in_use.extend(names),
            Notice::Used(_) => {}
        }
    }

    fn event(&mut self, event: &Event) {
        self.recorder.event(event);
        self.tally.received(1);
        self.metrics.received(&event.what);
        if let What::Variable { slot, name, role, .. } = &event.what
            && let Some(target) = self.targets.get_mut(&event.target)
        {
            target.slots.insert(*slot, Arc::clone(name));
            self.tally.watched(name);
            let service = Arc::clone(&target.info.service);
            if self.watching.insert((Arc::clone(&service), Arc::clone(name))) {
                self.output
                    .say(&format!("watching {name} as {} in {service}", role.name()));
            }
        }
    }

    fn fact(&mut self, fact: &Fact) {
        self.tally.fold(fact);
        let Some(target) = self.targets.get(&fact.target) else {
            return;
        };
        let slot = match &fact.what {
            FactKind::SlotSeen(slot) | FactKind::Read(slot, _) | FactKind::Bind(slot, _) => {
                target.slots.get(slot).map_or("?", |name| name)
            }
            FactKind::Finding(finding) => &finding.slot_name,
            _ => "",
        };
        self.metrics.fold(fact, &target.info.service, slot);
        if let FactKind::Finding(finding) = &fact.what {
            let exported = ExportedFinding::new(finding, &target.info, self.clock, &self.privacy);
            self.output.finding(&exported);
            if let Some(said) = self.recorder.finding(&exported, finding.time) {
                self.output.say(&said);
            }
        }
    }

    fn malformed(&mut self, records: u64) {
        self.recorder.malformed(records);
        self.tally.malformed(records);
    }

    fn lag(&mut self, nanos: u64) {
        self.metrics.ring_lag(nanos);
    }

    fn settled(&mut self, _follower: &Follower) {
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
    }
}

impl Report {
    /// Sums up.
    pub(super) fn finish(mut self, fail_on: Option<&[Kind]>, code: Option<u8>) -> Result<u8, Error> {
        self.tally.variables_in_use(&self.in_use);
        let summary = self.tally.finish(code.map(i32::from));
        let unsupported = self
            .targets
            .is_empty()
            .then(|| self.tally.first_refusal())
            .flatten();
        self.output
            .finish(&summary)
            .map_err(|error| output::write_error(&error))?;
        if let Some(reason) = unsupported {
            return Err(Error::cannot_trace(reason, FOLLOW_HINT));
        }
        let fail_on = fail_on.map(|kinds| kinds.iter().copied().collect());
        Ok(exit_code(Ending::Summary(&summary), fail_on.as_ref()) as u8)
    }
}

fn listen_error(error: &ListenError) -> Error {
    let text = error.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "give another address with --listen"));
    Error::usage(message, hint)
}
