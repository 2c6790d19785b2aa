//! How long the BPF programs ran: measured some of the time, and estimated from that for the rest.
//!
//! The kernel reads a clock twice at every run of every program while somebody asks for run times. That is a noticeable
//! part of a short run, so they are asked for only in the first of every twenty rounds. The hits are all counted anyway:
//! what they took is their number times the mean of the measured ones.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use tracer_common::stats::Probe;

/// One round of so many is measured.
const ROUNDS: u32 = 20;

/// What the kernel has measured of a program since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Runs that were measured.
    pub runs: u64,
    /// Seconds that they took.
    pub seconds: f64,
}

/// Seconds by program, from samples.
#[derive(Debug, Default)]
pub struct RunTimes {
    round: u32,
    switch: Option<OwnedFd>,
    totals: BTreeMap<Probe, Total>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    hits: u64,
    seconds: f64,
}

impl RunTimes {
    /// Begins with a measured round.
    pub fn start() -> Self {
        Self {
            switch: measure(),
            ..Self::default()
        }
    }

    /// Ends a round: takes in all hits so far and what was measured so far, and gives the seconds of every program.
    pub fn round(&mut self, programs: &BTreeMap<Probe, (u64, Measured)>) -> BTreeMap<Probe, f64> {
        self.round = (self.round + 1) % ROUNDS;
        // Dropping the descriptor ends the measuring.
        self.switch = if self.round == 0 { measure() } else { None };
        self.add(programs)
    }

    fn add(&mut self, programs: &BTreeMap<Probe, (u64, Measured)>) -> BTreeMap<Probe, f64> {
        let all = programs
            .values()
            .fold(Measured::default(), |sum, (_, one)| Measured {
                runs: sum.runs + one.runs,
                seconds: sum.seconds + one.seconds,
            });
        for (probe, (hits, measured)) in programs {
            let total = self.totals.entry(*probe).or_default();
            // A program that never ran while it was measured is taken to be like the others.
            let mean = mean(*measured).or_else(|| mean(all)).unwrap_or(0.0);
            total.seconds += hits.saturating_sub(total.hits) as f64 * mean;
            total.hits = *hits;
        }
        self.totals
            .iter()
            .map(|(probe, total)| (*probe, total.seconds))
            .collect()
    }
}

fn mean(measured: Measured) -> Option<f64> {
    (measured.runs > 0).then(|| measured.seconds / measured.runs as f64)
}

/// Asks the kernel to measure; none where it does not let us.
fn measure() -> Option<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(all: &[(Probe, u64, u64, f64)]) -> BTreeMap<Probe, (u64, Measured)> {
        all.iter()
            .map(|(probe, hits, runs, seconds)| {
                let measured = Measured {
                    runs: *runs,
                    seconds: *seconds,
                };
                (*probe, (*hits, measured))
            })
            .collect()
    }

    #[test]
    fn hits_that_were_not_measured_take_as_long_as_those_that_were() {
        let mut times = RunTimes::default();
        let first = times.add(&programs(&[(Probe::ContextGet, 100, 100, 0.5)]));
        assert!((first[&Probe::ContextGet] - 0.5).abs() < 1e-9);
        let second = times.add(&programs(&[(Probe::ContextGet, 300, 100, 0.5)]));
        assert!((second[&Probe::ContextGet] - 1.5).abs() < 1e-9);
    }

    #[test]
    fn seconds_never_fall_when_the_mean_does() {
        let mut times = RunTimes::default();
        times.add(&programs(&[(Probe::ContextGet, 100, 100, 1.0)]));
        let later = times.add(&programs(&[(Probe::ContextGet, 100, 300, 1.5)]));
        assert!((later[&Probe::ContextGet] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_program_that_was_never_measured_is_taken_to_be_like_the_others() {
        let mut times = RunTimes::default();
        let seconds = times.add(&programs(&[
            (Probe::ContextGet, 10, 10, 1.0),
            (Probe::Random, 5, 0, 0.0),
        ]));
        assert!((seconds[&Probe::Random] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_no_time() {
        let seconds = RunTimes::default().add(&programs(&[(Probe::ContextGet, 10, 0, 0.0)]));
        assert!((seconds[&Probe::ContextGet] - 0.0).abs() < 1e-9);
    }
}
