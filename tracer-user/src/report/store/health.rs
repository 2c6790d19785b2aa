//! Whether a run is well: what comes in is taken in, and what should be attached is.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

/// What has come in is looked at every few milliseconds; attaching to a large program takes a second or two.
const STALLED: u64 = 5_000_000_000;
/// How far the wall clock may be from where it was.
const SHIFT: i64 = 1_000_000_000;
/// How long it is remarked that events were lost.
const LOSS: u64 = 60_000_000_000;
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
    /// A call of our own, which is probed like a target's, did not arrive.
    SelftestFailed,
    /// The wall clock was set: the times of findings are off.
    ClockShifted,
    /// The kernel side had no room for what happened.
    EventsLost,
    /// Of some processes it is not watched what they read, as it is configured.
    ReadsNotWatched,
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
    /// What is to be known even so.
    pub remarks: Vec<Reason>,
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
    selftest_failed: AtomicBool,
    clock_shift: AtomicI64,
    lost: AtomicU64,
    /// When it was last noticed that there are more of them; 0 before the first time.
    lost_at: AtomicU64,
}

impl Pulse {
    pub(super) const fn new(started: u64) -> Self {
        Self {
            started,
            last: AtomicU64::new(0),
            selftest_failed: AtomicBool::new(false),
            clock_shift: AtomicI64::new(0),
            lost: AtomicU64::new(0),
            lost_at: AtomicU64::new(0),
        }
    }

    /// So many events were lost up to now. Whether that is news: none was in the last minute.
    pub(super) fn lost(&self, total: u64, now: u64) -> bool {
        if self.lost.swap(total, Ordering::Relaxed) >= total {
            return false;
        }
        let before = self.lost_at.swap(now, Ordering::Relaxed);
        before == 0 || now.saturating_sub(before) > LOSS
    }

    pub(super) fn selftest(&self, arrived: bool) {
        self.selftest_failed.store(!arrived, Ordering::Relaxed);
    }

    pub(super) fn clock_shift(&self, nanos: i64) {
        self.clock_shift.store(nanos, Ordering::Relaxed);
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
            remarks: self.shifted().into_iter().chain(self.losing(now)).collect(),
        }
    }

    /// Well only once it is drained.
    pub(super) fn started(&self, now: u64) -> Condition {
        let mut condition = self.condition(now);
        if condition.is_well() && condition.drained_seconds_ago.is_none() {
            let message = "the kernel side is being loaded and attached".to_owned();
            condition.reasons.push(Reason::new(ReasonCode::Starting, message));
        }
        if self.selftest_failed.load(Ordering::Relaxed) {
            let message = "a call of the agent's own, probed like a target's, did not arrive".to_owned();
            condition
                .reasons
                .push(Reason::new(ReasonCode::SelftestFailed, message));
        }
        condition
    }

    fn shifted(&self) -> Option<Reason> {
        let shift = self.clock_shift.load(Ordering::Relaxed);
        let seconds = shift as f64 / 1e9;
        let message =
            format!("the wall clock is {seconds:.1} seconds from where it was: so are the times of findings");
        (shift.saturating_abs() > SHIFT).then(|| Reason::new(ReasonCode::ClockShifted, message))
    }

    fn losing(&self, now: u64) -> Option<Reason> {
        let at = self.lost_at.load(Ordering::Relaxed);
        let ago = now.saturating_sub(at);
        let (lost, seconds) = (self.lost.load(Ordering::Relaxed), ago / 1_000_000_000);
        let message = format!(
            "{lost} events were lost since the start, the last of them {seconds} seconds ago: what was found around them is not all"
        );
        (at > 0 && ago <= LOSS).then(|| Reason::new(ReasonCode::EventsLost, message))
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
    fn a_selftest_that_fails_is_not_ready_and_a_clock_that_was_set_is_remarked() {
        let pulse = Pulse::new(100 * SECOND);
        pulse.beat(101 * SECOND);
        pulse.selftest(false);
        assert_eq!(codes(&pulse.started(101 * SECOND)), [ReasonCode::SelftestFailed]);
        assert_eq!(codes(&pulse.condition(101 * SECOND)), [], "the agent is alive");
        pulse.selftest(true);
        pulse.clock_shift(-3 * SECOND as i64);
        let condition = pulse.started(101 * SECOND);
        assert!(condition.is_well());
        assert_eq!(condition.remarks[0].code, ReasonCode::ClockShifted);
        assert!(condition.remarks[0].message.contains("-3.0 seconds"));
        pulse.clock_shift(SECOND as i64 / 2);
        assert!(pulse.started(101 * SECOND).remarks.is_empty());
    }

    #[test]
    fn losses_are_remarked_for_a_while() {
        let pulse = Pulse::new(100 * SECOND);
        pulse.beat(200 * SECOND);
        let remarks = |at: u64| {
            let condition = pulse.condition(at * SECOND);
            condition
                .remarks
                .into_iter()
                .map(|remark| (remark.code, remark.message))
                .collect::<Vec<_>>()
        };
        assert!(!pulse.lost(0, 100 * SECOND));
        assert_eq!(remarks(101), []);
        assert!(pulse.lost(7, 102 * SECOND));
        assert!(!pulse.lost(7, 103 * SECOND), "no more of them");
        assert!(!pulse.lost(9, 104 * SECOND), "that goes on");
        let [(code, message)] = &remarks(114)[..] else {
            panic!("one remark");
        };
        assert_eq!(*code, ReasonCode::EventsLost);
        assert!(message.starts_with("9 events were lost since the start, the last of them 10 seconds ago"));
        assert_eq!(remarks(165), []);
        assert!(pulse.lost(10, 166 * SECOND), "again");
        assert_eq!(remarks(166).len(), 1);
    }

    #[test]
    fn one_that_never_starts_is_noticed() {
        let pulse = Pulse::new(100 * SECOND);
        assert_eq!(codes(&pulse.started(161 * SECOND)), [ReasonCode::Stalled]);
    }
}
