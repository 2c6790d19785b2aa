//! Dashboards and alert rules ask for metrics and labels that exist, and say what they show.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tracer_common::stats::Probe;
use tracer_user::elf::Cost;
use tracer_user::report::{
    clock::Clock,
    finding::Runtime,
    metrics::{
        Metrics,
        families::{self, Family, Shape},
    },
};

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

fn dashboard() -> Value {
    let text = fs::read_to_string(dashboards().join("grafana/bleedtrace-overview.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn rendered() -> String {
    let metrics = Metrics::new(Clock::default());
    metrics.attach_service("proxy", Runtime::Cpython);
    metrics.slot_seen("proxy", "tenant");
    metrics.probe("proxy", Probe::ContextGet, Some(Cost::Emulated));
    metrics.render()
}

/// The family that a name in a query belongs to; a histogram's series have suffixes.
fn family(name: &str) -> Option<&'static Family> {
    families::ALL.iter().find(|family| match family.shape {
        Shape::Histogram => name
            .strip_prefix(family.name)
            .is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix)),
        Shape::Counter | Shape::Gauge => name == family.name,
    })
}

/// Labels that a scrape adds, and the one of a histogram's buckets.
const FOREIGN_LABELS: [&str; 3] = ["job", "instance", "le"];

/// Checks one query: every metric exists, every label in a matcher is its own, every label in a grouping belongs to one of them.
fn check(query: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut known: BTreeSet<&str> = FOREIGN_LABELS.into();
    let mut metrics = 0;
    for (at, _) in query.match_indices("bleedtrace_") {
        let rest = &query[at..];
        let name = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
        let family = family(name).ok_or_else(|| format!("no metric {name} in: {query}"))?;
        metrics += 1;
        known.extend(family.labels);
        if let Some(matchers) = rest[name.len()..].strip_prefix('{') {
            let matchers = &matchers[..matchers
                .find('}')
                .ok_or_else(|| format!("no closing brace in: {query}"))?];
            for label in matchers
                .split(',')
                .filter_map(|matcher| matcher.split(['=', '!']).next())
                .map(str::trim)
            {
                if !label.is_empty() && !family.labels.contains(&label) && !FOREIGN_LABELS.contains(&label) {
                    return Err(format!("{name} has no label {label} in: {query}"));
                }
            }
        }
    }
    if metrics == 0 && !query.contains("process_") {
        return Err(format!("no metric of ours in: {query}"));
    }
    for grouping in ["by (", "by(", "without (", "on (", "ignoring ("] {
        for (at, _) in query.match_indices(grouping) {
            let labels = &query[at + grouping.len()..];
            for label in labels[..labels.find(')').unwrap_or(0)].split(',').map(str::trim) {
                if !known.contains(label) {
                    return Err(format!("no label {label} in: {query}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_check_itself_finds_mistakes() {
    assert!(check(r#"sum by (service) (rate(bleedtrace_bleeds_total{slot="x"}[5m]))"#).is_ok());
    assert!(check("sum by (le) (rate(bleedtrace_bleed_age_seconds_bucket[5m]))").is_ok());
    assert!(check("bleedtrace_bleed_total").is_err());
    assert!(
        check("bleedtrace_bleed_age_seconds").is_err(),
        "a histogram has no series of its bare name"
    );
    assert!(check(r#"bleedtrace_bleeds_total{tenant="x"}"#).is_err());
    assert!(check("sum by (tenant) (bleedtrace_bleeds_total)").is_err());
    assert!(check("up").is_err());
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let top = dashboard["panels"].as_array().unwrap();
    top.iter()
        .flat_map(|panel| std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten()))
        .collect()
}

#[test]
fn every_panel_can_be_read_and_asks_for_what_exists() {
    let dashboard = dashboard();
    let mut queries = 0;
    for panel in panels(&dashboard)
        .into_iter()
        .filter(|panel| panel["type"] != "row")
    {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty(), "a panel has no title: {panel}");
        if panel["type"] == "text" {
            continue;
        }
        assert!(
            panel["description"].as_str().is_some_and(|text| text.len() > 20),
            "{title}: no description"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}: no unit"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            check(query).unwrap_or_else(|error| panic!("{title}: {error}"));
            for range in query
                .split('[')
                .skip(1)
                .map(|rest| rest.split(']').next().unwrap())
            {
                assert!(
                    ["$__rate_interval", "$__range"].contains(&range),
                    "{title}: fixed range [{range}]"
                );
            }
            queries += 1;
        }
    }
    assert!(queries > 15, "{queries} queries");
}

#[test]
fn the_dashboard_is_portable() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "bleedtrace-overview");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert!(dashboard["id"].is_null());
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["name"])
        .collect();
    assert_eq!(variables, ["datasource", "service"]);
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "panel id {} is used twice",
            panel["id"]
        );
        let grid = &panel["gridPos"];
        assert!(
            grid["x"].as_u64().unwrap() + grid["w"].as_u64().unwrap() <= 24,
            "{}",
            panel["title"]
        );
    }
}

#[test]
fn alert_rules_ask_for_what_exists() {
    let text = fs::read_to_string(dashboards().join("prometheus/alerts.yml")).unwrap();
    let mut alerts = 0;
    for rule in text.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let expr = rule.split("expr: ").nth(1).unwrap();
        let expr: Vec<_> = expr
            .lines()
            .take_while(|line| {
                !line.trim_start().starts_with("for:") && !line.trim_start().starts_with("labels:")
            })
            .collect();
        check(&expr.join(" ")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let anchor = rule.split("runbook: ").nth(1).unwrap().lines().next().unwrap();
        let (file, heading) = anchor.split_once('#').unwrap();
        let document = fs::read_to_string(dashboards().join("..").join(file)).unwrap();
        assert!(
            document.contains(&format!("\n## {heading}\n")),
            "{name}: no {anchor}"
        );
        alerts += 1;
    }
    assert_eq!(alerts, 13);
}

/// Runs promtool, or says that it is not there.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let program = env::var_os("BLEEDTRACE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let child = Command::new(&program)
        .args(arguments)
        .current_dir(dashboards().join("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            // Written past the test harness's capture: a skip must be visible.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED promtool {}: cannot run {}: {error} (set BLEEDTRACE_PROMTOOL)",
                arguments.join(" "),
                program.display()
            );
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[track_caller]
fn assert_promtool(arguments: &[&str], input: &str) {
    if let Some(output) = promtool(arguments, input) {
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "promtool {}: {said}",
            arguments.join(" ")
        );
    }
}

#[test]
fn promtool_accepts_the_metrics() {
    assert_promtool(&["check", "metrics"], &rendered());
}

#[test]
fn promtool_accepts_the_alert_rules() {
    assert_promtool(&["check", "rules", "alerts.yml"], "");
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    assert_promtool(&["test", "rules", "alerts_test.yml"], "");
}

#[test]
fn promtool_accepts_every_query_of_the_dashboard() {
    let dashboard = dashboard();
    let queries = panels(&dashboard)
        .into_iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let rules: Vec<_> = queries
        .enumerate()
        .map(|(n, target)| {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "1h")
                .replace("$service", ".*");
            assert!(!query.contains('$'), "a variable is left in: {query}");
            serde_json::json!({"record": format!("query:{n}"), "expr": query})
        })
        .collect();
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    // JSON is YAML.
    let file = env::temp_dir().join(format!("bleedtrace-queries-{}.yml", std::process::id()));
    fs::write(&file, rules.to_string()).unwrap();
    assert_promtool(&["check", "rules", file.to_str().unwrap()], "");
    fs::remove_file(&file).unwrap();
}
