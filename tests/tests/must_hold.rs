//! One test for every row of what bleedtrace must find, and must not find.

use bleedtrace_tests::{
    Interpreter, Outcome, Trace, Truth, on_every_interpreter, on_interpreters_that, on_main_interpreters,
};

/// Traces a fixture on every interpreter: what it knows about itself must come out exactly. `expected` is said twice, by the
/// fixture and here, so that a fixture that forgets a finding fails, too.
#[track_caller]
fn holds(test: &str, fixture: &str, arguments: &[&str], flags: &[&str], expected: &[(&str, u64)]) {
    // CPython 3.8 has no asyncio.to_thread.
    let can = |one: &Interpreter| !(test.contains("to_thread") && one.minor == 8);
    on_interpreters_that(test, can, |setup| {
        let (outcome, truth) = Trace::new(setup, "tenant")
            .revealing()
            .flags(flags)
            .run(setup, fixture, arguments);
        exactly(&outcome, &truth, expected);
    });
}

#[track_caller]
fn exactly(outcome: &Outcome, truth: &Truth, expected: &[(&str, u64)]) {
    outcome.assert_truth(truth);
    for (kind, number) in expected {
        assert_eq!(outcome.count(kind), *number, "{kind}");
    }
    assert_eq!(
        outcome.findings.len() as u64,
        expected.iter().map(|(_, number)| number).sum::<u64>(),
        "findings"
    );
}

