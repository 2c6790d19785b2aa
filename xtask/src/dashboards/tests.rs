//! What ships is sound, and every kind of mistake is found in it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Files, layout};
use crate::workspace;

const OVERVIEW: &str = "bleedtrace-overview";

fn files() -> Files {
    Files::read(&workspace::root()).unwrap()
}

fn problems(files: &Files) -> Vec<String> {
    let exists = |path: &Path| workspace::root().join(path).exists();
    files.look(exists).unwrap().problems
}

/// A dashboard, changed, leads to exactly this problem.
#[track_caller]
fn broken(change: impl FnOnce(&mut Value), expected: &str) {
    let mut files = files();
    let text = files.dashboards.get_mut(OVERVIEW).unwrap();
    let mut dashboard: Value = serde_json::from_str(text).unwrap();
    change(&mut dashboard);
    *text = layout::written(&dashboard);
    found(&files, expected);
}

/// A file of rules or of their tests, changed, leads to exactly this problem.
#[track_caller]
fn misruled(name: &str, from: &str, to: &str, expected: &str) {
    let mut files = files();
    let all = files.rules.iter_mut().chain(&mut files.tests);
    let (_, text) = all.into_iter().find(|(file, _)| file == name).unwrap();
    assert!(text.contains(from), "{from}");
    *text = text.replacen(from, to, 1);
    found(&files, expected);
}

#[track_caller]
fn found(files: &Files, expected: &str) {
    let problems = problems(files);
    assert!(
        problems.iter().any(|problem| problem.contains(expected)),
        "{expected}: {problems:?}"
    );
}

/// The first panel that shows a number.
fn stat(dashboard: &mut Value) -> &mut Value {
    let panels = dashboard["panels"].as_array_mut().unwrap();
    panels.iter_mut().find(|panel| panel["type"] == "stat").unwrap()
}

fn asks(expression: &'static str) -> impl FnOnce(&mut Value) {
    move |dashboard| stat(dashboard)["targets"][0]["expr"] = json!(expression)
}

#[test]
fn what_ships_is_sound() {
    assert_eq!(problems(&files()), Vec::<String>::new());
}

