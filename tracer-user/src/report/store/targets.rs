//! Targets that can be asked about: those that are traced, those that could not be, and the last of those that ended.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use tracer_common::stats::Probe;

use super::{
    super::{finding::TargetInfo, privacy::clean, summary::TargetState},
    health::{Need, Reason, ReasonCode},
};
use crate::{config::Tier, correlate::event::TargetId};

/// Processes that could not be traced, or ended, of which it is known that they did.
const PAST: usize = 1_000;

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its process id.
    pub pid: u32,
    /// Its name in metrics.
    pub service: String,
    /// What executes it; null when it is not traced.
    pub runtime: Option<&'static str>,
    /// Version of that.
    pub version: Option<String>,
    /// How much of it is watched; null when it is not traced.
    pub tier: Option<&'static str>,
    /// How it stands.
    pub state: TargetState,
    /// Why it is not traced, or only in part.
    pub reason: Option<String>,
    /// Since when it stands so.
    pub since: String,
}

/// All that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// Those that are traced first, then the others, the latest first.
    pub targets: Vec<Line>,
    /// Targets that ended, or could not be traced, that are not listed any more.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    // As many as the kernel side has room for.
    traced: BTreeMap<TargetId, Traced>,
    past: VecDeque<Line>,
    dropped: u64,
}

#[derive(Debug)]
struct Traced {
    line: Line,
    complete: bool,
}

impl Known {
    pub(super) fn attached(&mut self, id: TargetId, info: &TargetInfo, missing: &[Probe], since: String) {
        let names: Vec<_> = missing.iter().map(|probe| probe.name()).collect();
        let line = Line {
            pid: info.pid,
            service: clean(&info.service),
            runtime: Some(info.runtime.name()),
            version: Some(clean(&info.version)),
            tier: Some(info.tier.name()),
            state: TargetState::Attached,
            reason: (!names.is_empty()).then(|| format!("probes are not attached: {}", names.join(", "))),
            since,
        };
        let complete = missing.is_empty();
        // It could not be traced before, perhaps as another program.
        self.past
            .retain(|line| line.pid != info.pid || line.state == TargetState::Exited);
        self.traced.insert(id, Traced { line, complete });
    }

    /// Everything is looked at anew.
    pub(super) fn start_over(&mut self) {
        self.traced.clear();
        self.past.retain(|line| line.state == TargetState::Exited);
    }

    pub(super) fn refused(
        &mut self,
        pid: u32,
        service: &str,
        state: TargetState,
        reason: &str,
        since: String,
    ) {
        self.remember(Line {
            pid,
            service: clean(service),
            runtime: None,
            version: None,
            tier: None,
            state,
            reason: Some(clean(reason)),
            since,
        });
    }

    pub(super) fn ended(&mut self, id: TargetId, since: String) {
        if let Some(Traced { mut line, .. }) = self.traced.remove(&id) {
            (line.state, line.since) = (TargetState::Exited, since);
            self.remember(line);
        }
    }

    pub(super) fn refused_ended(&mut self, pid: u32, since: &str) {
        for line in &mut self.past {
            if line.pid == pid && matches!(line.state, TargetState::Failed | TargetState::Unsupported) {
                (line.state, line.since) = (TargetState::Exited, since.to_owned());
            }
        }
    }

