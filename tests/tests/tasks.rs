//! asyncio tasks that live longer than the request in which they were created: whose identity they carry, and whom they work for.

use bleedtrace_tests::{Setup, Trace, on_every_interpreter, on_main_interpreters, skip};
use serde_json::Value;

/// Everything is as the fixture knows it, and every task is told of.
fn is_exact(setup: &Setup, fixture: &str, arguments: &[&str], flag: &str) {
    let trace = Trace::new(setup, "tenant").revealing().flags([flag]);
    let (outcome, truth) = trace.run(setup, fixture, arguments);
    outcome.assert_truth(&truth);
    let told = |name: &str| {
        let of_tasks = outcome
            .findings
            .iter()
            .filter(|finding| finding["source"] == "task");
        of_tasks
            .map(|finding| finding["spawn"][name].clone())
            .collect::<Vec<_>>()
    };
    for name in ["site", "works_for"] {
        assert!(told(name).iter().all(Value::is_object), "{:?}", outcome.findings);
    }
}

fn way(test: &str, way: &str) {
    on_every_interpreter(test, |setup| {
        is_exact(setup, "session_task.py", &[way], "--tasks");
    });
}

#[test]
fn a_worker_that_its_first_request_left_behind_bleeds() {
    way("a_worker_that_its_first_request_left_behind_bleeds", "logging");
}

#[test]
fn a_worker_that_binds_what_comes_with_its_work_is_clean() {
    way("a_worker_that_binds_what_comes_with_its_work_is_clean", "binding");
}

#[test]
fn a_request_that_waits_for_its_own_task_is_clean() {
    way("a_request_that_waits_for_its_own_task_is_clean", "own");
}

#[test]
fn what_goes_on_after_its_request_is_clean_whatever_it_waits_for() {
    way(
        "what_goes_on_after_its_request_is_clean_whatever_it_waits_for",
        "later",
    );
}

/// A session of three tenants on the official SDK.
fn session(test: &str, requirements: &str, flag: &str, arguments: &[&str]) {
    on_main_interpreters(test, |setup| match setup.with_requirements(requirements) {
        Some(setup) => is_exact(&setup, "packages/mcp_session.py", arguments, flag),
        None => skip(test, &format!("no packages of requirements/{requirements}.txt")),
    });
}

#[test]
fn a_session_of_sdk_1_26_bleeds() {
    session(
        "a_session_of_sdk_1_26_bleeds",
        "mcp-1.26.0",
        "--tasks",
        &["30", "1"],
    );
}

#[test]
fn a_session_of_sdk_1_30_bleeds_with_many_at_once() {
    session(
        "a_session_of_sdk_1_30_bleeds_with_many_at_once",
        "mcp-1.30.0",
        "--tasks",
        &["300", "16"],
    );
}

#[test]
fn a_session_of_sdk_1_30_bleeds_where_the_wire_is_read() {
    session(
        "a_session_of_sdk_1_30_bleeds_where_the_wire_is_read",
        "mcp-1.30.0",
        "--wire",
        &["60", "4", "uvloop"],
    );
}

#[test]
fn a_session_of_sdk_2_is_clean() {
    session("a_session_of_sdk_2_is_clean", "mcp-2.3.0", "--wire", &["60", "8"]);
}