#[test]
fn queries_for_what_is_not_there_are_found() {
    for (expression, expected) in [
        (
            r#"sum(bleedtrace_target{job=~"$job"})"#,
            "no metric bleedtrace_target",
        ),
        (
            r#"sum(bleedtrace_targets{job=~"$job", tenant="x"})"#,
            "bleedtrace_targets has no label tenant",
        ),
        (
            r#"sum by (tenant) (bleedtrace_targets{job=~"$job"})"#,
            "no label tenant",
        ),
        (
            "sum(bleedtrace_targets)",
            "bleedtrace_targets is not filtered by job",
        ),
        (
            r#"sum(service:bleedtrace_squatting_binds:sum{job=~"$job"})"#,
            "is not filtered by service",
        ),
        (
            r#"sum(bleedtrace_labels_overflow_total{job=~"$job"})"#,
            "a counter without its rate",
        ),
        (
            r#"sum(rate(bleedtrace_targets{job=~"$job"}[$__rate_interval]))"#,
            "rate of what is no counter",
        ),
        (
            r#"sum(increase(bleedtrace_labels_overflow_total{job=~"$job"}[5m]))"#,
            "a fixed range",
        ),
        (
            r#"sum(bleedtrace_squatting_binds{job=~"$job", service=~"$service"})"#,
            "ask for what a rule records",
        ),
        (
            r#"sum(bleedtrace_ring_lag_seconds{job=~"$job"})"#,
            "the unit short does not fit",
        ),
        (
            r#"sum(rate(bleedtrace_labels_overflow_total{job=~"$job"}[$__rate_interval]))"#,
            "the unit short does not fit",
        ),
        (
            r#"sum by (job) (bleedtrace_build_info{job=~"$job"}) / sum(bleedtrace_build_info{job=~"$job"})"#,
            "the two sides of an operator",
        ),
        (
            r#"histogram_quantile(0.9, sum(job:bleedtrace_bleed_age_seconds_bucket:rate5m{job=~"$job"}))"#,
            "a quantile without le",
        ),
        (r#"sum(bleedtrace_targets{job=~"$job"}"#, "in: sum("),
    ] {
        broken(asks(expression), expected);
    }
}

#[test]
fn panels_that_cannot_be_read_are_found() {
    broken(|d| stat(d)["title"] = json!(""), "a panel without a title");
    broken(|d| stat(d)["description"] = json!("short"), "no description");
    broken(
        |d| stat(d)["fieldConfig"]["defaults"]["unit"] = Value::Null,
        "no unit",
    );
    broken(
        |d| stat(d)["fieldConfig"]["defaults"]["noValue"] = json!("-"),
        "its empty state",
    );
    broken(
        |d| stat(d)["datasource"]["uid"] = json!("P1809F7CD0C75ACF3"),
        "its data source is fixed",
    );
    broken(|d| stat(d)["targets"] = json!([]), "it asks nothing");
    broken(
        |d| stat(d)["gridPos"]["w"] = json!(9),
        "it lies upon another panel",
    );
    broken(
        |d| stat(d)["gridPos"]["x"] = json!(22),
        "it has no place on the grid",
    );
    broken(|d| stat(d)["id"] = json!(1), "its id is used twice");
    broken(
        |d| stat(d)["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["color"] = json!("#ff0000"),
        "the colour #ff0000",
    );
    broken(
        |d| stat(d)["description"] = json!("It is all explained in docs/no-such-page.md."),
        "no docs/no-such-page.md",
    );
}

#[test]
fn dashboards_that_do_not_travel_are_found() {
    broken(|d| d["uid"] = json!("other"), "its uid");
    broken(|d| d["id"] = json!(7), "it has the id that one Grafana gave it");
    broken(|d| d["editable"] = json!(true), "it can be edited");
    broken(|d| d["schemaVersion"] = json!(38), "its schemaVersion");
    broken(
        |d| d["description"] = json!("All there is."),
        "the question that it answers",
    );
    broken(|d| d["links"] = json!([]), "no link to the other dashboards");
    broken(
        |d| d["panels"][0]["title"] = json!("Bleeds"),
        "a row asks no question",
    );
    broken(
        |d| d["templating"]["list"][0]["query"] = json!("loki"),
        "its first variable is not the data source",
    );
    broken(
        |d| d["templating"]["list"][1]["refresh"] = json!(1),
        "it is not read again",
    );
    broken(
        |d| d["templating"]["list"][1]["allValue"] = json!(".*"),
        "not all of it can be chosen",
    );
    broken(
        |d| d["templating"]["list"][1]["query"]["query"] = json!("label_values(bleedtrace_info, job)"),
        "no metric bleedtrace_info",
    );
    let mut files = files();
    files.dashboards.get_mut(OVERVIEW).unwrap().push('\n');
    found(&files, "not written in the one way");
}

#[test]
fn rules_that_help_nobody_are_found() {
    let alerts = "alerts.yml";
    misruled(
        alerts,
        "bleedtrace_events_lost_total[5m]",
        "bleedtrace_event_lost_total[5m]",
        "no metric bleedtrace_event_lost_total",
    );
    misruled(
        alerts,
        "severity: critical",
        "severity: urgent",
        "IdentityBleed: its severity",
    );
    misruled(
        alerts,
        "runbooks/IdentityBleed.md",
        "runbooks/Bleed.md",
        "IdentityBleed: its runbook_url",
    );
    misruled(
        alerts,
        "alert: IdentityBleed",
        "alert: IdentityBled",
        "IdentityBled: no test in which it fires",
    );
    misruled(
        alerts,
        "alert: IdentityBleed",
        "alert: IdentityBled",
        "IdentityBled: no runbook",
    );
    misruled(
        alerts,
        "alert: IdentityBleed",
        "alert: IdentityBled",
        "IdentityBleed.md: no such alert",
    );
    misruled(
        alerts,
        "sum by (service, slot,",
        "sum by (service,",
        "IdentityBleed: no label slot to write about",
    );
    misruled(
        "alerts_test.yml",
        "series: bleedtrace_squatting_binds",
        "series: bleedtrace_quiet",
        "SquattingBinds: no test in which it is silent",
    );
    misruled(
        "rules.yml",
        "service:bleedtrace_findings:rate5m",
        "findings:rate5m",
        "is not named level:metric:operation",
    );
    misruled(
        "rules.yml",
        "sum by (job, service, kind)",
        "sum by (service, kind)",
        "service:bleedtrace_findings:rate5m has no label job",
    );
    misruled(
        "rules.yml",
        "carried: foreign",
        "carried: copied",
        "service:bleedtrace_handoffs:rate5m is recorded twice",
    );
    misruled(
        "rules.yml",
        "record: job:bleedtrace_probe_hits:rate5m",
        "record: job:bleedtrace_hits:rate5m",
        "job:bleedtrace_hits:rate5m is recorded for nobody",
    );
}

#[test]
fn families_that_nobody_sees_are_found() {
    let mut files = files();
    files.metrics +=
        "\n## bleedtrace_new_total\n\nNew.\n\n- type: counter\n- unit: things\n- labels: `service`\n";
    found(&files, "bleedtrace_new_total is in no panel and in no alert");
}

#[test]
fn runbooks_and_links_are_looked_at() {
    let mut files = files();
    let page = PathBuf::from("docs/runbooks/IdentityBleed.md");
    let text = files.documents.get_mut(&page).unwrap();
    *text = text
        .replace("## Afterwards", "## Later")
        .replace("findings.md#bleed", "findings.md#blood");
    found(&files, "IdentityBleed: its runbook does not have the headings");
    found(&files, "no #blood in docs/findings.md");
}

#[test]
fn what_a_fleet_does_not_hand_on_is_found() {
    let mut files = files();
    files.federation = files.federation.replace("|ring|", "|");
    found(&files, "does not take bleedtrace_ring_lag_seconds");
    let mut files = self::files();
    files.federation = files.federation.replace("|ring|", "|ring|handoffs|");
    found(&files, "takes bleedtrace_handoffs_total of every agent");
}
