//! Values in the wild: identities that are objects, and reads that go through a context object.

use bleedtrace_tests::{Outcome, Setup, Trace, Truth, on_every_interpreter};

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
    on_every_interpreter(test, |setup| {
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
fn structlog_reads_through_a_copy() {
    on_every_interpreter("structlog_reads_through_a_copy", |setup| {
        let Some(python) = setup.with_packages(&["structlog==25.4.0"]) else {
            return bleedtrace_tests::skip("structlog_reads_through_a_copy", "structlog cannot be installed");
        };
        let setup = Setup {
            python,
            ..setup.clone()
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
