//! Values in the wild: identities that are objects, and reads that go through a context object.

use std::{path::PathBuf, process::Command};

use bleedtrace_tests::{
    Outcome, Program, Setup, Trace, Truth, fixture, on_interpreters_that, on_main_interpreters, skip,
};

const PATH: &str = "identity.caller.tenant_id";

fn traced(
    setup: &Setup,
    watched: &str,
    flags: &[&str],
    fixture: &str,
    arguments: &[&str],
) -> (Outcome, Truth) {
    Trace::new(setup, watched)
        .revealing()
        .flags(flags)
        .run(setup, fixture, arguments)
}

#[track_caller]
fn holds(
    test: &str,
    watched: &str,
    flags: &[&str],
    fixture: &str,
    arguments: &[&str],
    expected: &[(&str, u64)],
) {
    on_main_interpreters(test, |setup| {
        let (outcome, truth) = traced(setup, watched, flags, fixture, arguments);
        outcome.assert_truth(&truth);
        for (kind, number) in expected {
            assert_eq!(outcome.count(kind), *number, "{kind}");
        }
        assert_eq!(
            outcome.findings.len() as u64,
            expected.iter().map(|(_, number)| number).sum::<u64>(),
            "findings"
        );
    });
}

const BLEED: [(&str, u64); 2] = [("squat", 1), ("bleed", 1)];
const OWN: [(&str, u64); 1] = [("squat", 1)];
const EMPTY: [(&str, u64); 1] = [("black_hole_read", 1)];