    /// What should be traced and is not. Nothing in it names a target: anybody may ask.
    pub(super) fn lacks(&self, need: Need) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.traced.is_empty() && need == Need::Target {
            reasons.push(Reason::new(
                ReasonCode::NoTarget,
                "no process is traced".to_owned(),
            ));
        }
        let failed = self.failed().count();
        if failed > 0 {
            let message = format!("{failed} processes that still run could not be traced: /targets says why");
            reasons.push(Reason::new(ReasonCode::TargetFailed, message));
        }
        let partly = self.traced.values().filter(|traced| !traced.complete).count();
        if partly > 0 {
            let message = format!("{partly} processes lack probes that they need: /targets says which");
            reasons.push(Reason::new(ReasonCode::ProbesMissing, message));
        }
        reasons
    }

    /// What is to be known of what is traced even so.
    pub(super) fn remarks(&self) -> Vec<Reason> {
        let full = Some(Tier::Full.name());
        let unread = self
            .traced
            .values()
            .filter(|traced| traced.line.tier != full)
            .count();
        let remark = || {
            let message = format!("{unread} processes are watched without what they read (tier handoffs)");
            Reason::new(ReasonCode::ReadsNotWatched, message)
        };
        (unread > 0).then(remark).into_iter().collect()
    }

    pub(super) fn list(&self) -> Targets {
        let traced = self.traced.values().map(|traced| &traced.line);
        Targets {
            targets: traced.chain(self.past.iter().rev()).cloned().collect(),
            dropped: self.dropped,
        }
    }

    fn failed(&self) -> impl Iterator<Item = &Line> {
        self.past.iter().filter(|line| line.state == TargetState::Failed)
    }

    fn remember(&mut self, line: Line) {
        if self.past.len() >= PAST {
            // Those that still run and are not traced matter more than those that are over.
            let over = self
                .past
                .iter()
                .position(|line| line.state == TargetState::Exited);
            self.past.remove(over.unwrap_or(0));
            self.dropped += 1;
        }
        self.past.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn time() -> String {
        "then".to_owned()
    }

    fn states(known: &Known) -> Vec<(u32, TargetState)> {
        let lines = known.list().targets;
        lines.into_iter().map(|line| (line.pid, line.state)).collect()
    }

    fn codes(known: &Known, need: Need) -> Vec<ReasonCode> {
        known.lacks(need).into_iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_life() {
        let mut known = Known::default();
        assert_eq!(codes(&known, Need::Target), [ReasonCode::NoTarget]);
        assert_eq!(codes(&known, Need::Nothing), []);
        known.attached(TargetId(1), &samples::target(), &[], time());
        assert_eq!(codes(&known, Need::Target), []);
        known.refused(7, "w\u{1b}", TargetState::Failed, "no\nway", time());
        assert_eq!(
            states(&known),
            [(4242, TargetState::Attached), (7, TargetState::Failed)]
        );
        let line = known.list().targets.swap_remove(1);
        assert_eq!(
            (&*line.service, line.reason.as_deref()),
            ("w\\u{1b}", Some("no\\nway"))
        );
        assert_eq!(codes(&known, Need::Target), [ReasonCode::TargetFailed]);
        known.refused_ended(7, &time());
        assert_eq!(codes(&known, Need::Target), []);
        known.ended(TargetId(1), time());
        assert_eq!(
            states(&known),
            [(4242, TargetState::Exited), (7, TargetState::Exited)]
        );
        assert_eq!(codes(&known, Need::Target), [ReasonCode::NoTarget]);
    }

    #[test]
    fn what_is_traced_in_part_is_said() {
        let mut known = Known::default();
        known.attached(TargetId(1), &samples::target(), &[Probe::QueuePut], time());
        assert_eq!(codes(&known, Need::Target), [ReasonCode::ProbesMissing]);
        let reason = known.list().targets[0].reason.clone();
        assert_eq!(reason.as_deref(), Some("probes are not attached: queue_put"));
        known.attached(TargetId(1), &samples::target(), &[], time());
        assert_eq!(codes(&known, Need::Target), []);
    }

    #[test]
    fn what_is_over_is_dropped_first_and_counted() {
        let mut known = Known::default();
        known.refused(1, "w", TargetState::Failed, "no", time());
        for number in 0..PAST as u32 {
            known.attached(TargetId(number), &samples::target(), &[], time());
            known.ended(TargetId(number), time());
        }
        assert_eq!((known.list().targets.len(), known.list().dropped), (PAST, 1));
        assert_eq!(known.failed().map(|line| line.pid).collect::<Vec<_>>(), [1]);
    }
}
