//! Gathers a report while a run goes on.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    About, Document, Watched, baseline::Baseline, cause::Findings, fingerprint::Trait,
    source_root::SourceRoots,
};
use crate::{
    correlate::{event, fact::FactKind},
    report::{clock::Clock, finding::ExportedFinding, hops::Hops, privacy::clean, summary::Summary},
};

/// Watched variables that are named.
const WATCHED: usize = 1_000;

/// What has been gathered so far.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    clock: Clock,
    roots: SourceRoots,
    first: Option<u64>,
    last: u64,
    revealed: bool,
    watched: BTreeSet<Watched>,
    findings: Findings,
    hops: Hops,
}

impl Collector {
    /// Nothing yet.
    pub fn new(clock: Clock, roots: SourceRoots) -> Self {
        Self {
            clock,
            roots,
            ..Self::default()
        }
    }

    /// Something happened at this time.
    pub fn event(&mut self, time: u64) {
        self.first.get_or_insert(time);
        self.last = self.last.max(time);
    }

    /// A watched variable is in use.
    pub fn watching(&mut self, service: &str, name: &str, role: &'static str) {
        if self.watched.len() < WATCHED {
            self.watched.insert(Watched {
                service: clean(service),
                name: clean(name),
                role,
            });
        }
    }

    /// A finding.
    pub fn finding(&mut self, finding: &ExportedFinding, known_by: &Trait) {
        let values = [&finding.expected, &finding.found];
        let shown = |value: &&Option<_>| {
            value
                .as_ref()
                .is_some_and(|v: &crate::report::privacy::Rendered| v.value.is_some())
        };
        self.revealed |= values.iter().any(shown);
        self.findings.add(finding, known_by);
    }

    /// What the engine told of a service. `name` tells the names of its slots.
    pub fn fact(&mut self, service: &Arc<str>, fact: &FactKind, name: impl Fn(event::Slot) -> Arc<str>) {
        self.hops.fold(service, fact, name);
    }

    /// The report.
    pub fn finish(mut self, summary: Summary, recording: Option<&str>, baseline: &Baseline) -> Document {
        let time = |time| self.clock.rfc3339(time);
        let about = About {
            program: env!("CARGO_PKG_VERSION"),
            recording: recording.map(clean),
            first: self.first.map(time),
            last: self.first.map(|_| time(self.last)),
            revealed: self.revealed,
            watched: self.watched.into_iter().collect(),
        };
        let beyond = std::mem::take(&mut self.findings.beyond);
        let mut hops = self.hops.lines();
        let mut tasks = self.hops.tasks();
        let lives = tasks.iter_mut().flat_map(|line| line.life.places_mut());
        for site in hops.iter_mut().filter_map(|line| line.site.as_mut()).chain(lives) {
            if let Some(file) = self.roots.rename(&site.file) {
                site.file = file;
            }
        }
        Document {
            about,
            summary,
            causes: self.findings.causes(),
            beyond,
            hops,
            hops_beyond: self.hops.overflow(),
            tasks,
            unmet: baseline.unmet().cloned().collect(),
        }
    }
}
