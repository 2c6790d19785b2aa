//! The random mix: no false finding, and none missed. `cargo xtask bench accuracy` runs the large one.

use bleedtrace_tests::{Trace, on_main_interpreters};

#[track_caller]
fn mix(test: &str, workers: &str, more: &[&str]) {
    let requests = std::env::var("BLEEDTRACE_ACCURACY_REQUESTS").unwrap_or_else(|_| "1000".to_owned());
    let seed = std::env::var("BLEEDTRACE_ACCURACY_SEED").unwrap_or_else(|_| "7".to_owned());
    on_main_interpreters(test, |setup| {
        let mut arguments = vec![requests.as_str(), workers, seed.as_str()];
        arguments.extend(more);
        let (outcome, truth) = Trace::new(setup, "tenant")
            .revealing()
            .flags(["--mint", "*create_task"])
            .run(setup, "accuracy.py", &arguments);
        assert!(truth.findings.len() > 100, "the mix has findings of every kind");
        for (kind, judged) in outcome.matrix(&truth) {
            println!("{kind}: {judged:?}");
        }
        outcome.assert_truth(&truth);
    });
}

#[test]
fn one_worker() {
    mix("one_worker", "1", &[]);
}

#[test]
fn four_workers() {
    mix("four_workers", "4", &[]);
}

#[test]
fn thirty_two_workers() {
    mix("thirty_two_workers", "32", &[]);
}

#[test]
fn four_workers_with_an_initializer() {
    mix("four_workers_with_an_initializer", "4", &["initializer"]);
}
