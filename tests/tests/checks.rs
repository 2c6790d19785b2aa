//! Policies that find nobody, digests that nobody finds again, mints that can be seen or not, and what programs announce.

use bleedtrace_tests::{Finding, Interpreter, Outcome, Setup, Trace, Truth, on_interpreters_that};

/// One of each way in which an interpreter is read: the oldest, without qualified names; the first with them, stripped; one with symbols; one
/// without a GIL.
fn is_one_of_each(one: &Interpreter) -> bool {
    match one.minor {
        8 | 12 => one.root.is_none(),
        11 => one.root.is_some() && !one.shared,
        14 => one.free_threaded,
        _ => false,
    }
}

#[track_caller]
fn traced(setup: &Setup, fixture: &str, arguments: &[&str], flags: &[&str]) -> (Outcome, Truth) {
    Trace::new(setup, "tenant")
        .revealing()
        .flags(flags)
        .run(setup, fixture, arguments)
}

/// What a fixture knows about itself must come out exactly. `expected` is said twice, here and by the fixture.
#[track_caller]
fn holds(test: &str, fixture: &str, arguments: &[&str], flags: &[&str], expected: &[(&str, u64)]) {
    on_interpreters_that(test, is_one_of_each, |setup| {
        let (outcome, truth) = traced(setup, fixture, arguments, flags);
        outcome.assert_truth(&truth);
        for (kind, number) in expected {
            assert_eq!(outcome.count(kind), *number, "{kind}");
        }
        let all: u64 = expected.iter().map(|(_, number)| number).sum();
        assert_eq!(outcome.findings.len() as u64, all, "findings");
    });
}

