//! The ways in which programs receive and send: what goes by is read, or it is said that something went by, and nothing is made up.

use std::{collections::BTreeMap, process::Command};

use bleedtrace_tests::{
    Certificate, Outcome, Program, Setup, Trace, on_every_interpreter, on_main_interpreters, skip,
};

type Counted = BTreeMap<String, u64>;

/// Ways of which the wire is read.
const SEEN: [&str; 7] = [
    "SendmsgList",
    "SendmsgTuple",
    "Writev",
    "Descriptor",
    "File",
    "loop",
    "lines",
];
/// Ways of which it is said that something is missing.
const SAID: [&str; 9] = [
    "Sendfile",
    "Sendto",
    "SendmsgOfGenerator",
    "SendmsgOfMany",
    "Recvmsg",
    "RecvmsgInto",
    "Recvfrom",
    "RecvfromInto",
    "Readv",
];

/// Mints and polls are those that the server counted; gives how many messages could not be read.
#[track_caller]
fn counts(outcome: &Outcome) -> u64 {
    let last = outcome.ended.stdout.lines().last().unwrap_or_default();
    let counted: Counted = serde_json::from_str(last)
        .unwrap_or_else(|error| panic!("the server did not count ({error}):\n{}", outcome.ended.stderr));
    assert!(counted["attributed"] > 0, "{counted:?}");
    for (table, names) in [
        (
            "tasks",
            ["attributed", "unattributed", "misattributed", "unknown"],
        ),
        ("polls", ["served", "refused", "foreign_served", "owner_refused"]),
    ] {
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
    let findings = ["foreign_served", "owner_refused"].map(|name| counted.get(name).copied().unwrap_or(0));
    assert_eq!(outcome.findings.len() as u64, findings.iter().sum::<u64>());
    let unparsed = outcome.summary["unparsed"].as_object().expect("the wire is read");
    unparsed
        .values()
        .map(|number| number.as_u64().expect("a number"))
        .sum()
}

fn run(setup: &Setup, way: &str) -> Outcome {
    Trace::new(setup, "tenant")
        .flags(["--wire"])
        .start(setup, "wire_ways.py", &[way, "3"])
        .end()
}

#[test]
fn what_is_sent_in_usual_ways_is_read() {
    on_every_interpreter("what_is_sent_in_usual_ways_is_read", |setup| {
        for way in SEEN {
            assert_eq!(counts(&run(setup, way)), 0, "{way}");
        }
    });
}

macro_rules! servers {
    ($($name:ident: $kind:literal $tls:literal;)+) => {
        $(#[test] fn $name() {
            is_read(stringify!($name), $kind, $tls);
        })+
    };
}

/// Servers as people run them, each in a process of its own.
fn is_read(test: &str, kind: &str, tls: bool) {
    let certificate = tls.then(|| Certificate::new(test));
    let path = certificate.as_ref().map(Certificate::path);
    let arguments: Vec<&str> = [kind, "5"].into_iter().chain(path).collect();
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements("servers") else {
            return skip(test, "no packages of requirements/servers.txt");
        };
        let outcome = Trace::new(&setup, "tenant")
            .flags(["--wire"])
            .start(&setup, "packages/task_servers.py", &arguments)
            .end();
        assert_eq!(counts(&outcome), 0, "{:?}", outcome.summary);
    });
}

servers! {
    uvicorn: "uvicorn" false;
    uvicorn_with_tls: "uvicorn" true;
    uvloop: "uvloop" false;
    uvloop_with_tls: "uvloop" true;
    hypercorn: "hypercorn" false;
    hypercorn_with_tls: "hypercorn" true;
    gunicorn: "gunicorn" false;
    gunicorn_with_tls: "gunicorn" true;
    gunicorn_with_threads: "gthread" false;
    aiohttp: "aiohttp" false;
    aiohttp_in_chunks: "aiohttp-chunked" false;
}

/// A server that is no Python has sockets of its own. Nothing is seen, and that is said.
#[test]
fn granian_is_not_read() {
    let test = "granian_is_not_read";
    on_main_interpreters(test, |setup| {
        let Some(setup) = setup.with_requirements("servers") else {
            return skip(test, "no packages of requirements/servers.txt");
        };
        let mut command = Command::new(&setup.bleedtrace);
        command
            .args(["trace", "--identity", "tenant", "--wire", "--"])
            .args(setup.interpreter.words())
            .arg(setup.fixture("packages/task_servers.py"))
            .args(["granian", "5"]);
        let ended = Program::start(&mut command).end();
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        for said in [
            "not read through granian",
            "no message of HTTP or JSON-RPC was seen",
        ] {
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
    });
}

#[test]
fn what_goes_by_unread_is_said() {
    on_every_interpreter("what_goes_by_unread_is_said", |setup| {
        for way in SAID {
            let outcome = run(setup, way);
            assert!(counts(&outcome) > 0, "{way}: nothing was said");
            assert_eq!(
                outcome.number("unparsed", "lost"),
                9,
                "{way}: each of them is said"
            );
        }
    });
}
