//! Threads that take their work by hand: what is known of each, and when to look further down its stack than what travels.

use std::collections::{HashMap, HashSet};

use tracer_common::record::RawFrame;

use crate::correlate::event::ByHand;

/// Stacks that are looked at whole in one second, in nanoseconds: each takes the agent some milliseconds.
const LOOKS: u32 = 10;
const SECOND: u64 = 1_000_000_000;

/// What is known of the threads of one process.
#[derive(Debug, Default)]
pub struct HandWorkers {
    known: HashMap<u32, ByHand>,
    /// Threads whose whole stack was looked at.
    looked: HashSet<u32>,
    /// When the current second began, and how many stacks were looked at since.
    since: u64,
    looks: u32,
}

impl HandWorkers {
    /// What is known of a thread.
    pub fn get(&self, tid: u32) -> Option<ByHand> {
        self.known.get(&tid).copied()
    }

    /// Whether a thread is more surely one that takes its work by hand than was known; from here on it is known.
    pub fn learn(&mut self, tid: u32, takes: Option<ByHand>) -> Option<ByHand> {
        let sure = takes.filter(|_| takes > self.get(tid))?;
        self.known.insert(tid, sure);
        Some(sure)
    }

    /// Whether to look at a thread's whole stack: once, and not at too many at a time. Who has to wait is asked about again.
    pub fn look(&mut self, tid: u32, now: u64) -> bool {
        if now.saturating_sub(self.since) >= SECOND {
            (self.since, self.looks) = (now, 0);
        }
        if self.looks == LOOKS || !self.looked.insert(tid) {
            return false;
        }
        self.looks += 1;
        true
    }

    /// A thread's stack could not be read: it is asked about again.
    pub fn look_again(&mut self, tid: u32) {
        self.looked.remove(&tid);
    }

    /// A thread begins another piece of work.
    pub fn forget(&mut self, tid: u32) {
        self.known.remove(&tid);
    }

    /// A thread has ended; its number may be another's.
    pub fn ended(&mut self, tid: u32) {
        self.known.remove(&tid);
        self.looked.remove(&tid);
    }
}

/// A thread's stack as it was when a record told `told` of it, by what it is now. Who has gone on calls what it did not call then, but
/// below the outermost frame that travelled, as long as that is there, nothing has changed.
pub fn stack_then(told: &[RawFrame], now: Vec<RawFrame>) -> Vec<RawFrame> {
    let place = told.last().and_then(|outermost| {
        now.iter()
            .position(|frame| (frame.code, frame.frame) == (outermost.code, outermost.frame))
    });
    match place {
        Some(place) => [told, &now[place + 1..]].concat(),
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_called_since_is_not_of_its_stack() {
        let frames = |numbers: &[u32]| -> Vec<RawFrame> {
            let frame = |number: &u32| RawFrame {
                code: u64::from(number % 10),
                instr: 8,
                frame: *number,
            };
            numbers.iter().map(frame).collect()
        };
        let told = frames(&[1, 2, 3]);
        assert_eq!(
            stack_then(&told, frames(&[9, 1, 2, 3, 4, 5])),
            frames(&[1, 2, 3, 4, 5])
        );
        assert_eq!(stack_then(&told, frames(&[7, 3, 4, 5])), frames(&[1, 2, 3, 4, 5]));
        let gone_on = frames(&[7, 13, 4, 5]);
        assert_eq!(
            stack_then(&told, gone_on.clone()),
            gone_on,
            "another activation of the same code"
        );
    }

    #[test]
    fn each_thread_is_looked_at_once_and_few_in_a_second() {
        let mut workers = HandWorkers::default();
        assert!(workers.look(1, 5) && !workers.look(1, 6));
        let looked = (2..100).filter(|tid| workers.look(*tid, 7)).count();
        assert_eq!(looked, LOOKS as usize - 1);
        assert!(workers.look(99, 7 + SECOND) && !workers.look(1, 7 + SECOND));
        workers.look_again(1);
        assert!(workers.look(1, 7 + SECOND));
        workers.ended(1);
        assert!(workers.look(1, 7 + SECOND));
    }

    #[test]
    fn only_what_is_surer_is_news() {
        let mut workers = HandWorkers::default();
        assert_eq!(workers.learn(1, None), None);
        assert_eq!(workers.learn(1, Some(ByHand::Caller)), Some(ByHand::Caller));
        assert_eq!(workers.learn(1, Some(ByHand::Caller)), None);
        assert_eq!(workers.learn(1, Some(ByHand::Named)), Some(ByHand::Named));
        workers.forget(1);
        assert_eq!(workers.get(1), None);
    }
}
