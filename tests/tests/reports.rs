//! Reports of what is traced: as its recording has them, and with a baseline of what is known.

use std::{fs, process::Command};

use bleedtrace_tests::{Ended, Folder, Program, Setup, once};
use serde_json::{Value, json};

/// Runs `bleedtrace` over a program that hands work over at so many places.
fn run(setup: &Setup, arguments: &[&str], sites: u64) -> Ended {
    Program::start(
        Command::new(&setup.bleedtrace)
            .args(arguments)
            .args(["--identity", "tenant", "--"])
            .arg(&setup.interpreter.python)
            .arg(setup.fixture("many_sites.py"))
            .arg(sites.to_string()),
    )
    .end()
}

#[track_caller]
fn json(file: &str) -> Value {
    let text = fs::read_to_string(file).expect("it was written");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_report_of_a_recording_is_that_of_its_run() {
    once("a_report_of_a_recording_is_that_of_its_run", |setup| {
        let folder = Folder::new("reports-recorded");
        let [recording, live, replayed] =
            ["run.bleed", "live.json", "replayed.json"].map(|name| folder.file(name));
        let ended = run(setup, &["record", "-o", &recording, "--report", &live], 8);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let again =
            Program::start(Command::new(&setup.bleedtrace).args(["report", &recording, "-o", &replayed]))
                .end();
        assert_eq!((again.code, &*again.stderr), (Some(1), ""));
        let (mut live, replayed) = (json(&live), json(&replayed));
        assert_eq!(replayed["about"]["recording"], "run.bleed");
        live["about"]["recording"] = json!("run.bleed");
        assert_eq!(live, replayed);
        let findings = &live["summary"]["findings"];
        assert_eq!(
            (
                &findings["bleed"],
                &findings["black_hole_read"],
                &findings["squat"]
            ),
            (&json!(4), &json!(4), &json!(1))
        );
        // What is left behind and who reads it is one cause; each place that carries nothing along is its own.
        let causes = live["causes"].as_array().expect("causes");
        assert_eq!(causes[0]["count"], 5, "{}", causes[0]);
        assert_eq!(causes.len(), 5);
        let danger = |name: &str| {
            live["hops"]
                .as_array()
                .expect("sites")
                .iter()
                .filter(|line| line["danger"] == name)
                .count()
        };
        assert_eq!((danger("bleeds"), danger("loses")), (4, 4), "{}", live["hops"]);
    });
}

#[test]
fn a_trace_fails_for_what_is_new_only() {
    once("a_trace_fails_for_what_is_new_only", |setup| {
        let folder = Folder::new("reports-baseline");
        let [baseline, report] = ["baseline.json", "report.json"].map(|name| folder.file(name));
        let first = run(setup, &["trace", "--write-baseline", &baseline], 8);
        assert_eq!(first.code, Some(1), "{}", first.stderr);
        let with = ["trace", "--baseline", &baseline, "--report", &report];
        let same = run(setup, &with, 8);
        assert_eq!(same.code, Some(0), "{}", same.stderr);
        let told = json(&report);
        assert_eq!(
            (&told["summary"]["verdict"], &told["summary"]["allowed"]),
            (&json!("clean"), &json!(9))
        );
        let more = run(setup, &with, 12);
        assert_eq!(
            more.code,
            Some(0),
            "a line is no part of what is known: {}",
            more.stderr
        );
        let mut known = json(&baseline);
        known["accepted"]
            .as_array_mut()
            .expect("entries")
            .retain(|entry| entry["kind"] != "squat");
        fs::write(&baseline, known.to_string()).expect("ours");
        let new = run(setup, &with, 8);
        assert_eq!(new.code, Some(1), "{}", new.stderr);
        let told = json(&report);
        assert_eq!(
            (&told["summary"]["findings"]["squat"], &told["summary"]["allowed"]),
            (&json!(1), &json!(8))
        );
        let accepted = fs::read_to_string(&baseline)
            .expect("it is there")
            .replace("\"kind\":\"bleed\"", "\"kind\":\"squat\"");
        fs::write(&baseline, accepted).expect("ours");
        let refused = run(setup, &with, 8);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("its fingerprint is not that of its kind"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn a_report_says_that_nothing_was_traced() {
    once("a_report_says_that_nothing_was_traced", |setup| {
        let folder = Folder::new("reports-nothing");
        let file = folder.file("report.md");
        let ended =
            Program::start(Command::new(&setup.bleedtrace).args(["trace", "--report", &file, "--", "true"]))
                .end();
        let text = fs::read_to_string(&file).expect("it was written");
        assert!(
            matches!(ended.code, Some(3 | 4)),
            "{:?}: {}",
            ended.code,
            ended.stderr
        );
        assert!(text.starts_with("## bleedtrace: no verdict"), "{text}");
    });
}
