//! The wire as a second witness: every mint and every poll of real servers, as those servers know them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use bleedtrace_tests::{
    Certificate, EMPTY_CONTEXTS, Outcome, Program, Setup, Trace, on_every_interpreter, on_main_interpreters,
    skip,
};

/// What a server counted, by the names that the summary has for it.
type Counted = BTreeMap<String, u64>;

/// How mints end up in the summary, and polls.
const TASKS: [&str; 4] = ["attributed", "unattributed", "misattributed", "unknown"];
const POLLS: [&str; 4] = ["served", "refused", "foreign_served", "owner_refused"];
/// Counts that are findings, each one.
const FINDINGS: [(&str, &str); 4] = [
    ("unattributed", "unattributed_task"),
    ("misattributed", "misattributed_task"),
    ("foreign_served", "foreign_poll"),
    ("owner_refused", "owner_refused"),
];

fn run(setup: &Setup, variable: &str, fixture: &str, arguments: &[&str]) -> (Outcome, Counted) {
    let outcome = Trace::new(setup, variable)
        .flags(["--wire"])
        .start(setup, fixture, arguments)
        .end();
    let last = outcome.ended.stdout.lines().last().unwrap_or_default();
    let counted = serde_json::from_str(last).unwrap_or_else(|error| {
        panic!(
            "the server did not count ({error}):\n{}\n{}",
            outcome.ended.stdout, outcome.ended.stderr
        )
    });
    (outcome, counted)
}

/// Every mint and every poll is as the server counted it, nothing was lost, and nothing could not be read.
#[track_caller]
fn assert_exact(outcome: &Outcome, counted: &Counted) {
    let of = |name: &str| counted.get(name).copied().unwrap_or(0);
    for (table, names) in [("tasks", TASKS), ("polls", POLLS)] {
        for name in names {
            assert_eq!(
                outcome.number(table, name),
                of(name),
                "{table}.{name}: {:?}",
                outcome.summary
            );
        }
    }
    for (name, kind) in FINDINGS {
        assert_eq!(outcome.count(kind), of(name), "{kind}");
    }
    let nothing = |table: &serde_json::Value| {
        table
            .as_object()
            .is_some_and(|table| table.values().all(|n| *n == 0))
    };
    assert!(nothing(&outcome.summary["unparsed"]), "{:?}", outcome.summary);
    assert!(
        nothing(&outcome.summary["events"]["lost"]),
        "{:?}",
        outcome.summary
    );
    let found = outcome.findings.len();
    assert_eq!(
        outcome.ended.code == Some(1),
        found > 0,
        "{}",
        outcome.ended.stderr
    );
}

/// The same of a server on packages.
fn is_exact_on(test: &str, requirements: &str, variable: &str, fixture: &str, arguments: &[&str]) {
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements(requirements) else {
            return skip(test, &format!("no packages of requirements/{requirements}.txt"));
        };
        let (outcome, counted) = run(&setup, variable, fixture, arguments);
        assert!(counted["attributed"] > 0 && counted["served"] > 0, "{counted:?}");
        assert_exact(&outcome, &counted);
    });
}

macro_rules! packages {
    ($($name:ident: $requirements:literal $variable:literal $fixture:literal $arguments:expr;)+) => {
        $(#[test] fn $name() {
            is_exact_on(stringify!($name), $requirements, $variable, $fixture, &$arguments);
        })+
    };
}

packages! {
    the_sdk_answers_with_json: "mcp-1.30.0" "tenant" "packages/mcp_tasks.py" ["210", "16", "asyncio", "json"];
    the_sdk_answers_with_events: "mcp-1.30.0" "tenant" "packages/mcp_tasks.py" ["210", "16", "asyncio", "events"];
    an_older_sdk_answers_with_events: "mcp-1.26.0" "tenant" "packages/mcp_tasks.py" ["210", "16", "asyncio", "events"];
    the_sdk_on_uvloop_answers_with_json: "mcp-1.30.0" "tenant" "packages/mcp_tasks.py" ["210", "16", "uvloop", "json"];
    the_sdk_on_uvloop_answers_with_events: "mcp-1.30.0" "tenant" "packages/mcp_tasks.py" ["210", "16", "uvloop", "events"];
    five_thousand_requests_of_twenty_tenants: "mcp-1.30.0" "tenant" "packages/mcp_tasks.py" ["2150", "64", "asyncio", "json"];
    fastmcp_keeps_tasks_for_their_owners: "fastmcp-4.1.1" "fastmcp_request_ctx" "packages/fastmcp_service.py" ["12"];
}

