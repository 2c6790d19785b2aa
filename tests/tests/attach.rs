//! Attaching in mid-flight, and letting go.

use std::{fs, os::unix::fs::FileExt as _, process::Command, time::Duration};

use bleedtrace_tests::{Outcome, Program, Setup, Trace, Truth, on_main_interpreters, once, wait_until};
use serde_json::Value;

#[test]
fn residue_that_is_already_there_is_found() {
    on_main_interpreters("residue_that_is_already_there_is_found", |setup| {
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let trace = Trace::new(setup, "tenant").revealing().attach(target.pid());
        target.say("go on");
        let truth = Truth::parse(&target.end().stdout);
        let outcome = trace.end();
        outcome.assert_truth(&truth);
        assert_eq!(outcome.count("bleed"), 1);
        // The main thread and the worker that holds what it was left with.
        let found = serde_json::json!({"threads": 2, "variables": 1, "residue": 1});
        assert_eq!(outcome.summary["targets"][0]["at_attach"], found);
    });
}

#[test]
fn what_is_there_already_is_said() {
    once("what_is_there_already_is_said", |setup| {
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        let pid = target.pid().to_string();
        let words = ["trace", "--identity", "tenant", "--duration", "1s", "--pid", &pid];
        let ended = Program::start(Command::new(&setup.bleedtrace).args(words)).end();
        let said =
            "found 2 threads, 1 watched variable in use, 1 waiting worker that holds a value from before";
        assert!(ended.stdout.contains(said), "{ended:?}");
        target.say("go on");
        assert_eq!(target.end().code, Some(0));
    });
}

/// Attaches to a program that waits, lets it go on, and compares.
#[track_caller]
fn exact(setup: &Setup, name: &str, arguments: &[&str]) -> Outcome {
    let mut target = Program::fixture(setup, name, arguments);
    target.wait_for("ready");
    let trace = Trace::new(setup, "tenant").revealing().attach(target.pid());
    target.say("go on");
    let truth = Truth::parse(&target.end().stdout);
    let outcome = trace.end();
    outcome.assert_truth(&truth);
    outcome
}

#[test]
fn children_that_are_there_already_are_traced() {
    on_main_interpreters("children_that_are_there_already_are_traced", |setup| {
        for method in ["fork", "spawn", "forkserver"] {
            eprintln!("{method}");
            let outcome = exact(setup, "workers.py", &[method, "3"]);
            assert_eq!((outcome.count("bleed"), outcome.count("squat")), (3, 3));
        }
    });
}

#[test]
fn modules_that_are_loaded_later_are_probed() {
    on_main_interpreters("modules_that_are_loaded_later_are_probed", |setup| {
        exact(setup, "waits.py", &["late"]);
    });
}

#[test]
fn a_main_thread_may_end_first() {
    on_main_interpreters("a_main_thread_may_end_first", |setup| {
        exact(setup, "waits.py", &["main_ends"]);
    });
}

#[test]
fn many_threads_are_walked() {
    on_main_interpreters("many_threads_are_walked", |setup| {
        let outcome = exact(setup, "waits.py", &["threads"]);
        assert_eq!(outcome.summary["targets"][0]["at_attach"]["threads"], 501);
    });
}

#[test]
fn what_a_target_becomes_is_traced() {
    on_main_interpreters("what_a_target_becomes_is_traced", |setup| {
        exact(setup, "waits.py", &["execs"]);
    });
}

#[test]
fn a_target_that_only_just_starts() {
    on_main_interpreters("a_target_that_only_just_starts", |setup| {
        for round in 0..12 {
            let mut target = Program::fixture(setup, "attached.py", &[]);
            std::thread::sleep(Duration::from_millis(round * 4));
            let trace = Trace::new(setup, "tenant").revealing().attach(target.pid());
            target.wait_for("ready");
            target.say("go on");
            assert_eq!(target.end().code, Some(0));
            let outcome = trace.end();
            // Whether the bind was seen depends on the moment; what is left is found either way.
            assert_eq!(outcome.count("bleed"), 1, "{:?}", outcome.summary);
            assert_eq!(outcome.findings.len() as u64, 1 + outcome.count("squat"));
        }
    });
}

/// A return probe and a library that switches stacks do not go together: coverage ends there, and that is said.
#[test]
fn a_library_that_switches_stacks_may_come_later() {
    once("a_library_that_switches_stacks_may_come_later", |setup| {
        for arguments in [&["2"][..], &["0.5", "1.6"]] {
            let outcome = Trace::new(setup, "tenant")
                .start(setup, "switches.py", arguments)
                .end();
            assert!(outcome.ended.stdout.contains("done"), "{:?}", outcome.ended);
            outcome.assert_verdict("no_verdict", Some("child_not_attached"));
            let message = outcome.summary["reasons"][0]["message"]
                .as_str()
                .unwrap_or_default();
            assert!(
                message.contains("maps greenlet") && message.contains("traced no longer"),
                "{message}"
            );
        }
        let forced = Trace::new(setup, "tenant")
            .flags(["--allow-greenlet"])
            .start(setup, "switches.py", &["1"])
            .end();
        forced.assert_verdict("clean", None);
    });
}

#[test]
fn a_duration_ends_the_trace_and_not_the_target() {
    on_main_interpreters("a_duration_ends_the_trace_and_not_the_target", |setup| {
        let mut target = Program::fixture(setup, "load.py", &[]);
        target.wait_for("ready");
        let outcome = Trace::new(setup, "tenant")
            .flags(["--duration", "2s"])
            .attach(target.pid())
            .end();
        assert!(outcome.number("events", "received") > 0);
        assert!(outcome.count("squat") > 0);
        unharmed(target);
    });
}

