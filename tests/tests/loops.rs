//! Programs that are right on one loop, as people write them: with the wire there is nothing to report, and everything is seen.

use bleedtrace_tests::{Outcome, Setup, Trace, on_main_interpreters, skip};

/// Nothing is found, and the verdict, the reads and the handoffs are as the program counted them.
#[track_caller]
fn is_clean(setup: &Setup, fixture: &str, arguments: &[&str]) -> Outcome {
    let (outcome, truth) = Trace::new(setup, "tenant")
        .revealing()
        .flags(["--wire"])
        .run(setup, fixture, arguments);
    assert!(truth.findings.is_empty(), "the program is not right");
    assert!(truth.totals.reads["own"] > 0, "the program reads nothing");
    outcome.assert_truth(&truth);
    for (reason, number) in outcome.summary["unparsed"].as_object().expect("the wire is read") {
        assert_eq!(*number, 0, "unparsed.{reason}");
    }
    outcome
}

/// The same of a program on packages.
#[track_caller]
fn is_clean_on(test: &str, requirements: &str, fixture: &str, arguments: &[&str]) {
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements(requirements) else {
            return skip(test, &format!("no packages of requirements/{requirements}.txt"));
        };
        is_clean(&setup, fixture, arguments);
    });
}

macro_rules! clean {
    ($($name:ident: $requirements:literal $fixture:literal $arguments:expr;)+) => {
        $(#[test] fn $name() {
            is_clean_on(stringify!($name), $requirements, $fixture, &$arguments);
        })+
    };
}

clean! {
    a_session_of_three_tenants: "mcp-2.3.0" "packages/mcp_sessions.py" ["9", "asyncio", "json"];
    a_session_of_three_tenants_with_events: "mcp-2.3.0" "packages/mcp_sessions.py" ["9", "asyncio", "events"];
    a_session_of_three_tenants_on_uvloop: "mcp-2.3.0" "packages/mcp_sessions.py" ["9", "uvloop", "events"];
    what_goes_on_after_the_response: "loops" "loops/background.py" ["40"];
    what_goes_on_after_the_response_on_uvloop: "loops" "loops/background.py" ["40", "uvloop"];
    locks_that_many_want: "loops" "loops/contended.py" ["20"];
    locks_that_many_want_on_uvloop: "loops" "loops/contended.py" ["20", "uvloop"];
    a_connection_that_many_want: "loops" "loops/pools.py" ["8", "1"];
    two_connections_that_many_want: "loops" "loops/pools.py" ["8", "2"];
    four_connections_that_many_want_on_uvloop: "loops" "loops/pools.py" ["8", "4", "uvloop"];
    long_streams: "loops" "loops/streams.py" ["10"];
    long_streams_on_uvloop: "loops" "loops/streams.py" ["10", "uvloop"];
    work_that_is_done_for_many: "loops" "loops/shared.py" ["20"];
    work_that_is_done_for_many_on_uvloop: "loops" "loops/shared.py" ["20", "uvloop"];
    answers_of_a_service: "loops" "loops/batches.py" ["20", "seen"];
    answers_of_a_service_on_uvloop: "loops" "loops/batches.py" ["20", "seen", "uvloop"];
}

#[test]
fn answers_to_what_nobody_saw_being_asked_are_not_judged() {
    let test = "answers_to_what_nobody_saw_being_asked_are_not_judged";
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements("loops") else {
            return skip(test, "no packages of requirements/loops.txt");
        };
        let trace = Trace::new(&setup, "tenant").revealing().flags(["--wire"]);
        let (outcome, truth) = trace.run(&setup, "loops/batches.py", &["20", "kept"]);
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
        let reads = &outcome.summary["reads"];
        let (own, unjudged) = (reads["own"].as_u64(), reads["unjudged"].as_u64());
        let (own, unjudged) = (own.expect("a number"), unjudged.expect("a number"));
        assert!(unjudged > 0, "{reads}");
        assert_eq!(own + unjudged, truth.totals.reads["own"], "{reads}");
    });
}