/// mcp-hangar in front of an upstream that mints. Its handlers bind whose a request is in a context of their own, and it is answered from
/// another one, in which nobody is bound: that both belong to one request is known by their tasks.
#[test]
fn a_front_door_keeps_tasks_for_their_owners() {
    let test = "a_front_door_keeps_tasks_for_their_owners";
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements("mcp-hangar-2.34.4") else {
            return skip(test, "no packages of requirements/mcp-hangar-2.34.4.txt");
        };
        let (outcome, counted) = run(&setup, "identity_context", "packages/hangar_front.py", &["6"]);
        assert!(counted["attributed"] > 0 && counted["refused"] > 0, "{counted:?}");
        assert_exact(&outcome, &counted);
        assert_eq!(outcome.verdict(), "clean");
    });
}

fn is_exact(test: &str, kind: &str, generation: &str) {
    let certificate = Certificate::new(test);
    let path = certificate.path();
    on_every_interpreter(test, |setup| {
        setup.interpreter.share(Path::new(path));
        let (outcome, counted) = run(setup, "tenant", "wire.py", &[kind, generation, "5", path]);
        assert!(counted["attributed"] > 0 && counted["served"] > 0, "{counted:?}");
        assert_exact(&outcome, &counted);
    });
}

#[test]
fn handles_in_the_result_over_asyncio() {
    is_exact("handles_in_the_result_over_asyncio", "asyncio", "flat");
}

#[test]
fn handles_below_the_result_over_asyncio() {
    is_exact("handles_below_the_result_over_asyncio", "asyncio", "nested");
}

/// What the inventory says of tasks: how many came about with this attribution, and how polls of them ended.
fn lives(setup: &Setup, arguments: &[&str]) -> (Counted, Counted) {
    let file = std::env::temp_dir().join(format!("bleedtrace-lives-{}", std::process::id()));
    let mut command = Command::new(&setup.bleedtrace);
    command
        .env(EMPTY_CONTEXTS.0, EMPTY_CONTEXTS.1)
        .args([
            "hops",
            "--identity",
            "tenant",
            "--wire",
            "--format",
            "json",
            "--output",
        ])
        .arg(&file)
        .arg("--")
        .arg(&setup.interpreter.python)
        .arg(setup.fixture("wire.py"))
        .args(arguments);
    let ended = Program::start(&mut command).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let counted = serde_json::from_str(ended.stdout.lines().last().unwrap_or_default());
    let text = fs::read_to_string(&file).expect("it was written");
    fs::remove_file(&file).expect("it is ours");
    let mut told = Counted::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if line["type"] == "task" {
            let attribution = line["life"]["attribution"].as_str().expect("a name").to_owned();
            let read = &line["life"]["read"]["result"];
            match attribution.as_str() {
                "attributed" => assert_eq!(read, "own"),
                "unattributed" => assert_eq!(read, "empty"),
                "misattributed" => {
                    assert_eq!(read, "foreign");
                    assert_eq!(line["life"]["hop"]["primitive"], "submit");
                }
                _ => assert!(read.is_null(), "{line}"),
            }
            *told.entry(attribution).or_default() += line["count"].as_u64().expect("a number");
            for (outcome, count) in line["polls"].as_object().expect("outcomes") {
                *told.entry(outcome.clone()).or_default() += count.as_u64().expect("a number");
            }
        }
    }
    (told, counted.expect("the server counts"))
}

#[test]
fn the_lives_of_tasks_are_drawn() {
    on_main_interpreters("the_lives_of_tasks_are_drawn", |setup| {
        let (told, counted) = lives(setup, &["asyncio", "flat", "5"]);
        assert!(counted["misattributed"] > 0 && counted["foreign_served"] > 0);
        assert_eq!(told, counted);
    });
}

#[test]
fn handles_over_tls() {
    is_exact("handles_over_tls", "tls", "flat");
}

#[test]
fn handles_over_threads() {
    is_exact("handles_over_threads", "threads", "nested");
}

#[test]
fn handles_over_pipes() {
    is_exact("handles_over_pipes", "stdio", "flat");
}

