//! Builds without a GIL, whose threads run Python at the same moment.

use std::process::Command;

use bleedtrace_tests::{Interpreter, Program, Setup, Trace, on_interpreters_that};
use serde_json::Value;

/// Each time, variables are seen for the first time once.
const TIMES: usize = 5;

fn without_a_gil(interpreter: &Interpreter) -> bool {
    interpreter.free_threaded
}

fn json(setup: &Setup, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let ended = Program::start(Command::new(&setup.bleedtrace).args(arguments)).end();
    let lines = ended.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    (ended.code, lines.collect())
}

#[test]
fn what_threads_do_at_the_same_moment_is_told_apart() {
    let test = "what_threads_do_at_the_same_moment_is_told_apart";
    on_interpreters_that(test, without_a_gil, |setup| {
        for _ in 0..TIMES {
            let others = ["principal", "region", "digest"];
            let (outcome, truth) = Trace::new(setup, "tenant")
                .flags(others.iter().flat_map(|other| ["--identity", other]))
                .revealing()
                .run(setup, "at_once.py", &[]);
            outcome.assert_truth(&truth);
            outcome.assert_verdict("clean", None);
        }
    });
}

#[test]
fn uses_are_counted_exactly_when_threads_run_at_once() {
    let test = "uses_are_counted_exactly_when_threads_run_at_once";
    on_interpreters_that(test, without_a_gil, |setup| {
        let fixture = setup.fixture("at_once.py");
        let mut command = Command::new(&setup.bleedtrace);
        command.args(["vars", "--format", "json", "--"]);
        command.args(setup.interpreter.words()).arg(fixture);
        let ended = Program::start(&mut command).end();
        let lines: Vec<Value> = ended
            .stderr
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let total = |member: &str| -> u64 {
            let ours = lines.iter().filter(|line| {
                ["tenant", "principal", "region", "digest"]
                    .map(Value::from)
                    .contains(&line["name"])
            });
            ours.filter_map(|line| line[member].as_u64()).sum()
        };
        // 8 variables, 2 workers, 40 rounds, each a bind and two reads.
        assert_eq!([total("binds"), total("reads")], [640, 1280], "{}", ended.stderr);
    });
}

#[test]
fn such_a_build_is_listed_as_one_and_can_be_traced() {
    let test = "such_a_build_is_listed_as_one_and_can_be_traced";
    on_interpreters_that(test, without_a_gil, |setup| {
        let mut target = Program::start(
            setup
                .command()
                .args(["-c", "print('ready', flush=True); input()"]),
        );
        target.wait_for("ready");
        let pid = target.pid().to_string();
        let (_, processes) = json(setup, &["discover", "--format", "json"]);
        let line = processes.iter().find(|line| line["pid"] == target.pid());
        let line = line.unwrap_or_else(|| panic!("not listed: {processes:?}"));
        assert_eq!(line["build"]["free_threaded"], true, "{line}");
        assert_eq!(line["attachable"], true, "{line}");
        assert_eq!(line["version"], setup.interpreter.version.as_str(), "{line}");
        let (code, rows) = json(setup, &["doctor", "--format", "json", "--pid", &pid]);
        assert_eq!(code, Some(0), "{rows:?}");
        target.say("");
        assert_eq!(target.end().code, Some(0));
    });
}
