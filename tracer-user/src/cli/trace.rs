//! `bleedtrace trace`: watch processes, name what is wrong, sum up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    args::{Color, TraceArgs},
    error::Error,
    events::Sinks,
    output::{self, Output},
    refused::Refused,
    requirements::{check_machine, privacy},
    session::{self, FOLLOW_HINT, Observer, Session, Wants},
};
use crate::{
    correlate::{
        event::{Event, Slot, TargetId, What},
        fact::{Fact, FactKind},
    },
    privilege,
    report::{
        clock::Clock,
        finding::{ExportedFinding, Runtime, TargetInfo},
        metrics::Metrics,
        privacy::{Privacy, clean},
        sink::Item,
        store::{Need, Store},
        summary::{Ending, TargetState, exit_code},
        tally::Tally,
    },
    target::follow::{Follower, Notice},
};

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.target.check("trace")?;
    let config = args.watch.resolve(args.wire, args.tasks)?;
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let clock = session::clock();
    let privacy = privacy(&config)?;
    let wants = Wants {
        wire: Some(privacy.derived_key(b"wire")),
        selftest: true,
        ..Wants::default()
    };
    let metrics = Arc::new(Metrics::new(clock));
    let mut report = Report {
        output,
        privacy,
        clock,
        confine: args.confine.then_some(!args.target.command.is_empty()),
        sinks: args.events.start(&metrics)?,
        metrics,
        store: Arc::new(Store::new(clock, Need::Target, session::now())),
        refused: Refused::default(),
        tally: Tally::default(),
        targets: HashMap::new(),
        watching: BTreeSet::new(),
        in_use: BTreeSet::new(),
    };
    // Before the kernel side is loaded: whoever asks meanwhile is told that it starts.
    if let Some(text) = args.listen.serve(&report.metrics, &report.store, clock)? {
        report.output.say(&text);
    }
    let wire = std::iter::once(&config.watch).chain(config.services.iter().map(|rule| &rule.watch));
    if wire.into_iter().any(|watch| watch.wire == Some(true)) {
        report.tally.watch_wire();
    }
    let session = Session::open(config, wants, &args.target, report)?;
    let (report, code) = session.run(&args.target)?;
    report.finish(args, code)
}

/// What comes out of a run.
struct Report {
    output: Output,
    privacy: Privacy,
    clock: Clock,
    /// Give up what is not needed; whether what signals to others take is.
    confine: Option<bool>,
    sinks: Sinks,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    refused: Refused,
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

impl Observer for Report {
    fn notice(&mut self, notice: Notice) {
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
                self.output.say(&format!(
                    "process {pid} ({}) cannot be traced: {reason}",
                    clean(&service)
                ));
                self.tally.child_not_attached(&service, pid, &reason);
                let now = session::now();
                self.store
                    .refused(pid, &service, TargetState::Failed, &reason, now);
                if !self.refused.add(pid) {
                    self.store.refused_ended(pid, now);
                }
            }
            Notice::NotFollowed { pid, path, text } => {
                self.output.say(&session::remark(pid, &text));
                self.tally.not_followed(&path);
            }
            Notice::Ended { id, .. } => {
                self.tally.exited(id);
                self.metrics.target_gone(id);
                self.store.ended(id, session::now());
            }
            Notice::Remark { pid, text } => self.output.say(&session::remark(pid, &text)),
            Notice::InUse(names) => self.in_use.extend(names),
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
            let dropped = self.store.finding(finding.time, &exported);
            self.metrics.findings_dropped(dropped);
            self.output.finding(&exported);
            self.sinks.send(|| Item::Finding(Box::new(exported)));
        }
    }

    fn malformed(&mut self, records: u64) {
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
    }

    fn counters(&mut self, follower: &mut Follower) {
        follower.registry.programs.log();
        let totals = follower.registry.programs.totals();
        let stats: Vec<_> = totals
            .iter()
            .map(|(probe, total)| (*probe, total.stats))
            .collect();
        let seconds = totals.values().map(|total| total.seconds).sum();
        self.tally.kernel(&stats, Some(seconds));
        for (probe, total) in &totals {
            self.metrics.kernel(*probe, &total.stats);
            self.metrics.probe_seconds(*probe, total.seconds);
        }
        self.metrics.targets(&self.tally.states());
        let shift = session::clock().offset - self.clock.offset;
        self.metrics.clock_shift(shift);
        self.store.clock_shift(shift);
        for pid in self.refused.ended() {
            self.store.refused_ended(pid, session::now());
        }
        self.tally.out_of_sight(follower.out_of_sight());
    }
}

impl Report {
    /// Sums up.
    fn finish(mut self, args: &TraceArgs, code: Option<u8>) -> Result<u8, Error> {
        self.tally.variables_in_use(&self.in_use);
        let summary = self.tally.finish(code.map(i32::from));
        let unsupported = self
            .targets
            .is_empty()
            .then(|| self.tally.first_refusal())
            .flatten();
        self.sinks.send(|| Item::Summary(Box::new(summary.clone())));
        for text in self.sinks.close() {
            anstream::eprintln!("warning: {text}");
        }
        self.output
            .finish(&summary)
            .map_err(|error| output::write_error(&error))?;
        if let Some(reason) = unsupported {
            return Err(Error::cannot_trace(reason, FOLLOW_HINT));
        }
        let fail_on = args.fail_on.as_ref().map(|kinds| kinds.iter().copied().collect());
        Ok(exit_code(Ending::Summary(&summary), fail_on.as_ref()) as u8)
    }
}
