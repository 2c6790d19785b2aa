//! Whether the self-test's calls arrive in time.

/// Nanoseconds between two calls, as long as they arrive.
const EVERY: u64 = 60_000_000_000;
/// And when the last one did not.
const AGAIN: u64 = 10_000_000_000;
/// How long a call may take to arrive: the agent may be behind by as much.
const PATIENCE: u64 = 10_000_000_000;

/// What is to be done, or known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The function is to be called with this number.
    Call(u64),
    /// The last call did not arrive.
    Missing,
}

/// Keeps the time. It knows no clock: whoever asks says what time it is.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    number: u64,
    waiting: bool,
    next: u64,
}

impl Watchdog {
    /// What is due now, if anything.
    pub fn turn(&mut self, now: u64) -> Option<Turn> {
        if now < self.next {
            return None;
        }
        if self.waiting {
            self.waiting = false;
            self.next = now.saturating_add(AGAIN);
            return Some(Turn::Missing);
        }
        self.number += 1;
        self.waiting = true;
        self.next = now.saturating_add(PATIENCE);
        Some(Turn::Call(self.number))
    }

    /// A call has arrived; whether it is the one that is waited for.
    pub fn arrived(&mut self, number: u64, now: u64) -> bool {
        let awaited = self.waiting && number == self.number;
        if awaited {
            self.waiting = false;
            self.next = now.saturating_add(EVERY);
        }
        awaited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn calls_that_arrive_are_made_every_minute() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.turn(SECOND), Some(Turn::Call(1)));
        assert_eq!(watchdog.turn(2 * SECOND), None);
        assert!(watchdog.arrived(1, 2 * SECOND));
        assert!(!watchdog.arrived(1, 2 * SECOND), "once is enough");
        assert_eq!(watchdog.turn(61 * SECOND), None);
        assert_eq!(watchdog.turn(62 * SECOND), Some(Turn::Call(2)));
        assert!(!watchdog.arrived(1, 63 * SECOND), "an old one proves nothing");
    }

    #[test]
    fn one_that_is_missing_is_told_and_tried_again() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.turn(SECOND), Some(Turn::Call(1)));
        assert_eq!(watchdog.turn(11 * SECOND), Some(Turn::Missing));
        assert!(!watchdog.arrived(1, 12 * SECOND), "too late");
        assert_eq!(watchdog.turn(20 * SECOND), None);
        assert_eq!(watchdog.turn(21 * SECOND), Some(Turn::Call(2)));
        assert!(watchdog.arrived(2, 22 * SECOND));
    }
}
