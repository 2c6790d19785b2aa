//! The random mix: no false finding, and none missed. `cargo xtask bench accuracy` runs the large one.

use bleedtrace_tests::{Start, mix, on_every_interpreter};

const REQUESTS: u32 = 1000;
const SEED: u32 = 7;

#[track_caller]
fn exact(test: &str, workers: u32, start: Start) {
    on_every_interpreter(test, |setup| {
        let (outcome, truth) = mix(setup, REQUESTS, workers, SEED, start);
        assert!(truth.findings.len() > 100, "the mix has findings of every kind");
        if start == Start::Attached {
            // What was served before is counted, too.
            for (kind, judged) in outcome.matrix(&truth) {
                assert_eq!((judged.wrong, judged.missed), (0, 0), "{kind}: {judged:?}");
            }
        } else {
            outcome.assert_truth(&truth);
        }
    });
}

#[test]
fn one_worker() {
    exact("one_worker", 1, Start::Traced);
}

#[test]
fn four_workers() {
    exact("four_workers", 4, Start::Traced);
}

#[test]
fn thirty_two_workers() {
    exact("thirty_two_workers", 32, Start::Traced);
}

#[test]
fn four_workers_with_an_initializer() {
    exact("four_workers_with_an_initializer", 4, Start::Initializer);
}

#[test]
fn one_worker_in_mid_flight() {
    exact("one_worker_in_mid_flight", 1, Start::Attached);
}

#[test]
fn thirty_two_workers_in_mid_flight() {
    exact("thirty_two_workers_in_mid_flight", 32, Start::Attached);
}
