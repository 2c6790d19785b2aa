//! What the figures have to be.

use std::fmt;

use super::{Group, statistics::Spread};

/// How far a figure may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
    /// No further from 1.
    NearOne(f64),
}

impl Bound {
    /// Whether the middle of what was measured is within it.
    pub fn is_reached(self, spread: &Spread) -> bool {
        match self {
            Self::AtMost(most) => spread.median <= most,
            Self::AtLeast(least) => spread.median >= least,
            Self::NearOne(far) => (spread.median - 1.0).abs() <= far,
        }
    }

    /// Orders what was measured: the higher, the further from the goal.
    pub fn badness(self, spread: &Spread) -> f64 {
        match self {
            Self::AtMost(_) => spread.median,
            Self::AtLeast(_) => -spread.median,
            Self::NearOne(_) => (spread.median - 1.0).abs(),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(out, "at most {most}"),
            Self::AtLeast(least) => write!(out, "at least {least}"),
            Self::NearOne(far) => write!(out, "1 ± {far}"),
        }
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Which group measures it.
    pub group: Group,
    /// The figure.
    pub name: &'static str,
    /// How far it may go.
    pub bound: Bound,
}

pub const FILTERED: &str = "filtered read, over an empty probe";
pub const AGREEING: &str = "agreeing read, over an empty probe";
pub const DISAGREEING: &str = "disagreeing read, over an empty probe";
pub const AGAINST_BPFTRACE: &str = "disagreeing read, over bpftrace's printf";
pub const LOST: &str = "events lost";
pub const HANDOFF: &str = "put and get, over their own time and two empty probes";
pub const THROUGHPUT: &str = "full tier: throughput, on/off";
pub const TAIL: &str = "full tier: p99 latency, on/off";
pub const THROUGHPUT_OF_HANDOFFS: &str = "handoffs tier: throughput, on/off";
pub const SHARE: &str = "full tier: agent's processor time over the server's";
pub const LOSSLESS: &str = "lossless rate, over an empty probe's";
pub const UNCOUNTED: &str = "beyond it: made, but neither received nor counted as lost";
pub const REPLAY: &str = "replay, million events/s of a processor";
pub const MEMORY: &str = "agent's memory, 1 target, MB";
pub const MEMORY_OF_MANY: &str = "agent's memory, 100 targets of 32 threads, MB";
pub const MAPPED: &str = "a hit with 100 processes mapped, over 1";
pub const NEIGHBOUR: &str = "a process that is not traced, on/off";
pub const FIRST_FINDING: &str = "1 process: first finding after, ms";
pub const FIRST_FINDING_OF_MANY: &str = "100 processes: all attached, and a finding, after, ms";
pub const DETACH: &str = "100 processes: all disarmed after SIGINT, ms";
pub const KILLED: &str = "100 processes: all disarmed after SIGKILL, ms";
pub const EXACT: &str = "full tier: false and missed findings";
pub const ALIKE: &str = "--reads new and all, of one run: findings that differ, or are not right";
pub const EXACT_OF_HANDOFFS: &str = "handoffs tier: false and missed squats, other findings";

const fn at_most(group: Group, name: &'static str, most: f64) -> Goal {
    Goal {
        group,
        name,
        bound: Bound::AtMost(most),
    }
}

const fn at_least(group: Group, name: &'static str, least: f64) -> Goal {
    Goal {
        group,
        name,
        bound: Bound::AtLeast(least),
    }
}

/// All of them.
pub const GOALS: [Goal; 24] = [
    at_most(Group::Hit, FILTERED, 1.2),
    at_most(Group::Hit, AGREEING, 1.5),
    at_most(Group::Hit, DISAGREEING, 2.2),
    at_most(Group::Hit, AGAINST_BPFTRACE, 0.6),
    at_most(Group::Hit, LOST, 0.0),
    at_most(Group::Hit, HANDOFF, 1.3),
    at_least(Group::App, THROUGHPUT, 0.97),
    at_most(Group::App, TAIL, 1.05),
    at_least(Group::App, THROUGHPUT_OF_HANDOFFS, 0.99),
    at_most(Group::App, SHARE, 0.02),
    at_least(Group::Ring, LOSSLESS, 0.85),
    at_most(Group::Ring, UNCOUNTED, 0.0),
    at_least(Group::Engine, REPLAY, 3.0),
    at_most(Group::Engine, MEMORY, 30.0),
    at_most(Group::Engine, MEMORY_OF_MANY, 60.0),
    at_most(Group::Scale, MAPPED, 1.05),
    Goal {
        group: Group::Scale,
        name: NEIGHBOUR,
        bound: Bound::NearOne(0.01),
    },
    at_most(Group::Attach, FIRST_FINDING, 150.0),
    at_most(Group::Attach, FIRST_FINDING_OF_MANY, 1000.0),
    at_most(Group::Attach, DETACH, 100.0),
    at_most(Group::Attach, KILLED, 500.0),
    at_most(Group::Accuracy, EXACT, 0.0),
    at_most(Group::Accuracy, ALIKE, 0.0),
    at_most(Group::Accuracy, EXACT_OF_HANDOFFS, 0.0),
];

/// The goal of a figure, if it has one.
pub fn goal(name: &str) -> Option<&'static Goal> {
    GOALS.iter().find(|goal| goal.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_by_the_middle() {
        let of = |measured: [f64; 3]| Spread::of(measured).expect("some");
        assert!(Bound::AtMost(1.2).is_reached(&of([1.0, 1.2, 9.0])));
        assert!(!Bound::AtMost(1.2).is_reached(&of([1.0, 1.3, 1.3])));
        assert!(!Bound::AtLeast(0.97).is_reached(&of([0.9, 0.96, 1.0])));
        assert!(Bound::NearOne(0.01).is_reached(&of([0.5, 0.995, 1.5])));
        assert!(!Bound::NearOne(0.01).is_reached(&of([0.5, 1.02, 1.5])));
    }
}
