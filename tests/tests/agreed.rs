//! Reads that say again what their thread has just told are only counted: what is found is the same, and so is every count.

use bleedtrace_tests::{
    Often, Outcome, Setup, Trace, often, on_every_interpreter, on_main_interpreters, once,
};

const WORKERS: [u32; 2] = [1, 32];

fn agreed(outcome: &Outcome) -> u64 {
    outcome.number("events", "agreed")
}

#[track_caller]
fn trace(setup: &Setup, fixture: &str, arguments: &[&str], flags: &[&str]) -> Outcome {
    let trace = Trace::new(setup, "tenant").revealing().flags(flags);
    let (outcome, truth) = trace.run(setup, fixture, arguments);
    outcome.assert_truth(&truth);
    outcome
}

#[test]
fn two_tracers_of_one_run_find_the_same() {
    on_main_interpreters("two_tracers_of_one_run_find_the_same", |setup| {
        for workers in WORKERS {
            let Often { counted, told, truth } = often(setup, 500, workers, 7);
            assert!(truth.findings.len() > 100, "the mix has findings of every kind");
            for (reads, outcome) in [("new", &counted), ("all", &told)] {
                for (kind, judged) in outcome.matrix(&truth) {
                    assert_eq!(
                        (judged.wrong, judged.missed),
                        (0, 0),
                        "--reads {reads}: {kind}: {judged:?} {:?}",
                        outcome.summary
                    );
                }
            }
            assert_eq!(counted.confusion(&truth).1, told.confusion(&truth).1);
            assert_eq!(agreed(&told), 0);
            assert!(
                agreed(&counted) > 500,
                "{} reads were only counted",
                agreed(&counted)
            );
        }
    });
}

#[test]
fn the_mix_is_exact() {
    on_every_interpreter("the_mix_is_exact", |setup| {
        let arguments = ["500", "4", "7", "often"];
        let counted = trace(setup, "accuracy.py", &arguments, &[]);
        assert!(
            agreed(&counted) > 500,
            "{} reads were only counted",
            agreed(&counted)
        );
    });
}

#[test]
fn every_read_is_told_to_who_asks_for_that() {
    once("every_read_is_told_to_who_asks_for_that", |setup| {
        let arguments = ["500", "4", "7", "often"];
        let told = trace(setup, "accuracy.py", &arguments, &["--reads", "all"]);
        assert_eq!(agreed(&told), 0);
    });
}

/// What changes between two reads of one thread, and what does not: see the fixture.
#[test]
fn what_is_new_is_told() {
    on_every_interpreter("what_is_new_is_told", |setup| {
        let counted = trace(setup, "reads_again.py", &[], &["--request", "request"]);
        let least = counted.findings.len() as u64 * 50;
        assert!(
            agreed(&counted) > least,
            "{} reads were only counted",
            agreed(&counted)
        );
    });
}