#[test]
fn a_target_that_is_killed_ends_the_trace() {
    on_main_interpreters("a_target_that_is_killed_ends_the_trace", |setup| {
        let mut running = Trace::new(setup, "tenant").start(setup, "load.py", &[]);
        running.program.wait_for("ready");
        std::thread::sleep(Duration::from_secs(1));
        running.signal_command("KILL");
        let outcome = running.end();
        assert_eq!(outcome.verdict(), "findings");
        assert_eq!(outcome.ended.code, Some(1));
    });
}

#[test]
fn a_target_that_exits_ends_the_trace() {
    on_main_interpreters("a_target_that_exits_ends_the_trace", |setup| {
        let mut running = Trace::new(setup, "tenant").start(setup, "load.py", &[]);
        running.program.wait_for("ready");
        std::thread::sleep(Duration::from_secs(1));
        running.signal_command("TERM");
        let outcome = running.end();
        right(&outcome.ended.stdout);
        assert_eq!(outcome.summary["command_exit"], 0);
        assert_eq!(outcome.ended.code, Some(1));
    });
}

#[test]
fn a_killed_agent_leaves_the_target_unharmed() {
    on_main_interpreters("a_killed_agent_leaves_the_target_unharmed", |setup| {
        let mut target = Program::fixture(setup, "load.py", &[]);
        target.wait_for("ready");
        let trace = Trace::new(setup, "tenant").attach(target.pid());
        std::thread::sleep(Duration::from_secs(1));
        assert!(is_armed(target.pid()), "the target has probes while it is traced");
        trace.program.signal("KILL");
        assert_eq!(trace.program.end().code, None);
        wait_until("no probe is left in the target", Duration::from_secs(10), || {
            (!is_armed(target.pid())).then_some(())
        });
        assert!(target.runs());
        unharmed(target);
    });
}

/// A command is stopped at each exec until its probes are armed: somebody must let it go on when the agent cannot.
#[test]
fn a_killed_agent_leaves_no_command_stopped() {
    once("a_killed_agent_leaves_no_command_stopped", |setup| {
        for round in 0..5 {
            let script = "i=0; while [ $i -lt 150 ]; do /bin/true; i=$((i+1)); echo $i; done";
            let trace = ["trace", "--identity", "tenant", "--", "sh", "-c", script];
            let mut agent = Program::start(Command::new(&setup.bleedtrace).args(trace));
            agent.wait_for(&(20 + round).to_string());
            agent.signal("KILL");
            agent.wait_for("150");
        }
    });
}

#[test]
fn lost_events_are_counted_and_admitted() {
    on_main_interpreters("lost_events_are_counted_and_admitted", |setup| {
        let outcome = Trace::new(setup, "tenant")
            .env("BLEEDTRACE_RING_BYTES", "4096")
            .start(setup, "load.py", &["20000"])
            .end();
        right(&outcome.ended.stdout);
        let lost = outcome.summary["events"]["lost"].as_object().expect("a table");
        assert!(
            lost.values().filter_map(Value::as_u64).sum::<u64>() > 0,
            "{lost:?}"
        );
        assert_ne!(outcome.verdict(), "clean");
        assert!(
            outcome.reasons().contains(&"events_lost"),
            "{:?}",
            outcome.reasons()
        );
        assert!(
            outcome
                .findings
                .iter()
                .any(|finding| finding["window_complete"] == false)
        );
    });
}

#[test]
fn a_command_keeps_its_exit_code() {
    on_main_interpreters("a_command_keeps_its_exit_code", |setup| {
        let outcome = Trace::new(setup, "tenant").start(setup, "exits.py", &["7"]).end();
        assert_eq!(outcome.verdict(), "clean", "{:?}", outcome.summary);
        assert_eq!(outcome.summary["command_exit"], 7);
        assert_eq!(outcome.ended.code, Some(7));
    });
}

#[test]
fn fail_on_changes_the_exit_code_only() {
    on_main_interpreters("fail_on_changes_the_exit_code_only", |setup| {
        let (outcome, _) = Trace::new(setup, "tenant").flags(["--fail-on", "bleed"]).run(
            setup,
            "bleed.py",
            &["binds_first"],
        );
        assert_eq!(outcome.verdict(), "findings");
        assert_eq!(outcome.ended.code, Some(0));
        let (outcome, _) =
            Trace::new(setup, "tenant")
                .flags(["--fail-on", "bleed"])
                .run(setup, "bleed.py", &["confirmed"]);
        assert_eq!(outcome.ended.code, Some(1));
    });
}

/// A probe is a breakpoint in the target's copy of a page of code: whether any code differs from its file.
fn is_armed(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the target lives");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory is readable");
    maps.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, _, path] = fields[..] else {
            return false;
        };
        let number = |text| u64::from_str_radix(text, 16).expect("a hexadecimal number");
        let (start, end) = range.split_once('-').expect("a range");
        let mut mapped = vec![0; (number(end) - number(start)) as usize];
        let mut stored = mapped.clone();
        let Ok(file) = fs::File::open(path) else {
            return false;
        };
        let stored_length = file
            .read_at(&mut stored, number(offset))
            .expect("the file is readable");
        memory
            .read_exact_at(&mut mapped, number(start))
            .expect("code is readable");
        mapped[..stored_length] != stored[..stored_length]
    })
}

#[track_caller]
fn unharmed(target: Program) {
    target.signal("TERM");
    let ended = target.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    right(&ended.stdout);
}

/// The program's own count of requests that kept their identity.
#[track_caller]
fn right(stdout: &str) {
    let last = stdout.lines().last().expect("the program printed its result");
    let result: Value = serde_json::from_str(last).expect("the result is JSON");
    assert!(
        result["served"].as_u64().is_some_and(|served| served > 0),
        "{last}"
    );
    assert_eq!(result["served"], result["right"]);
}
