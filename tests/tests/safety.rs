//! A target neither crashes nor behaves in another way because it is traced, and correct traffic stays clean.

use std::{process::Command, time::Duration};

use bleedtrace_tests::{Program, Regression, Setup, Trace, Traffic, on_main_interpreters, skip};

fn with(test: &str, requirements: &str, check: impl Fn(&Setup)) {
    on_main_interpreters(test, |setup| match setup.with_requirements(requirements) {
        Some(setup) => check(&setup),
        None => skip(test, &format!("no packages of requirements/{requirements}.txt")),
    });
}

/// Some of CPython's own tests; `cargo xtask soak` runs them whole.
#[track_caller]
fn same(test: &str, arguments: &[&str], at_least: usize) {
    on_main_interpreters(test, |setup| {
        let Some(regression) = Regression::run(setup, arguments) else {
            return skip(test, "the interpreter comes without CPython's tests");
        };
        let ran = regression.alone.len();
        assert!(ran >= at_least, "only {ran} tests ran");
        assert_eq!(regression.differences(), Vec::<String>::new());
    });
}

#[test]
fn cpythons_tests_of_contexts_and_queues_end_as_ever() {
    same(
        "cpythons_tests_of_contexts_and_queues_end_as_ever",
        &["test_context", "test_queue"],
        60,
    );
}

#[test]
fn cpythons_tests_of_threads_end_as_ever() {
    let arguments = [
        "-m",
        "ThreadTests",
        "-m",
        "ThreadingExceptionTests",
        "test_threading",
    ];
    same("cpythons_tests_of_threads_end_as_ever", &arguments, 30);
}

/// What a program that switches stacks says, alone, traced against advice, and where it is let go.
#[track_caller]
fn survives(setup: &Setup, mode: &str) {
    let fixture = setup.fixture("packages/greenlets_in_pools.py");
    let alone = Program::start(Command::new(&setup.interpreter.python).arg(&fixture).arg(mode)).end();
    assert_eq!(alone.code, Some(0), "{alone:?}");
    let said = |stdout: &str| {
        stdout
            .lines()
            .find(|line| line.starts_with("came to"))
            .map(str::to_owned)
    };
    assert!(said(&alone.stdout).is_some(), "{alone:?}");
    for flags in [&[][..], &["--allow-greenlet"]] {
        let outcome = Trace::new(setup, "tenant")
            .flags(flags)
            .start(setup, "packages/greenlets_in_pools.py", &[mode])
            .end();
        assert_eq!(
            outcome.summary["command_exit"], 0,
            "{flags:?} {:?}",
            outcome.ended
        );
        assert_eq!(said(&outcome.ended.stdout), said(&alone.stdout), "{flags:?}");
        let let_go = outcome.summary["reasons"].to_string().contains("maps greenlet");
        assert_eq!(let_go, flags.is_empty(), "{:?}", outcome.summary);
    }
}

#[test]
fn greenlets_in_pools_survive() {
    with("greenlets_in_pools_survive", "greenlets", |setup| {
        survives(setup, "greenlet");
    });
}

#[test]
fn gevent_survives() {
    with("gevent_survives", "greenlets", |setup| {
        survives(setup, "gevent");
    });
}

/// The short form of what `cargo xtask soak` runs for an hour.
#[test]
fn correct_traffic_is_clean() {
    with("correct_traffic_is_clean", "pools", |setup| {
        let traffic = Traffic::run(setup, 15, Duration::from_millis(10));
        assert!(
            traffic.outcome.number("reads", "own") > 1000,
            "{:?}",
            traffic.outcome.summary
        );
        traffic.assert_clean();
    });
}

#[test]
fn correct_traffic_does_not_make_the_tracer_grow() {
    with(
        "correct_traffic_does_not_make_the_tracer_grow",
        "pools",
        |setup| {
            Traffic::run(setup, 120, Duration::from_millis(1)).assert_steady();
        },
    );
}