macro_rules! rows {
    ($($name:ident: $fixture:literal $arguments:expr, $flags:expr => $expected:expr;)+) => {
        $(#[test] fn $name() { holds(stringify!($name), $fixture, &$arguments, &$flags, &$expected); })+
    };
}

const POLICY: [&str; 4] = ["--policy", "*PolicyEngine.check*", "--request", "request_id"];
const DIGEST: [&str; 4] = ["--digest", "tool_digest", "--mint", "*TaskStore.create*"];
const MINT: [&str; 2] = ["--mint", "TaskStore.create*"];
const REQUEST: [&str; 2] = ["--request", "request_id"];

rows! {
    a_policy_outside_requests_finds_nobody: "policy.py" ["elsewhere"], POLICY => [];
    a_policy_finds_somebody: "policy.py" ["somebody"], POLICY => [];
    a_policy_finds_nobody_in_requests_with_an_id: "policy.py" ["named"], POLICY => [("empty_check", 4)];
    a_policy_finds_nobody_in_a_worker: "policy.py" ["worker"], POLICY => [("black_hole_read", 3), ("empty_check", 3)];
    a_policy_finds_nobody_after_a_worker_did: "policy.py" ["returned"], POLICY =>
        [("squat", 1), ("black_hole_return", 1), ("empty_check", 1)];
    a_digest_pinned_in_a_worker_is_missing_at_the_mint: "digests.py" ["worker"], DIGEST =>
        [("black_hole_return", 4), ("drift_blindness", 4)];
    a_digest_pinned_in_a_worker_is_missing_after_the_mint: "digests.py" ["polled"], DIGEST => [("drift_blindness", 3)];
    a_digest_that_may_have_been_carried_out: "digests.py" ["carried"], DIGEST => [("black_hole_return", 1)];
    a_digest_pinned_on_the_loop: "digests.py" ["loop"], DIGEST => [];
    a_digest_brought_back: "digests.py" ["rebound"], DIGEST => [];
    a_digest_that_nobody_pins: "digests.py" ["never"], DIGEST => [];
    ids_are_drawn_in_many_ways: "mints.py" ["ids"], MINT => [];
    coroutines_mint: "mints.py" ["later"], MINT => [("unattributed_task", 2)];
    announced_owners: "announcements.py" ["minted", "text"], REQUEST => [("unattributed_task", 1), ("misattributed_task", 1)];
    announced_owners_in_json: "announcements.py" ["minted", "json"], REQUEST => [("unattributed_task", 1), ("misattributed_task", 1)];
    announced_polls: "announcements.py" ["served", "text"], REQUEST => [("foreign_poll", 2)];
    announced_polls_in_json: "announcements.py" ["served", "json"], REQUEST => [("foreign_poll", 2)];
    announced_checks: "announcements.py" ["checked", "text"], REQUEST => [("empty_check", 2)];
    announced_checks_in_json: "announcements.py" ["checked", "json"], REQUEST => [("empty_check", 2)];
    announced_digests: "announcements.py" ["digests", "text"], REQUEST => [("drift_blindness", 3)];
    announced_digests_in_json: "announcements.py" ["digests", "json"], REQUEST => [("drift_blindness", 3)];
}

#[test]
fn malformed_announcements_are_counted() {
    on_interpreters_that("malformed_announcements_are_counted", is_one_of_each, |setup| {
        let (outcome, truth) = traced(setup, "announcements.py", &["malformed"], &[]);
        outcome.assert_truth(&truth);
        assert_eq!(outcome.number("announced", "malformed"), 13);
        assert_eq!(outcome.number("announced", "understood"), 1);
    });
}

/// Whether it is known where coroutines are made (`_Py_MakeCoro`): from 3.13 on it is exported, before a stripped build does not say.
fn shows_coroutines(one: &Interpreter) -> bool {
    one.minor >= 13 || one.minor >= 11 && !one.stripped
}

#[test]
fn coroutines_mint_that_read_nothing() {
    on_interpreters_that("coroutines_mint_that_read_nothing", is_one_of_each, |setup| {
        let shown = shows_coroutines(&setup.interpreter);
        let seen = if shown { "seen" } else { "hidden" };
        let (outcome, truth) = traced(setup, "mints.py", &["called", seen], &MINT);
        outcome.assert_truth(&truth);
        assert_eq!(outcome.count("unattributed_task"), u64::from(shown));
        // A call that was given up before it began looks the same.
        let unsure =
            |finding: &Finding| finding["confidence"] == "suspected" && finding["evidence"] == "inferred";
        assert!(outcome.findings.iter().all(unsure), "{:?}", outcome.findings);
        let unseen = if shown { vec![] } else { vec!["TaskStore.create*"] };
        assert_eq!(outcome.summary["out_of_sight"], serde_json::json!(unseen));
    });
}

#[test]
fn what_mints_out_of_sight_is_said() {
    on_interpreters_that("what_mints_out_of_sight_is_said", is_one_of_each, |setup| {
        let unseen = |outcome: &Outcome| outcome.summary["out_of_sight"].clone();
        let flags = [
            "--mint",
            "*.create_unseen_at_once",
            "--mint",
            "*.create_later",
            "--policy",
            "*.check",
        ];
        let (outcome, truth) = traced(setup, "mints.py", &["unseen"], &flags);
        outcome.assert_truth(&truth);
        assert_eq!(
            unseen(&outcome),
            serde_json::json!(["*.check", "*.create_later", "*.create_unseen_at_once"])
        );
        let (outcome, _) = traced(setup, "mints.py", &["later"], &flags);
        assert_eq!(
            unseen(&outcome),
            serde_json::json!(["*.check", "*.create_unseen_at_once"])
        );
        let (outcome, _) = traced(setup, "mints.py", &["unseen"], &[]);
        assert_eq!(unseen(&outcome), serde_json::json!([]));
    });
}

#[test]
fn what_is_announced_is_claimed() {
    on_interpreters_that("what_is_announced_is_claimed", is_one_of_each, |setup| {
        for case in ["minted", "served", "checked", "digests"] {
            let (outcome, _) = traced(setup, "announcements.py", &[case], &REQUEST);
            assert!(!outcome.findings.is_empty(), "{case}");
            let evidence = outcome.findings.iter().map(|finding| &finding["evidence"]);
            assert!(
                evidence.into_iter().all(|evidence| evidence == "claimed"),
                "{case}"
            );
        }
    });
}

/// With the wire, requests are known by their bytes.
fn governed(test: &str, case: &str, flags: &[&str], kind: &str) {
    on_interpreters_that(test, is_one_of_each, |setup| {
        let outcome = Trace::new(setup, "tenant")
            .flags(["--wire"])
            .flags(flags)
            .start(setup, "governed.py", &[case])
            .end();
        let counted: serde_json::Value =
            serde_json::from_str(outcome.ended.stdout.lines().last().unwrap_or_default())
                .unwrap_or_else(|error| panic!("the program did not count ({error}): {:?}", outcome.ended));
        assert!(counted[kind].as_u64() > Some(0));
        assert_eq!(
            Some(outcome.count(kind)),
            counted[kind].as_u64(),
            "{:?}",
            outcome.summary
        );
        assert_eq!(
            outcome.findings.len() as u64,
            outcome.count(kind),
            "{:?}",
            outcome.summary
        );
    });
}

#[test]
fn a_policy_finds_nobody_between_a_request_and_its_response() {
    let test = "a_policy_finds_nobody_between_a_request_and_its_response";
    governed(test, "checks", &["--policy", "PolicyEngine.check"], "empty_check");
}

#[test]
fn a_digest_pinned_in_a_worker_is_missing_in_a_poll() {
    let test = "a_digest_pinned_in_a_worker_is_missing_in_a_poll";
    governed(test, "digests", &["--digest", "tool_digest"], "drift_blindness");
}