macro_rules! rows {
    ($($name:ident: $fixture:literal $arguments:expr, $flags:expr => $expected:expr;)+) => {
        $(#[test] fn $name() { holds(stringify!($name), $fixture, &$arguments, &$flags, &$expected); })+
    };
}

const MINT: [&str; 2] = ["--mint", "*TaskStore.create*"];

rows! {
    copying_primitives_alone_give_no_verdict: "copied_context.py" [], [] => [];
    copying_primitives_beside_a_to_thread_are_clean: "copied_context.py" ["covered"], [] => [];
    run_coroutine_threadsafe_carries: "copied_context.py" ["threadsafe"], [] => [];
    a_worker_reads_nothing: "black_hole_read.py" [], [] => [("black_hole_read", 20)];
    a_bind_does_not_come_back: "black_hole_return.py" ["2000"], [] => [("black_hole_return", 2000), ("squat", 2000)];
    a_bleed_is_confirmed: "bleed.py" ["confirmed"], [] => [("bleed", 1), ("squat", 1)];
    a_bleed_is_suspected: "bleed.py" ["suspected"], [] => [("bleed", 1), ("squat", 1)];
    who_binds_first_reads_own: "bleed.py" ["binds_first"], [] => [("squat", 2)];
    who_resets_leaves_nothing: "bleed.py" ["reset"], [] => [("black_hole_read", 1)];
    to_thread_contains: "to_thread.py" [], [] => [("squat", 1)];
    to_thread_does_not_bring_back: "to_thread.py" ["returns"], [] => [("squat", 1), ("black_hole_return", 1)];
    a_context_copied_by_the_submitter_carries: "copy_context.py" ["submitter"], [] => [];
    a_context_copied_by_the_worker_is_empty: "copy_context.py" ["worker"], [] => [("black_hole_read", 1)];
    a_context_copied_by_a_polluted_worker_bleeds: "copy_context.py" ["polluted"], [] => [("squat", 1), ("bleed", 1)];
    every_kind_of_place_is_named: "sites.py" [], [] => [("black_hole_read", 12)];
    what_is_gone_before_the_agent_looks_is_named: "stalled_agent.py" [], [] => [("black_hole_read", 1)];
    a_bare_thread_reads_nothing: "threads.py" ["bare"], [] => [("black_hole_read", 1)];
    a_bare_thread_that_goes_on_with_other_work_is_judged: "threads.py" ["deep"], [] => [("black_hole_read", 1)];
    a_bare_thread_leaves_nothing: "threads.py" ["binds"], [] => [];
    a_pool_growing_is_no_hop: "threads.py" ["lazy"], [] => [];
    an_initializer_bleeds: "threads.py" ["initializer"], [] => [("bleed", 1)];
    data_is_no_work: "data_queue.py" [], [] => [];
    a_loop_in_a_worker_is_its_own: "loop_in_worker.py" [], [] => [];
    ascii_differs: "values.py" ["ascii"], [] => [("squat", 1), ("bleed", 1)];
    same_length_differs: "values.py" ["same_length"], [] => [("squat", 1), ("bleed", 1)];
    non_ascii_differs: "values.py" ["non_ascii"], [] => [("squat", 1), ("bleed", 1)];
    wide_characters_differ: "values.py" ["wide"], [] => [("squat", 1), ("bleed", 1)];
    int_differs: "values.py" ["int"], [] => [("squat", 1), ("bleed", 1)];
    big_int_differs: "values.py" ["big_int"], [] => [("squat", 1), ("bleed", 1)];
    negative_int_differs: "values.py" ["negative"], [] => [("squat", 1), ("bleed", 1)];
    a_dataclass_is_suspected: "values.py" ["dataclass"], [] => [("squat", 1), ("bleed", 1)];
    the_same_object_is_own: "values.py" ["same_object"], [] => [("squat", 1)];
    an_equal_str_is_own: "values.py" ["equal_str"], [] => [("squat", 1)];
    an_equal_int_is_own: "values.py" ["equal_int"], [] => [("squat", 1)];
    none_is_empty: "values.py" ["none"], [] => [("black_hole_read", 1)];
    a_configured_value_is_empty: "values.py" ["configured_empty"], ["--empty", "tenant=anonymous"] => [("black_hole_read", 1)];
    an_empty_str_is_a_value: "values.py" ["empty_str"], [] => [("squat", 1), ("bleed", 1)];
    zero_is_a_value: "values.py" ["zero"], [] => [("squat", 1), ("bleed", 1)];
    a_default_is_empty: "values.py" ["default_unset"], [] => [("black_hole_read", 1)];
    a_default_of_none_is_empty: "values.py" ["default_none"], [] => [("black_hole_read", 1)];
    a_task_for_nobody: "tasks.py" ["unattributed"], MINT =>
        [("unattributed_task", 1), ("squat", 1), ("black_hole_return", 1)];
    a_task_for_somebody_else: "tasks.py" ["misattributed"], MINT => [("misattributed_task", 1), ("squat", 1), ("bleed", 1)];
    a_task_for_its_owner: "tasks.py" ["attributed"], MINT => [];
    a_task_for_its_owner_via_to_thread: "tasks.py" ["via_to_thread"], MINT => [];
    a_task_whose_owner_nobody_read: "tasks.py" ["unknown"], MINT => [];
    variables_are_judged_one_by_one: "two_variables.py" [], ["--identity", "principal"] => [("squat", 2), ("bleed", 1)];
    a_forked_child_is_followed: "fork.py" [], [] => [("squat", 1), ("bleed", 1)];
    a_forked_child_proves_coverage: "prefork.py" [], [] => [];
    no_watched_variable_gives_no_verdict: "no_variable.py" [], [] => [];
}

#[test]
fn an_announced_task_for_nobody() {
    on_every_interpreter("an_announced_task_for_nobody", |setup| {
        let (outcome, truth) = Trace::new(setup, "tenant")
            .revealing()
            .run(setup, "announced.py", &[]);
        assert_eq!(outcome.count("unattributed_task"), 1);
        assert_eq!(outcome.findings.len(), 1);
        assert_eq!(outcome.findings[0]["task"]["announced"]["value"], "\"task-1\"");
        for (attribution, number) in &truth.totals.tasks {
            assert_eq!(outcome.number("tasks", attribution), *number, "{attribution}");
        }
        outcome.assert_verdict("findings", None);
    });
}

#[test]
fn variables_that_were_seen_are_listed() {
    on_every_interpreter("variables_that_were_seen_are_listed", |setup| {
        // Of another name, or of another module than the one that is meant.
        for watched in ["tenant", "elsewhere:principal"] {
            let (outcome, _) = Trace::new(setup, watched).run(setup, "no_variable.py", &[]);
            outcome.assert_verdict("no_verdict", Some("no_watched_variable"));
            let message = outcome.summary["reasons"][0]["message"]
                .as_str()
                .unwrap_or_default();
            assert!(message.contains("principal"), "{message}");
        }
    });
}

#[test]
fn a_configuration_names_the_service_and_its_variables() {
    on_every_interpreter("a_configuration_names_the_service_and_its_variables", |setup| {
        let file = std::env::temp_dir().join(format!("bleedtrace-config-{}.toml", std::process::id()));
        let configuration = concat!(
            "[privacy]\nreveal = true\n",
            "[[service]]\nmatch = { cmdline = \"*bleed.py*\" }\nname = \"proxy\"\nidentity = [\"tenant\"]\n",
        );
        std::fs::write(&file, configuration).expect("a configuration");
        let path = file.to_str().expect("a path in UTF-8");
        let (outcome, truth) = Trace::configured(setup, path).run(setup, "bleed.py", &["confirmed"]);
        std::fs::remove_file(&file).expect("the file is ours");
        exactly(&outcome, &truth, &[("bleed", 1), ("squat", 1)]);
        assert!(
            outcome
                .findings
                .iter()
                .all(|finding| finding["service"] == "proxy"),
            "{:?}",
            outcome.findings
        );
    });
}

#[test]
fn values_stay_private() {
    on_every_interpreter("values_stay_private", |setup| {
        let (outcome, _) = Trace::new(setup, "tenant").run(setup, "bleed.py", &["confirmed"]);
        let bleed = outcome
            .findings
            .iter()
            .find(|finding| finding["kind"] == "bleed")
            .expect("a bleed");
        for fact in ["expected", "found"] {
            assert_eq!(bleed[fact]["type"], "str");
            assert!(bleed[fact].get("value").is_none(), "{bleed:?}");
        }
        assert_ne!(bleed["expected"]["hash"], bleed["found"]["hash"]);
        let squat = outcome
            .findings
            .iter()
            .find(|finding| finding["kind"] == "squat")
            .expect("a squat");
        assert_eq!(bleed["found"]["hash"], squat["found"]["hash"]);
        for finding in &outcome.findings {
            let text = ["expected", "found", "explain"]
                .map(|fact| finding[fact].to_string())
                .concat();
            assert!(!text.contains("globex") && !text.contains("\\\"acme"), "{text}");
        }
    });
}

#[test]
fn what_is_accepted_leaves_the_verdict_as_it_would_be() {
    on_main_interpreters("what_is_accepted_leaves_the_verdict_as_it_would_be", |setup| {
        let file = std::env::temp_dir().join(format!("bleedtrace-allow-{}.toml", std::process::id()));
        let run = |kinds: &[&str], site: &str| {
            let rules = kinds.iter().map(|kind| {
                format!("[[allow]]\nkind = \"{kind}\"\nsite = \"{site}\"\nreason = \"a test of {kind}\"\n")
            });
            let text = format!("[watch]\nidentity = [\"tenant\"]\n{}", rules.collect::<String>());
            std::fs::write(&file, text).expect("the configuration is written");
            let path = file.to_str().expect("a plain path");
            let (outcome, _) = Trace::configured(setup, path).run(setup, "bleed.py", &["confirmed"]);
            let allowed = outcome.summary["allowed"].as_u64();
            (outcome.verdict().to_owned(), outcome.ended.code, allowed, outcome)
        };
        let (verdict, code, allowed, outcome) = run(&["squat", "bleed"], "*/bleed.py:*");
        assert_eq!((verdict.as_str(), code, allowed), ("clean", Some(0), Some(2)));
        for finding in &outcome.findings {
            let kind = finding["kind"].as_str().unwrap_or_default();
            assert_eq!(finding["allowed"], format!("a test of {kind}"));
        }
        let (verdict, code, allowed, _) = run(&["squat"], "*/bleed.py:*");
        assert_eq!((verdict.as_str(), code, allowed), ("findings", Some(1), Some(1)));
        let (verdict, code, allowed, _) = run(&["squat", "bleed"], "*/elsewhere.py:*");
        assert_eq!((verdict.as_str(), code, allowed), ("findings", Some(1), Some(0)));
        std::fs::remove_file(&file).expect("it is ours");
    });
}
