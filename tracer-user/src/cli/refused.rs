//! Processes that could not be traced, and whether they still run: one that has ended is nothing to worry about any more.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::target::process::Process;

/// How many are looked after.
const MOST: usize = 1_000;
/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Those that are thought to run.
#[derive(Debug, Default)]
pub struct Refused {
    /// By number, with the start that tells one process from the next of the same number.
    running: HashMap<u32, u64>,
    looked: Option<Instant>,
}

impl Refused {
    /// This one could not be traced. False if it is gone already.
    pub fn add(&mut self, pid: u32) -> bool {
        let Some(start) = start(pid) else { return false };
        if self.running.len() < MOST {
            self.running.insert(pid, start);
        }
        true
    }

    /// Those that have ended since this was last asked, when it is time to look.
    pub fn ended(&mut self) -> Vec<u32> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        let ended = |(pid, since): (&u32, &u64)| (start(*pid) != Some(*since)).then_some(*pid);
        let ended: Vec<u32> = self.running.iter().filter_map(ended).collect();
        self.running.retain(|pid, _| !ended.contains(pid));
        ended
    }
}

/// When a process was started; none when it does not run (any more).
fn start(pid: u32) -> Option<u64> {
    let stat = Process::open(pid).ok()?.stat().ok()?;
    (!stat.is_dead).then_some(stat.start_time)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_ends_is_told_once() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut refused = Refused::default();
        assert!(refused.add(child.id()));
        assert!(refused.ended().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(refused.ended().is_empty(), "too soon to look again");
        refused.looked = None;
        assert_eq!(refused.ended(), [child.id()]);
        refused.looked = None;
        assert!(refused.ended().is_empty());
        assert!(!refused.add(child.id()), "it is gone");
    }
}
