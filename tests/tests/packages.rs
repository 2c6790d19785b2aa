//! Packages as people run them, pinned: what is right in them is clean, and what is wrong is found exactly.

use std::collections::BTreeMap;

use bleedtrace_tests::{Trace, on_main_interpreters, skip};

/// Findings by kind.
type Counts<'a> = BTreeMap<&'a str, u64>;

/// Traces a fixture with a list of packages, and compares with its truth. What is `expected` is said here as well, so that a fixture
/// that forgets a finding fails, too.
#[track_caller]
fn holds(
    test: &str,
    requirements: &str,
    watched: &str,
    fixture: &str,
    arguments: &[&str],
    expected: impl Fn(&Counts<'_>) -> bool,
) {
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements(requirements) else {
            return skip(test, &format!("no packages of requirements/{requirements}.txt"));
        };
        let (outcome, truth) = Trace::new(&setup, watched)
            .revealing()
            .run(&setup, fixture, arguments);
        outcome.assert_truth(&truth);
        let mut counts = Counts::new();
        for finding in &outcome.findings {
            *counts
                .entry(finding["kind"].as_str().unwrap_or_default())
                .or_default() += 1;
        }
        assert!(expected(&counts), "{counts:?}");
    });
}

/// Exactly these.
fn are<const N: usize>(expected: [(&'static str, u64); N]) -> impl Fn(&Counts<'_>) -> bool {
    move |counts| *counts == Counts::from(expected)
}

fn none(counts: &Counts<'_>) -> bool {
    counts.is_empty()
}

/// Eight pieces of work read what is not theirs; which of them find nothing depends on the processes that they run in.
fn lost_and_polluted(counts: &Counts<'_>) -> bool {
    let of = |kind| counts.get(kind).copied().unwrap_or(0);
    of("black_hole_read") >= 4
        && of("black_hole_read") + of("bleed") == 8
        && of("squat") == 1
        && counts.len() <= 3
}

/// The same, and four requests that leave what they bound in gunicorn's own threads, to be read by some of the next four.
fn lost_polluted_and_kept(counts: &Counts<'_>) -> bool {
    let of = |kind| counts.get(kind).copied().unwrap_or(0);
    let read = of("black_hole_read") + of("bleed");
    of("black_hole_read") >= 4 && (8..=12).contains(&read) && of("squat") == 5 && counts.len() <= 3
}

macro_rules! rows {
    ($($requirements:literal $name:ident: $watched:literal $fixture:literal $arguments:expr => $expected:expr;)+) => {
        $(#[test] fn $name() {
            holds(stringify!($name), $requirements, $watched, $fixture, &$arguments, $expected);
        })+
    };
}

rows! {
    "mcp-hangar-1.2.0" mcp_hangar_lost_the_caller: "identity_context" "packages/hangar.py" ["object"] => are([("black_hole_read", 20)]);
    "mcp-hangar-1.3.0" mcp_hangar_keeps_the_caller: "identity_context" "packages/hangar.py" ["object"] => none;
    "mcp-hangar-1.2.0" mcp_hangar_lost_the_callers_name: "identity_context.caller.user_id" "packages/hangar.py" ["path"] =>
        are([("black_hole_read", 20)]);
    "mcp-hangar-1.3.0" mcp_hangar_keeps_the_callers_name: "identity_context.caller.user_id" "packages/hangar.py" ["path"] => none;
    "pools" fastapi_under_uvicorn_is_clean: "tenant" "fastapi_app.py" ["20", "clean", "asyncio"] => none;
    "pools" fastapi_under_uvicorn_on_uvloop_is_clean: "tenant" "fastapi_app.py" ["20", "clean", "uvloop"] => none;
    "pools" fastapi_under_uvicorn_with_a_pool_by_hand_is_not: "tenant" "fastapi_app.py" ["5", "faults", "asyncio"] =>
        are([("black_hole_read", 5), ("squat", 1), ("bleed", 1)]);
    "pools" fastapi_on_uvloop_with_a_pool_by_hand_is_not: "tenant" "fastapi_app.py" ["5", "faults", "uvloop"] =>
        are([("black_hole_read", 5), ("squat", 1), ("bleed", 1)]);
    "pools" gunicorn_is_clean: "tenant" "packages/gunicorn_service.py" ["sync", "clean"] => none;
    "pools" gunicorn_with_a_pool_by_hand_is_not: "tenant" "packages/gunicorn_service.py" ["sync", "faults"] => lost_and_polluted;
    "pools" gunicorn_with_threads_is_clean: "tenant" "packages/gunicorn_service.py" ["gthread", "clean"] => none;
    "pools" gunicorn_with_threads_that_keep_is_not: "tenant" "packages/gunicorn_service.py" ["gthread", "faults"] => lost_polluted_and_kept;
    "pools" gunicorn_with_uvicorn_is_clean: "tenant" "packages/gunicorn_service.py" ["uvicorn", "clean"] => none;
    "pools" gunicorn_with_uvicorn_and_a_pool_by_hand_is_not: "tenant" "packages/gunicorn_service.py" ["uvicorn", "faults"] => lost_and_polluted;
    "pools" django_in_threads_is_clean: "tenant" "packages/gunicorn_service.py" ["django-gthread", "clean"] => none;
    "pools" django_in_threads_with_a_pool_by_hand_is_not: "tenant" "packages/gunicorn_service.py" ["django-gthread", "faults"] => lost_and_polluted;
    "pools" django_on_a_loop_is_clean: "tenant" "packages/gunicorn_service.py" ["django-uvicorn", "clean"] => none;
    "pools" django_on_a_loop_with_a_pool_by_hand_is_not: "tenant" "packages/gunicorn_service.py" ["django-uvicorn", "faults"] => lost_and_polluted;
    "trio" trios_threads_are_clean: "tenant" "packages/trio_threads.py" ["clean"] => none;
    "trio" trios_threads_with_a_pool_by_hand_are_not: "tenant" "packages/trio_threads.py" ["lost"] => are([("black_hole_read", 5)]);
    "litellm" litellm_logs_synchronous_calls_with_their_context: "tenant" "packages/litellm_logging.py" ["sync"] => none;
    "litellm" litellm_logs_asynchronous_calls_without_it: "tenant" "packages/litellm_logging.py" ["async"] => are([("black_hole_read", 6)]);
}
