//! Correct traffic for as long as one likes, and the tracer's memory meanwhile.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::{Outcome, Setup, Trace, Truth};

/// What a run of correct traffic came to.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What was found.
    pub outcome: Outcome,
    /// What there was to find.
    pub truth: Truth,
    /// The tracer's resident memory in KiB: the most of the second quarter of the run, when everything has been seen once.
    pub early_kib: u64,
    /// The same of the last quarter.
    pub late_kib: u64,
}

impl Traffic {
    /// Runs it for some seconds; `pause` is how long each of its 16 clients waits between two requests.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn run(setup: &Setup, seconds: u64, pause: Duration) -> Self {
        let mut trace = Trace::new(setup, "tenant").revealing().start(
            setup,
            "packages/correct_traffic.py",
            &[&seconds.to_string(), &pause.as_secs_f64().to_string()],
        );
        let begin = Instant::now();
        let mut samples = Vec::new();
        while trace.program.runs() {
            assert!(
                begin.elapsed() < Duration::from_secs(seconds + 120),
                "the traffic does not end"
            );
            samples.extend(resident_kib(trace.program.pid()));
            thread::sleep(Duration::from_millis(200));
        }
        let outcome = trace.end();
        let truth = Truth::parse(&outcome.ended.stdout);
        let quarter = samples.len() / 4;
        let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
        Self {
            outcome,
            truth,
            early_kib: most(&samples[quarter..2 * quarter]),
            late_kib: most(&samples[3 * quarter..]),
        }
    }

    /// Nothing may be found, and nothing lost.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.outcome.assert_truth(&self.truth);
        assert_eq!(self.outcome.verdict(), "clean");
    }

    /// Memory may not grow, but for what an allocator does not give back. The tracer's tables are full after some 100,000 requests;
    /// half of the run has to be enough for that.
    ///
    /// # Panics
    /// When it does.
    #[track_caller]
    pub fn assert_steady(&self) {
        assert!(self.early_kib > 0, "the tracer's memory was not seen");
        assert!(
            self.late_kib <= self.early_kib + self.early_kib / 10,
            "the tracer grew from {} to {} KiB",
            self.early_kib,
            self.late_kib
        );
    }
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