/// One row of its fixture; gives the outcome.
#[track_caller]
fn row(setup: &Setup, name: &str, flags: &[&str]) -> Outcome {
    let outcome = Trace::new(setup, "tenant")
        .flags(["--wire"])
        .flags(flags)
        .start(setup, "wire_rows.py", &[name])
        .end();
    let last = outcome.ended.stdout.lines().last().unwrap_or_default();
    let counted: Counted = serde_json::from_str(last).expect("the row counts");
    for (table, names) in [("tasks", TASKS), ("polls", POLLS)] {
        for name in names {
            let expected = counted.get(name).copied().unwrap_or(0);
            assert_eq!(
                outcome.number(table, name),
                expected,
                "{table}.{name}: {:?}",
                outcome.summary
            );
        }
    }
    for (name, kind) in FINDINGS {
        assert_eq!(
            outcome.count(kind),
            counted.get(name).copied().unwrap_or(0),
            "{kind}"
        );
    }
    assert_eq!(outcome.number("events", "lost"), 0);
    outcome
}

#[test]
fn a_refreshed_token_is_of_the_same_owner() {
    on_main_interpreters("a_refreshed_token_is_of_the_same_owner", |setup| {
        assert!(row(setup, "refreshed", &[]).findings.is_empty());
    });
}

#[test]
fn workers_of_one_service_know_the_same_tasks() {
    on_main_interpreters("workers_of_one_service_know_the_same_tasks", |setup| {
        let outcome = row(setup, "forked", &[]);
        assert_eq!(outcome.findings[0]["confidence"], "confirmed");
    });
}

/// What cannot be read is counted by its reason, and what is between it is read.
#[test]
fn garbage_on_the_wire_is_counted() {
    on_main_interpreters("garbage_on_the_wire_is_counted", |setup| {
        let outcome = row(setup, "hostile", &[]);
        for reason in ["bad_head", "bad_json", "bad_length", "cut", "encoded", "head_cut"] {
            assert!(
                outcome.number("unparsed", reason) >= 3,
                "{reason}: {:?}",
                outcome.summary["unparsed"]
            );
        }
    });
}

#[test]
fn odd_messages_are_read_or_counted() {
    on_main_interpreters("odd_messages_are_read_or_counted", |setup| {
        let outcome = row(setup, "odd", &[]);
        assert!(outcome.findings.is_empty());
        // A request and a response that are compressed; a folded line, a zero byte; two lengths, another coding.
        for (reason, times) in [("encoded", 2), ("bad_head", 2), ("bad_length", 2)] {
            assert_eq!(
                outcome.number("unparsed", reason),
                times,
                "{reason}: {:?}",
                outcome.summary["unparsed"]
            );
        }
    });
}

#[test]
fn thousands_of_open_tasks_are_known() {
    on_main_interpreters("thousands_of_open_tasks_are_known", |setup| {
        row(setup, "opened", &[]);
    });
}

/// By the name of the function that mints, by the wire, or by both: it is one mint.
#[test]
fn a_mint_is_told_once() {
    on_main_interpreters("a_mint_is_told_once", |setup| {
        for flags in [&[][..], &["--mint", "*TaskStore.create_task"]] {
            let outcome = row(setup, "pattern", flags);
            assert_eq!(outcome.findings.len(), 5);
            let site = &outcome.findings[0]["task"]["site"]["function"];
            assert_eq!(
                site.is_null(),
                flags.is_empty(),
                "the pattern knows where: {site}"
            );
        }
    });
}

#[test]
fn long_credentials_and_bodies_in_pieces() {
    on_main_interpreters("long_credentials_and_bodies_in_pieces", |setup| {
        let outcome = row(setup, "large", &[]);
        assert!(
            outcome
                .findings
                .iter()
                .all(|finding| finding["confidence"] == "confirmed")
        );
        let text = format!("{:?} {:?}", outcome.findings, outcome.ended.stderr);
        assert!(
            !text.contains("Bearer") && !text.contains("c2ln"),
            "no credential leaves the tracer"
        );
    });
}

/// Without `--wire` nothing of it is attached, and no poll is counted.
#[test]
fn what_is_not_asked_for_is_not_read() {
    on_main_interpreters("what_is_not_asked_for_is_not_read", |setup| {
        let outcome = Trace::new(setup, "tenant")
            .start(setup, "wire.py", &["asyncio", "flat", "1"])
            .end();
        assert!(outcome.summary["polls"].is_null() && outcome.summary["unparsed"].is_null());
        for (_, kind) in FINDINGS {
            assert_eq!(outcome.count(kind), 0, "{kind}");
        }
    });
}
