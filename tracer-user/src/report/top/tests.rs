//! What a person sees, on screens of several sizes, and what keys do.

mod books;
mod keys;
mod screens;

use std::sync::Arc;

use tracer_common::stats::{Probe, ProbeStats};

use super::{books::Books, snapshot::Snapshot};
use crate::{
    correlate::{
        event::{Carrier, Event, Primitive, Role, Slot, TargetId, What},
        fact::{Carried, Fact, FactKind, HopFact, HopWhat, ReadResult},
        finding::{Finding, Kind},
    },
    report::{
        counters::Total,
        finding::{Container, ExportedFinding, TargetInfo},
        privacy::Privacy,
        samples::{self, CLOCK},
        store::{Need, Store},
        summary::TargetState,
        tally::Tally,
    },
};

pub(super) const SECOND: u64 = 1_000_000_000;
const TENANT: Slot = Slot(0);

/// A run that is told what happens, as the command is.
pub(super) struct Run {
    pub(super) books: Books,
    pub(super) store: Store,
    pub(super) tally: Tally,
    pub(super) probes: std::collections::BTreeMap<Probe, Total>,
    privacy: Privacy,
}

impl Run {
    pub(super) fn new() -> Self {
        let privacy = Privacy::new(false, [1; 32]);
        let run = Self {
            books: Books::new(CLOCK, privacy.clone(), 0),
            store: Store::new(CLOCK, Need::Target, 0),
            tally: Tally::default(),
            probes: std::collections::BTreeMap::new(),
            privacy,
        };
        run.store.drained(1);
        run
    }

    pub(super) fn info(service: &str, pid: u32) -> TargetInfo {
        TargetInfo {
            service: service.into(),
            pid,
            container: Container::default(),
            ..samples::target()
        }
    }

    pub(super) fn attach(&mut self, id: u32, service: &str, pid: u32) {
        let info = Self::info(service, pid);
        self.books.attached(TargetId(id), &info.service, pid);
        self.store.attached(TargetId(id), &info, &[], 0);
        self.tally.attached(TargetId(id), info, []);
        self.event(
            id,
            pid,
            What::Variable {
                slot: TENANT,
                name: "tenant".into(),
                role: Role::Identity,
                default: None,
                empty: Arc::default(),
            },
        );
        self.fact(id, FactKind::SlotSeen(TENANT));
    }

    pub(super) fn event(&mut self, id: u32, tid: u32, what: What) {
        self.books.event(&Event {
            time: SECOND,
            target: TargetId(id),
            carrier: Carrier(tid),
            what,
        });
        self.tally.received(1);
    }

    pub(super) fn fact(&mut self, id: u32, what: FactKind) {
        let fact = Fact {
            target: TargetId(id),
            what,
        };
        self.books.fact(&fact, false);
        self.tally.fold(&fact);
    }

    pub(super) fn finding(&mut self, id: u32, service: &str, pid: u32, finding: Finding) {
        let info = Self::info(service, pid);
        let exported = ExportedFinding::new(&finding, &info, CLOCK, &self.privacy);
        self.store.finding(finding.time, &exported);
        self.fact(id, FactKind::Finding(Box::new(finding)));
    }

    /// Work was handed over at a line, and read what was somebody else's.
    pub(super) fn hop(&mut self, id: u32, primitive: Primitive, line: u32, what: HopWhat) {
        if let HopWhat::Taken(carried) = what {
            self.fact(id, FactKind::Handoff(primitive, carried));
        }
        if let HopWhat::Read(slot, result) = what {
            self.fact(id, FactKind::Read(slot, result, 1));
        }
        let site = Some(samples::site("Proxy.handle", line));
        self.fact(
            id,
            FactKind::Hop(Box::new(HopFact {
                primitive,
                site,
                what,
            })),
        );
    }

    pub(super) fn snapshot(&mut self, at: u64) -> Snapshot {
        let summary = self.tally.finish(None);
        self.books.snapshot(at, summary, &self.store, &self.probes)
    }
}

/// Of a kind, found in this target on its thread.
pub(super) fn finding(kind: Kind, number: u64, id: u32, tid: u32) -> Finding {
    let mut finding = samples::finding(kind);
    finding.number = number;
    finding.target = TargetId(id);
    finding.carrier = Carrier(tid);
    finding
}

/// Two services, one of which bleeds, and a process that cannot be traced.
pub(super) fn busy() -> Run {
    let mut run = Run::new();
    run.attach(1, "proxy", 4242);
    run.attach(2, "billing", 77);
    run.store
        .refused(99, "gevent-app", TargetState::Unsupported, "it maps greenlet", 0);
    for _ in 0..3 {
        run.hop(1, Primitive::RunInExecutor, 40, HopWhat::Taken(Carried::Foreign));
        run.hop(
            1,
            Primitive::RunInExecutor,
            40,
            HopWhat::Read(TENANT, ReadResult::Foreign),
        );
    }
    run.hop(2, Primitive::ToThread, 12, HopWhat::Taken(Carried::Copied));
    run.hop(2, Primitive::ToThread, 12, HopWhat::Read(TENANT, ReadResult::Own));
    run.fact(1, FactKind::Judged(TENANT));
    run.fact(2, FactKind::Judged(TENANT));
    run.event(1, 4250, What::Gap { lost: 0 });
    run.fact(1, FactKind::Squatting(1));
    run.finding(1, "proxy", 4242, finding(Kind::Squat, 1, 1, 4250));
    run.finding(1, "proxy", 4242, finding(Kind::Bleed, 2, 1, 4250));
    run.finding(1, "proxy", 4242, finding(Kind::Bleed, 3, 1, 4250));
    let total = |hits, seconds| Total {
        stats: ProbeStats {
            hits,
            ..ProbeStats::default()
        },
        seconds,
    };
    run.probes.insert(Probe::ContextGet, total(123_456, 0.05));
    run.probes.insert(Probe::QueuePut, total(900, 0.000_5));
    let stats: Vec<_> = run
        .probes
        .iter()
        .map(|(probe, total)| (*probe, total.stats))
        .collect();
    run.tally.kernel(&stats, Some(0.0505));
    run
}
