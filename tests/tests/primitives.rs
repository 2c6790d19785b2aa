//! Work changes hands in many ways: each is known by its name, what is right stays clean, and what is wrong is found exactly.

use bleedtrace_tests::{Setup, Trace, on_main_interpreters, skip};

/// Traces a fixture on an interpreter. `expected` is said twice, by the fixture and here, so that a fixture that forgets a finding
/// fails, too.
#[track_caller]
fn check(setup: &Setup, fixture: &str, arguments: &[&str], flags: &[&str], expected: &[(&str, u64)]) {
    let (outcome, truth) = Trace::new(setup, "tenant")
        .revealing()
        .flags(flags)
        .run(setup, fixture, arguments);
    outcome.assert_truth(&truth);
    for (kind, number) in expected {
        assert_eq!(outcome.count(kind), *number, "{kind}");
    }
    assert_eq!(
        outcome.findings.len() as u64,
        expected.iter().map(|(_, number)| number).sum::<u64>(),
        "findings"
    );
}

/// Whether `multiprocessing` can make a lock: older C libraries want a file system of their own for that.
fn has_locks(setup: &Setup) -> bool {
    let mut command = setup.command();
    command.args(["-c", "import multiprocessing; multiprocessing.Lock()"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// With nothing but the standard library.
macro_rules! rows {
    ($($name:ident: $fixture:literal $arguments:expr => $expected:expr;)+) => {
        $(#[test] fn $name() {
            on_main_interpreters(stringify!($name), |setup| {
                if $fixture == "thread_pool.py" && !has_locks(setup) {
                    return skip(stringify!($name), "multiprocessing has no locks in this interpreter's root");
                }
                check(setup, $fixture, &$arguments, &[], &$expected);
            });
        })+
    };
}

/// With packages, from `requirements/`.
macro_rules! rows_with {
    ($($requirements:literal $name:ident: $fixture:literal $arguments:expr, $flags:expr => $expected:expr;)+) => {
        $(#[test] fn $name() {
            on_main_interpreters(stringify!($name), |setup| {
                match setup.with_requirements($requirements) {
                    Some(setup) => check(&setup, $fixture, &$arguments, &$flags, &$expected),
                    None => skip(stringify!($name), concat!("no packages of requirements/", $requirements, ".txt")),
                }
            });
        })+
    };
}

rows! {
    a_thread_pool_bleeds: "thread_pool.py" ["bleed"] => [("squat", 1), ("bleed", 1)];
    a_thread_pools_workers_read_nothing: "thread_pool.py" ["black_hole"] => [("black_hole_read", 10)];
    a_thread_pools_binds_do_not_come_back: "thread_pool.py" ["returns"] => [("squat", 1), ("black_hole_return", 1)];
    every_piece_of_a_map_is_its_submitters: "thread_pool.py" ["maps"] => [("black_hole_read", 8)];
    a_thread_pools_initializer_bleeds: "thread_pool.py" ["initializer"] => [("bleed", 1)];
    a_thread_pool_that_resets_is_clean: "thread_pool.py" ["clean"] => [];
    inner_pools_work_for_the_outermost_submitter: "nested.py" ["inner"] => [("black_hole_read", 5)];
    a_workers_own_loop_hands_on_what_it_has: "nested.py" ["loop"] => [("black_hole_read", 10)];
    every_call_of_a_map_is_a_piece_of_work: "nested.py" ["map"] => [("black_hole_read", 20)];
    a_pool_of_one_request_is_its_own: "nested.py" ["request"] => [];
    pairs_in_a_queue_are_data: "data_queue.py" ["pair"] => [];
    fives_in_a_queue_are_data: "data_queue.py" ["five"] => [];
    a_worker_around_a_global_queue_is_not_judged: "queue_worker.py" ["global"] => [];
    a_worker_around_a_queue_that_it_was_given_is_not_judged: "queue_worker.py" ["argument"] => [];
    a_worker_around_a_queue_of_its_own_is_not_judged: "queue_worker.py" ["attribute"] => [];
    a_worker_deep_under_its_work_is_not_judged: "queue_worker.py" ["deep"] => [];
    a_worker_that_does_all_in_one_function_is_not_judged: "queue_worker.py" ["in_place"] => [];
    a_worker_in_a_pool_is_not_judged: "worker_in_pool.py" ["early"] => [];
    a_worker_in_a_pool_that_a_request_started_is_not_judged: "worker_in_pool.py" ["late"] => [];
    a_worker_around_a_simple_queue_is_not_judged: "simple_queue_worker.py" ["lost"] => [];
    a_worker_around_a_simple_queue_that_enters_contexts_is_not_judged: "simple_queue_worker.py" ["copied"] => [];
    a_worker_around_a_simple_queue_that_leaves_its_binds_is_not_judged: "simple_queue_worker.py" ["left"] => [];
    a_thread_for_every_request_is_judged: "thread_server.py" ["own"] => [];
    a_thread_for_every_request_that_hands_its_context_on_is_clean: "thread_server.py" ["copied"] => [];
    a_thread_for_every_request_that_hands_nothing_on_is_not: "thread_server.py" ["lost"] => [("black_hole_read", 6)];
    another_interpreter_is_not_mistaken_for_the_main_one: "subinterpreter.py" [] => [("squat", 1), ("bleed", 2)];
}

rows_with! {
    "pools" anyio_copies_the_context: "anyio_pool.py" ["own"], [] => [];
    "pools" anyio_with_sniffio_copies_the_context: "anyio_pool.py" ["own", "paired"], [] => [];
    "pools" anyio_hands_on_what_its_context_holds: "anyio_pool.py" ["nested"], [] => [("black_hole_read", 3)];
    "pools" anyio_with_sniffio_hands_on_what_its_context_holds: "anyio_pool.py" ["nested", "paired"], [] => [("black_hole_read", 3)];
    "pools" anyio_without_an_identity_proves_nothing: "anyio_pool.py" ["nobody"], [] => [];
    "pools" anyio_with_sniffio_is_coverage: "anyio_pool.py" ["nobody", "paired"], [] => [];
    "pools" anyio_alone_does_not_tell_what_is_lost: "anyio_pool.py" ["returns"], [] => [];
    "pools" anyio_with_sniffio_tells_what_is_lost: "anyio_pool.py" ["returns", "paired"], [] => [("black_hole_return", 1)];
    "pools" asgiref_brings_binds_back: "asgiref_calls.py" ["insensitive"], [] => [];
    "pools" asgiref_on_one_thread_brings_binds_back: "asgiref_calls.py" ["sensitive"], [] => [];
    "pools" asgiref_from_a_thread_that_waits: "asgiref_calls.py" ["sensitive", "from_sync"], [] => [];
    "pools" uvloop_hands_over_as_any_executor: "uvloop_pool.py" [], [] => [("black_hole_read", 1), ("squat", 1), ("bleed", 1)];
    "pools" fastapi_is_clean: "fastapi_app.py" ["20"], [] => [];
    "pools" fastapi_with_a_pool_by_hand_is_not: "fastapi_app.py" ["5", "faults"], [] => [("black_hole_read", 5), ("squat", 1), ("bleed", 1)];
    "pools" django_is_clean: "django_views.py" [], [] => [];
    "greenlets" gevents_greenlets_read_their_own: "greenlets.py" ["gevent"], ["--allow-greenlet"] => [];
    "greenlets" eventlets_greenlets_read_their_own: "greenlets.py" ["eventlet"], ["--allow-greenlet"] => [];
}
