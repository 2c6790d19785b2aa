//! Whether a run is well: what comes in is taken in, and what should be attached is.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What has come in is looked at every few milliseconds; attaching to a large program takes a second or two.
const STALLED: u64 = 5_000_000_000;
/// How long a run may take to start.
const STARTING: u64 = 60_000_000_000;

/// What has to be attached for a run to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: targets may come later.
    Nothing,
    /// A process, at least.
    Target,
}

/// Why a run is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// It has only just begun.
    Starting,
    /// What comes in has not been taken in for a while.
    Stalled,
    /// Nothing is traced.
    NoTarget,
    /// A process that still runs could not be traced.
    TargetFailed,
    /// A probe that is needed is not attached.
    ProbesMissing,
}

/// A reason, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One word.
    pub code: ReasonCode,
    /// One sentence.
    pub message: String,
}

impl Reason {
    pub(super) const fn new(code: ReasonCode, message: String) -> Self {
        Self { code, message }
    }
}

/// How a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Condition {
    /// What is wrong; nothing when it is well.
    pub reasons: Vec<Reason>,
    /// Seconds since what had come in was taken in; null before the first time.
    pub drained_seconds_ago: Option<f64>,
}

impl Condition {
    /// Whether it is well.
    pub const fn is_well(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// When what had come in was last taken in, by the monotonic clock.
#[derive(Debug)]
pub(super) struct Pulse {
    started: u64,
    /// 0 before the first time.
    last: AtomicU64,
}

impl Pulse {
    pub(super) const fn new(started: u64) -> Self {
        Self {
            started,
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn beat(&self, now: u64) {
        self.last.store(now, Ordering::Relaxed);
    }

    /// Well as long as it is drained, or has just begun.
    pub(super) fn condition(&self, now: u64) -> Condition {
        let ago = self.ago(now);
        let late = match ago {
            None => now.saturating_sub(self.started) > STARTING,
            Some(ago) => ago > STALLED,
        };
        let reason = || {
            let seconds = ago.unwrap_or_else(|| now.saturating_sub(self.started)) / 1_000_000_000;
            let message = format!("nothing was taken from the kernel's ring for {seconds} seconds");
            Reason::new(ReasonCode::Stalled, message)
        };
        Condition {
            reasons: late.then(reason).into_iter().collect(),
            drained_seconds_ago: ago.map(|nanos| nanos as f64 / 1e9),
        }
    }

    /// Well only once it is drained.
    pub(super) fn started(&self, now: u64) -> Condition {
        let mut condition = self.condition(now);
        if condition.is_well() && condition.drained_seconds_ago.is_none() {
            let message = "the kernel side is being loaded and attached".to_owned();
            condition.reasons.push(Reason::new(ReasonCode::Starting, message));
        }
        condition
    }

    fn ago(&self, now: u64) -> Option<u64> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            last => Some(now.saturating_sub(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn codes(condition: &Condition) -> Vec<ReasonCode> {
        condition.reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_reader_that_stalls_is_noticed() {
        let pulse = Pulse::new(100 * SECOND);
        assert_eq!(codes(&pulse.condition(101 * SECOND)), []);
        assert_eq!(codes(&pulse.started(101 * SECOND)), [ReasonCode::Starting]);
        pulse.beat(102 * SECOND);
        for at in [102, 107] {
            assert_eq!(codes(&pulse.started(at * SECOND)), [], "{at}");
        }
        let stalled = pulse.condition(107 * SECOND + 1);
        assert_eq!(codes(&stalled), [ReasonCode::Stalled]);
        assert_eq!(stalled.drained_seconds_ago, Some(5.000_000_001));
        pulse.beat(200 * SECOND);
        assert_eq!(codes(&pulse.condition(201 * SECOND)), []);
    }

    #[test]
    fn one_that_never_starts_is_noticed() {
        let pulse = Pulse::new(100 * SECOND);
        assert_eq!(codes(&pulse.started(161 * SECOND)), [ReasonCode::Stalled]);
    }
}
