//! Correct traffic for as long as one likes, and the tracer's memory meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Course, Outcome, Setup, Trace, Truth, Usage};

/// What a run of correct traffic came to.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What was found.
    pub outcome: Outcome,
    /// What there was to find.
    pub truth: Truth,
    /// The tracer's resident memory in KiB.
    pub resident_kib: Course,
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
        let mut resident_kib = Course::default();
        while trace.program.runs() {
            assert!(
                begin.elapsed() < Duration::from_secs(seconds + 120),
                "the traffic does not end"
            );
            resident_kib.extend(Usage::of(trace.program.pid()).map(|usage| usage.resident_kib));
            thread::sleep(Duration::from_millis(200));
        }
        let outcome = trace.end();
        let truth = Truth::parse(&outcome.ended.stdout);
        Self {
            outcome,
            truth,
            resident_kib,
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
        let (early, late) = (self.resident_kib.early(), self.resident_kib.late());
        assert!(early > 0, "the tracer's memory was not seen");
        assert!(
            self.resident_kib.is_flat(),
            "the tracer grew from {early} to {late} KiB"
        );
    }
}
