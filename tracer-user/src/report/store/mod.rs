//! What can be asked of a run while it goes on: its findings, its targets, and whether it is well.
//!
//! The pipeline writes, others read. A lock is held for as long as it takes to note one thing, or to copy a list of pointers: nothing is
//! rendered under it. There is no clock in here: whoever calls says what time it is.

mod findings;
mod health;
mod targets;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracer_common::stats::Probe;

use self::{findings::Findings, health::Pulse, targets::Known};
pub use self::{
    findings::{Filter, Group, Listed},
    health::{Condition, Need, Reason, ReasonCode},
    targets::{Line, Targets},
};
use super::{clock::Clock, finding::ExportedFinding, finding::TargetInfo, summary::TargetState};
use crate::correlate::event::TargetId;

/// Everything that can be asked.
#[derive(Debug)]
pub struct Store {
    clock: Clock,
    need: Need,
    pulse: Pulse,
    findings: Mutex<Findings>,
    targets: Mutex<Known>,
}

impl Store {
    /// Nothing yet, at a time of the monotonic clock. `need` says what has to be attached for the run to be ready.
    pub fn new(clock: Clock, need: Need, now: u64) -> Self {
        Self {
            clock,
            need,
            pulse: Pulse::new(now),
            findings: Mutex::default(),
            targets: Mutex::default(),
        }
    }

    /// Adds a finding that was made at this time. Returns how many older ones had to go for it.
    pub fn finding(&self, time: u64, finding: &ExportedFinding) -> u64 {
        let mut findings = lock(&self.findings);
        let before = findings.dropped();
        findings.add(self.clock.unix(time), finding);
        findings.dropped() - before
    }

    /// Forgets all findings: they show what is not to be shown any more.
    pub fn forget_findings(&self) {
        *lock(&self.findings) = Findings::default();
    }

    /// A target is traced from this time on. `missing` are the probes that it needs and does not have.
    pub fn attached(&self, id: TargetId, info: &TargetInfo, missing: &[Probe], time: u64) {
        let since = self.clock.rfc3339(time);
        lock(&self.targets).attached(id, info, missing, since);
    }

    /// Another run begins: what is traced, and what cannot be, is told anew.
    pub fn start_over(&self) {
        lock(&self.targets).start_over();
    }

    /// A process could not be traced.
    pub fn refused(&self, pid: u32, service: &str, state: TargetState, reason: &str, time: u64) {
        let since = self.clock.rfc3339(time);
        lock(&self.targets).refused(pid, service, state, reason, since);
    }

    /// A target ended.
    pub fn ended(&self, id: TargetId, time: u64) {
        let since = self.clock.rfc3339(time);
        lock(&self.targets).ended(id, since);
    }

    /// A process that could not be traced does not run any more.
    pub fn refused_ended(&self, pid: u32, time: u64) {
        let since = self.clock.rfc3339(time);
        lock(&self.targets).refused_ended(pid, &since);
    }

    /// What had come in by this time was taken in.
    pub fn drained(&self, now: u64) {
        self.pulse.beat(now);
    }

    /// A call of our own did, or did not, come out of the pipeline.
    pub fn selftest(&self, arrived: bool) {
        self.pulse.selftest(arrived);
    }

    /// The wall clock is so many nanoseconds away from where it was when the run started.
    pub fn clock_shift(&self, nanos: i64) {
        self.pulse.clock_shift(nanos);
    }

    /// So many events were lost up to now. Whether that is news: none was in the last minute.
    pub fn lost(&self, total: u64, now: u64) -> bool {
        self.pulse.lost(total, now)
    }

    /// The findings that pass a filter.
    pub fn findings(&self, filter: &Filter) -> Listed {
        lock(&self.findings).list(filter)
    }

    /// The targets.
    pub fn targets(&self) -> Targets {
        lock(&self.targets).list()
    }

    /// Whether the pipeline is well at this time.
    pub fn health(&self, now: u64) -> Condition {
        self.pulse.condition(now)
    }

    /// Whether everything is attached that should be, and why not.
    pub fn readiness(&self, now: u64) -> Condition {
        let mut condition = self.pulse.started(now);
        let targets = lock(&self.targets);
        condition.reasons.extend(targets.lacks(self.need));
        condition.remarks.extend(targets.remarks());
        condition
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update is one insertion or removal: a panic elsewhere leaves it whole.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
