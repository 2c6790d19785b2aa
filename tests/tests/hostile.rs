//! A target that does its worst harms nobody: not itself by being traced, not the tracer, not its neighbours.

use std::{env, path::PathBuf, process::Command};

use bleedtrace_tests::{Interpreter, Program, Trace, fixture, is_main, on_interpreters_that};

/// The library by which a fixture shows garbage, compiled with the system's C compiler, which linking Rust needs as well.
fn poke() -> String {
    let library: PathBuf = env::temp_dir().join(format!("bleedtrace-poke-{}.so", std::process::id()));
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(fixture("hostile/poke.c"))
        .status()
        .expect("cc runs");
    assert!(status.success(), "cc failed");
    library.display().to_string()
}

/// The fixtures spoil structures where a build with a GIL has them.
fn has_the_structures_it_pokes(interpreter: &Interpreter) -> bool {
    is_main(interpreter) && !interpreter.free_threaded
}

#[track_caller]
fn beside(test: &str, mode: &str, rounds: &str) {
    let poke = poke();
    on_interpreters_that(test, has_the_structures_it_pokes, |setup| {
        let trace = Trace::new(setup, "tenant").revealing();
        let (outcome, truth) = trace.run(setup, "hostile_neighbour.py", &[&poke, mode, rounds]);
        let (expected, found) = outcome.confusion(&truth);
        assert_eq!(expected, found, "{}", outcome.ended.stderr);
        assert_eq!(outcome.count("black_hole_read"), 40);
        assert_eq!(outcome.number("hops", "run_in_executor"), 40);
        assert_eq!(outcome.verdict(), "findings");
    });
}

#[test]
fn garbage_is_survived() {
    beside("garbage_is_survived", "garbage", "30");
}

#[test]
fn stacks_that_cannot_be_read_are_counted() {
    let poke = poke();
    let test = "stacks_that_cannot_be_read_are_counted";
    on_interpreters_that(test, has_the_structures_it_pokes, |setup| {
        let running = Trace::new(setup, "tenant").start(setup, "hostile/hostile.py", &[&poke, "5", "torn"]);
        let outcome = running.end();
        assert_eq!(outcome.summary["events"]["lost"]["unreadable"], 5);
        assert_eq!(outcome.number("reads", "own"), 5);
        assert!(
            outcome.reasons().contains(&"events_lost"),
            "{:?}",
            outcome.summary
        );
    });
}

#[test]
fn memory_that_never_answers_is_not_waited_for() {
    beside("memory_that_never_answers_is_not_waited_for", "stall", "3");
}

#[test]
fn arguments_that_never_answer_are_not_waited_for() {
    let poke = poke();
    let test = "arguments_that_never_answer_are_not_waited_for";
    on_interpreters_that(test, has_the_structures_it_pokes, |setup| {
        let mut hidden = Program::fixture(setup, "hostile/hostile.py", &[&poke, "1", "arguments"]);
        hidden.wait_for("done");
        let pid = hidden.pid().to_string();
        let ended = Program::start(Command::new(&setup.bleedtrace).args([
            "trace",
            "--identity",
            "tenant",
            "--duration",
            "1s",
            "--pid",
            &pid,
        ]))
        .end();
        // Some kernels wait for such a page, and then the process is refused; others call it unreadable, and its name is unknown.
        assert!(matches!(ended.code, Some(3 | 4)), "{}", ended.stderr);
        assert!(hidden.runs(), "the target ended");
        hidden.signal("KILL");
    });
}
