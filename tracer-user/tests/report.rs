//! `bleedtrace report` on the recording that is at hand: each form, against its schema and as it was before. None of this needs privileges.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use serde_json::Value;
use uppsala::{XsdValidator, parse};

fn here(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn bleedtrace(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("bleedtrace").expect("the program is built");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BLEEDTRACE_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("it runs")
}

/// Reports on the recording.
fn report(arguments: &[&str]) -> Output {
    let recording = here("recordings/version-1.bleed");
    let recording = recording.to_str().expect("a path in UTF-8");
    bleedtrace(&[&["report", recording], arguments].concat())
}

/// The same, on stdout, in this form.
fn written(form: &str, more: &[&str]) -> String {
    let output = report(&[&["--format", form], more].concat());
    assert_eq!(output.status.code(), Some(1), "there are findings");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// What was written, whatever version of the program wrote it.
fn of_any_version(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[track_caller]
fn assert_schema(schema: &str, document: &str) {
    let schema = fs::read_to_string(here("schemas").join(schema)).expect("it is there");
    // A bracket that closes nothing: JavaScript takes it for itself, and the standard's authors did.
    let schema = schema.replace("{2}]?$", "{2}\\\\]?$");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let document: Value = serde_json::from_str(document).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> = validator
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let broken = document.to_string().replacen("ruleId", "rule", 1);
    let broken: Value = serde_json::from_str(&broken).expect("JSON");
    assert!(!validator.is_valid(&broken), "the schema accepts anything");
}

#[test]
fn text_is_as_before() {
    insta::assert_snapshot!(of_any_version(&written("text", &[])));
}

#[test]
fn json_is_as_before() {
    let json = written("json", &[]);
    let report: Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(report["causes"][0]["effects"][0]["finding"]["kind"], "bleed");
    insta::assert_snapshot!(of_any_version(&json));
}

#[test]
fn markdown_is_as_before() {
    insta::assert_snapshot!(of_any_version(&written("markdown", &[])));
}

#[test]
fn sarif_is_as_before_and_what_the_schema_says() {
    let sarif = written("sarif", &["--source-root", "/srv=src"]);
    assert_schema("sarif-2.1.0.json", &sarif);
    insta::assert_snapshot!(of_any_version(&sarif));
}

#[test]
fn junit_is_as_before_and_what_the_schema_says() {
    let junit = written("junit", &[]);
    let schema = fs::read_to_string(here("schemas/junit.xsd")).expect("it is there");
    let schema = parse(&schema).expect("XML");
    let validator = XsdValidator::from_schema(&schema).expect("a schema");
    // The schema is older than the count of skipped tests of all suites together, which readers of today show.
    let of_then = junit.replacen(" skipped=\"0\"", "", 1);
    let errors = validator.validate(&parse(&of_then).expect("XML"));
    assert!(errors.is_empty(), "{errors:?}");
    let broken = junit.replacen("<testcase name=", "<testcase title=", 1);
    assert!(!validator.validate(&parse(&broken).expect("XML")).is_empty());
    insta::assert_snapshot!(junit);
}

#[test]
fn the_same_recording_gives_the_same_report() {
    for form in ["html", "text", "json", "markdown", "sarif", "junit"] {
        assert_eq!(written(form, &[]), written(form, &[]), "{form}");
    }
}

#[test]
fn a_report_agrees_with_the_replay() {
    let recording = here("recordings/version-1.bleed");
    let replay = bleedtrace(&["replay", recording.to_str().expect("UTF-8"), "--format", "json"]);
    let replay = String::from_utf8(replay.stdout).expect("text");
    let summary: Value = serde_json::from_str(replay.lines().last().expect("a summary")).expect("JSON");
    let report: Value = serde_json::from_str(&written("json", &[])).expect("JSON");
    for (name, value) in report["summary"].as_object().expect("an object") {
        assert_eq!(value, &summary[name], "{name}");
    }
}

#[test]
fn several_files_each_in_the_form_of_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let names = ["a.sarif", "b.xml", "c.md", "d.json", "e.txt", "f.html"].map(file);
    fs::write(
        &names[2],
        "what was there before, and longer than what comes: ".repeat(1000),
    )
    .expect("ours");
    let arguments: Vec<_> = names.iter().flat_map(|name| ["-o", name]).collect();
    let output = report(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    for (name, form) in names
        .iter()
        .zip(["sarif", "junit", "markdown", "json", "text", "html"])
    {
        assert_eq!(
            fs::read_to_string(name).expect("it is there"),
            written(form, &[]),
            "{name}"
        );
    }
    let said = |output: Output| String::from_utf8(output.stderr).expect("text");
    let refused = report(&["-o", &file("report.doc")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(refused).contains("does not say in which form the report is to be\nhint: end it in"));
    let refused = report(&["-o", "/nonexistent/report.md"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(refused).contains("failed to create the report /nonexistent/report.md"));
}

fn accepted(path: &Path, arguments: &[&str]) -> Output {
    let path = path.to_str().expect("UTF-8");
    report(&[&["--baseline", path, "--format", "json"], arguments].concat())
}

#[test]
fn a_baseline_accepts_what_it_was_written_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let baseline = folder.path().join("baseline.json");
    let path = baseline.to_str().expect("UTF-8");
    let first = report(&["--write-baseline", path]);
    assert_eq!(
        first.status.code(),
        Some(1),
        "this run is judged as it would be without"
    );
    let text = fs::read_to_string(&baseline).expect("it is there");
    assert!(!text.contains("c537ea62"), "no value is in it: {text}");

    let output = accepted(&baseline, &[]);
    // What was lost in the recording still leaves it without a verdict.
    assert_eq!(output.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["summary"]["verdict"], "no_verdict");
    assert_eq!(report["summary"]["allowed"], 3);
    for cause in report["causes"].as_array().expect("causes") {
        assert_eq!(cause["accepted"], true);
        assert_eq!(
            cause["effects"][0]["finding"]["allowed"],
            "accepted by the baseline"
        );
    }
    assert_eq!(report["unmet"], Value::Array(Vec::new()));

    // Files of other names are other faults.
    let moved = text.replace("app.py", "other.py");
    fs::write(&baseline, &moved).expect("ours");
    let refused = accepted(&baseline, &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(
        said.contains("its fingerprint is not that of its kind, slot and sites\nhint: "),
        "{said}"
    );
}

#[test]
fn what_is_not_in_the_baseline_still_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let baseline = folder.path().join("baseline.json");
    report(&["--write-baseline", baseline.to_str().expect("UTF-8")]);
    let mut document: Value =
        serde_json::from_slice(&fs::read(&baseline).expect("it is there")).expect("JSON");
    let entries = document["accepted"].as_array_mut().expect("entries");
    entries.retain(|entry| entry["kind"] != "bleed");
    entries[0]["reason"] = "a cache of connections".into();
    fs::write(&baseline, document.to_string()).expect("ours");

    let output = accepted(&baseline, &[]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["summary"]["allowed"], 2);
    assert_eq!(report["summary"]["findings"]["bleed"], 1);
    assert_eq!(report["causes"][0]["accepted"], false);
    assert_eq!(
        accepted(&baseline, &["--fail-on", "squat"]).status.code(),
        Some(4)
    );

    let sarif = self::report(&[
        "--baseline",
        baseline.to_str().expect("UTF-8"),
        "--format",
        "sarif",
    ]);
    let sarif = String::from_utf8(sarif.stdout).expect("text");
    assert_schema("sarif-2.1.0.json", &sarif);
    let sarif: Value = serde_json::from_str(&sarif).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let suppressed: Vec<_> = results
        .iter()
        .filter(|result| result["suppressions"][0]["status"] == "accepted")
        .collect();
    assert_eq!((results.len(), suppressed.len()), (3, 2));
    assert!(
        suppressed
            .iter()
            .any(|result| result["suppressions"][0]["justification"] == "a cache of connections")
    );
    let junit = self::report(&[
        "--baseline",
        baseline.to_str().expect("UTF-8"),
        "--format",
        "junit",
    ]);
    let junit = String::from_utf8(junit.stdout).expect("text");
    assert_eq!(
        (
            junit.matches("<failure").count(),
            junit.matches("<skipped").count()
        ),
        (1, 2),
        "{junit}"
    );
}

#[test]
fn what_cannot_be_reported_on_is_refused_with_a_hint() {
    for (arguments, expected) in [
        (
            &["report"][..],
            "nothing to report on\nhint: give a recording, --pid PID, or a command",
        ),
        (
            &["report", "--", "true"],
            "a report cannot go there\nhint: give a file with -o",
        ),
        (&["report", "/nonexistent"], "failed to replay /nonexistent"),
        (&["report", "x.bleed", "--pid", "1"], "cannot be used with"),
        (
            &["report", "x.bleed", "--source-root", "/app"],
            "is no PREFIX=REPLACEMENT",
        ),
        (
            &["report", "x.bleed", "--source-root", "=src"],
            "names no folder to replace",
        ),
        (
            &["report", "x.bleed", "--baseline", "/nonexistent"],
            "cannot use the baseline /nonexistent",
        ),
        (&["report", "x.bleed", "--format", "pdf"], "invalid value 'pdf'"),
    ] {
        let output = bleedtrace(arguments);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(said.contains("hint: "), "{arguments:?}: {said}");
    }
}