macro_rules! rows {
    ($($name:ident: $watched:expr, $flags:expr, $fixture:literal $arguments:expr => $expected:expr;)+) => {
        $(#[test] fn $name() { holds(stringify!($name), $watched, &$flags, $fixture, &$arguments, &$expected); })+
    };
}

rows! {
    a_dataclass_is_followed: PATH, [], "paths.py" ["dataclass", "differ"] => BLEED;
    equal_dataclasses_of_a_tenant_are_one_identity: PATH, [], "paths.py" ["dataclass", "equal"] => OWN;
    an_int_at_the_end_is_compared: PATH, [], "paths.py" ["dataclass", "int"] => BLEED;
    slots_are_followed: PATH, [], "paths.py" ["slots", "differ"] => BLEED;
    equal_slots_are_one_identity: PATH, [], "paths.py" ["slots", "equal"] => OWN;
    plain_objects_are_followed: PATH, [], "paths.py" ["plain", "differ"] => BLEED;
    dicts_are_followed: PATH, [], "paths.py" ["dict", "differ"] => BLEED;
    equal_dicts_are_one_identity: PATH, [], "paths.py" ["dict", "equal"] => OWN;
    a_dict_in_an_object_is_followed: PATH, [], "paths.py" ["mixed", "differ"] => BLEED;
    an_object_in_a_dict_is_followed: PATH, [], "paths.py" ["dict_of_objects", "equal"] => OWN;
    a_big_dict_is_followed: PATH, [], "paths.py" ["big_dict", "differ"] => BLEED;
    a_dict_with_odd_keys_is_followed: PATH, [], "paths.py" ["odd_keys", "differ"] => BLEED;
    a_dict_with_deleted_keys_is_followed: PATH, [], "paths.py" ["deleted_keys", "differ"] => BLEED;
    ordered_dicts_are_followed: PATH, [], "paths.py" ["ordered_dict", "differ"] => BLEED;
    namespaces_are_followed: PATH, [], "paths.py" ["namespace", "differ"] => BLEED;
    named_tuples_are_followed: PATH, [], "paths.py" ["named_tuple", "differ"] => BLEED;
    items_of_tuples_are_followed: "identity.1", [], "paths.py" ["tuple", "equal"] => OWN;
    attributes_in_a_dictionary_of_their_own_are_followed: PATH, [], "paths.py" ["changed", "differ"] => BLEED;
    attributes_of_a_materialised_dictionary_are_followed: PATH, [], "paths.py" ["looked_at", "differ"] => BLEED;
    many_attributes_are_followed: PATH, [], "paths.py" ["many", "differ"] => BLEED;
    an_attribute_that_comes_later_is_followed: PATH, [], "paths.py" ["late", "differ"] => BLEED;
    an_attribute_of_the_class_stands_in: PATH, [], "paths.py" ["default", "differ"] => BLEED;
    none_at_the_end_is_empty: PATH, [], "paths.py" ["dataclass", "none"] => EMPTY;
    a_missing_key_is_empty: PATH, [], "paths.py" ["dict", "no_key"] => EMPTY;
    a_missing_attribute_is_empty: PATH, [], "paths.py" ["plain", "no_attribute"] => EMPTY;
    a_path_that_is_cut_short_is_empty: PATH, [], "paths.py" ["dataclass", "cut"] => EMPTY;
    an_end_that_is_configured_is_empty: PATH, ["--empty", "identity.caller.tenant_id=anonymous"],
        "paths.py" ["dataclass", "configured"] => EMPTY;
    a_property_is_not_run: PATH, [], "paths.py" ["property", "differ"] => [];
    a_proxy_is_not_asked: PATH, [], "paths.py" ["proxy", "differ"] => [];
    an_empty_dict_can_be_empty: "identity", ["--empty", "{}"], "paths.py" ["value", "empty", "{}"] => EMPTY;
    an_empty_list_can_be_empty: "identity", ["--empty", "[]"], "paths.py" ["value", "empty", "[]"] => EMPTY;
    an_empty_tuple_can_be_empty: "identity", ["--empty", "()"], "paths.py" ["value", "empty", "()"] => EMPTY;
    an_empty_str_can_be_empty: "identity", ["--empty", "identity=\"\""], "paths.py" ["value", "empty", "\"\""] => EMPTY;
    empty_bytes_can_be_empty: "identity", ["--empty", "b\"\""], "paths.py" ["value", "empty", "b\"\""] => EMPTY;
    zero_can_be_empty: "identity", ["--empty", "0"], "paths.py" ["value", "empty", "0"] => EMPTY;
    a_sentinel_can_be_empty: "identity", ["--empty", "<Sentinel>"], "paths.py" ["value", "empty", "sentinel"] => EMPTY;
}

rows! {
    get_through_a_copy_is_a_read: "tenant", [], "context_reads.py" ["get"] => BLEED;
    a_subscript_of_a_copy_is_a_read: "tenant", [], "context_reads.py" ["subscript"] => BLEED;
    items_of_a_copy_are_reads: "tenant", [], "context_reads.py" ["items"] => BLEED;
    values_of_a_copy_are_reads: "tenant", [], "context_reads.py" ["values"] => BLEED;
    a_copy_that_fell_behind_is_not_judged: "tenant", [], "context_reads.py" ["changed"] => OWN;
    another_context_is_not_judged: "tenant", [], "context_reads.py" ["foreign"] => OWN;
    asking_whether_it_is_there_is_no_read: "tenant", [], "context_reads.py" ["membership"] => OWN;
    a_default_of_the_call_is_empty: "tenant", [], "context_reads.py" ["default"] => EMPTY;
    a_lookup_error_is_empty: "tenant", [], "context_reads.py" ["error"] => EMPTY;
}

#[test]
fn callers_in_c_are_seen() {
    let test = "callers_in_c_are_seen";
    on_main_interpreters(test, |setup| {
        let import = setup.command().args(["-c", "import _decimal"]).output();
        if !import.is_ok_and(|output| output.status.success()) {
            return skip(test, "its decimal is written in Python");
        }
        let (outcome, truth) = traced(setup, "decimal_context", &[], "decimal_caller.py", &[]);
        outcome.assert_truth(&truth);
        let counts = ["black_hole_read", "squat", "bleed"].map(|kind| outcome.count(kind));
        assert_eq!(counts, [1, 1, 1]);
    });
}

#[test]
fn structlog_reads_through_a_copy() {
    on_main_interpreters("structlog_reads_through_a_copy", |setup| {
        let Some(setup) = setup.with_requirements("pools") else {
            return skip(
                "structlog_reads_through_a_copy",
                "no packages of requirements/pools.txt",
            );
        };
        let watched = "structlog_tenant";
        let (outcome, _) = traced(&setup, watched, &[], "structlog_reads.py", &["bleed"]);
        assert_eq!(outcome.count("bleed"), 1);
        let bleed = outcome
            .findings
            .iter()
            .find(|finding| finding["kind"] == "bleed")
            .expect("a bleed");
        let stack = bleed["read"]["stack"].to_string();
        assert!(stack.contains("structlog/contextvars.py"), "{bleed:?}");
        assert_eq!(bleed["expected"]["value"], "\"globex\"");
        let (outcome, _) = traced(&setup, watched, &[], "structlog_reads.py", &["correct"]);
        assert_eq!(outcome.findings.len(), 0);
    });
}

/// Work was handed over, and nothing in it could be judged: that is no proof.
#[test]
fn a_program_of_unknown_types_proves_nothing() {
    holds(
        "a_program_of_unknown_types_proves_nothing",
        "identity.tenant_id",
        &[],
        "unresolved.py",
        &[],
        &[],
    );
}

#[test]
fn what_begins_like_another_variable_is_a_variable_of_its_own() {
    on_main_interpreters(
        "what_begins_like_another_variable_is_a_variable_of_its_own",
        |setup| {
            let (outcome, truth) = traced(
                setup,
                "app",
                &["--identity", "app.tenant"],
                "two_paths.py",
                &["dotted"],
            );
            outcome.assert_truth(&truth);
            for finding in &outcome.findings {
                let of = if finding["kind"] == "black_hole_read" {
                    "app"
                } else {
                    "app.tenant"
                };
                assert_eq!(finding["slot"], of, "{finding:?}");
            }
        },
    );
}

/// What was configured and is not watched is never passed over in silence.
#[test]
fn a_path_that_cannot_be_followed_leaves_no_verdict() {
    let rows: [(&str, &[&str], &str); 3] = [
        ("v0.tenant", &["--identity", "v0.user"], "paths"),
        ("v0", &["--identity", "v0.user"], "paths"),
        (
            "v0.tenant",
            &[
                "--identity",
                "v1.tenant",
                "--identity",
                "v2.tenant",
                "--identity",
                "v3.tenant",
            ],
            "many",
        ),
    ];
    let test = "a_path_that_cannot_be_followed_leaves_no_verdict";
    on_interpreters_that(
        test,
        |interpreter| interpreter.minor >= 9,
        |setup| {
            for (watched, flags, case) in rows {
                let (outcome, truth) = traced(setup, watched, flags, "two_paths.py", &[case]);
                outcome.assert_truth(&truth);
                let left_out = flags[flags.len() - 1];
                let message = outcome.summary["reasons"][0]["message"].to_string();
                assert!(message.contains(left_out), "{message}");
            }
        },
    );
}

#[test]
fn paths_lead_on_from_what_was_bound_before_anybody_looked() {
    on_main_interpreters(
        "paths_lead_on_from_what_was_bound_before_anybody_looked",
        |setup| {
            for (left, bleeds) in [("acme", 1), ("globex", 0)] {
                let mut target = Program::fixture(setup, "attached_path.py", &[left]);
                target.wait_for("ready");
                let trace = Trace::new(setup, PATH).revealing().attach(target.pid());
                target.say("go on");
                let truth = Truth::parse(&target.end().stdout);
                let outcome = trace.end();
                outcome.assert_truth(&truth);
                assert_eq!(outcome.count("bleed"), bleeds);
            }
        },
    );
}

#[test]
fn pydantic_models_are_followed() {
    let test = "pydantic_models_are_followed";
    let with_wheels = |minor| [12, 13].contains(&minor);
    on_interpreters_that(
        test,
        |one| with_wheels(one.minor) && one.root.is_none(),
        |setup| {
            let Some(setup) = &setup.with_requirements("pools") else {
                return skip(test, "no packages of requirements/pools.txt");
            };
            for (case, bleeds) in [("differ", 1), ("equal", 0)] {
                let (outcome, truth) = traced(setup, PATH, &[], "pydantic_model.py", &[case]);
                outcome.assert_truth(&truth);
                assert_eq!((outcome.count("bleed"), outcome.count("squat")), (bleeds, 1));
            }
        },
    );
}

/// A folder with the extension module, compiled for this interpreter; none without a compiler or the interpreter's headers.
fn native(setup: &Setup) -> Option<PathBuf> {
    // In a root of its own it does not see the folder.
    if setup.interpreter.root.is_some() {
        return None;
    }
    let print = "import sysconfig; print(sysconfig.get_paths()['include'])";
    let headers = setup.command().args(["-c", print]).output().ok()?;
    let headers = String::from_utf8(headers.stdout).ok()?;
    let folder = std::env::temp_dir().join(format!(
        "bleedtrace-native-{}-{}",
        std::process::id(),
        setup.minor()
    ));
    std::fs::create_dir_all(&folder).ok()?;
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-I", headers.trim(), "-o"])
        .arg(folder.join("native.so"))
        .arg(fixture("native.c"))
        .status();
    compiled.is_ok_and(|status| status.success()).then_some(folder)
}

#[test]
fn extension_modules_read_and_bind_for_the_python_function_that_calls_them() {
    let test = "extension_modules_read_and_bind_for_the_python_function_that_calls_them";
    on_main_interpreters(test, |setup| {
        let Some(folder) = native(setup) else {
            return skip(test, "no C compiler, or no headers");
        };
        let argument = folder.to_str().expect("a path in UTF-8");
        let (outcome, truth) = traced(setup, "tenant", &[], "native.py", &[argument]);
        let _ = std::fs::remove_dir_all(&folder);
        outcome.assert_truth(&truth);
        let counts = ["squat", "bleed", "black_hole_read"].map(|kind| outcome.count(kind));
        assert_eq!(counts, [1, 1, 1]);
    });
}

/// 3.14 can start threads with a copy of the starter's context, and does without a GIL; whoever starts a pool's thread then lends it an identity.
#[test]
fn a_thread_that_inherits_a_context_bleeds_it() {
    let test = "a_thread_that_inherits_a_context_bleeds_it";
    on_interpreters_that(
        test,
        |interpreter| interpreter.minor >= 14,
        |setup| {
            let mut words = setup.interpreter.words();
            if !setup.interpreter.free_threaded {
                words.extend(["-X", "thread_inherit_context=1"].map(PathBuf::from));
            }
            words.push(setup.fixture("inherited.py"));
            let outcome = Trace::new(setup, "tenant").revealing().command(words).end();
            let truth = Truth::parse(&outcome.ended.stdout);
            outcome.assert_truth(&truth);
            assert_eq!((outcome.count("bleed"), outcome.count("squat")), (1, 0));
            assert_eq!(outcome.findings[0]["source"], "inherited");
        },
    );
}
