//! A real Prometheus scrapes a real agent that follows the demo: every panel has an answer, every rule is evaluated, and the alerts
//! fire that should.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bleedtrace_tests::{
    Agent, Folder, MARK, Program, Trace, free_port, get, once, sample, shrunk, skip, wait_until,
};
use serde_json::Value;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(120);
/// The demo is followed as a service of this name, and its tasks with it.
const CONFIG: &str = "[[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"proxy\"\n\
                      identity = [\"tenant\"]\nmint = [\"*TaskStore.create_task\"]\n";
/// What the demo's mistakes must set off, and what it makes no mistake in.
const FIRING: [&str; 6] = [
    "ContextBlackHole",
    "IdentityBleed",
    "IdentityBudgetBurnsFast",
    "IdentityBudgetBurnsSlowly",
    "SquattingBinds",
    "TaskUnattributed",
];
const SILENT: [&str; 7] = [
    "DriftBlindness",
    "ForeignTaskPoll",
    "PolicyCheckedNobody",
    "ProbesMissing",
    "TaskMisattributed",
    "TaskOwnerRefused",
    "TracerBlind",
];
/// Panels that show what the demo does not do, and what is not lost: they say so, and have no data.
const EMPTY: [&str; 8] = [
    "Accepted findings",
    "Agents in doubt, and why",
    "Agents that lose most",
    "Digests and policies that are blind",
    "Dropped to stay within bounds",
    "Events lost",
    "Not understood on the wire",
    "Share of refusals, by service",
];

#[test]
fn the_demo_is_on_every_panel_and_sets_off_its_alerts() {
    const TEST: &str = "the_demo_is_on_every_panel_and_sets_off_its_alerts";
    let Some(prometheus) = tool("BLEEDTRACE_PROMETHEUS", "prometheus") else {
        return skip(TEST, "no prometheus");
    };
    once(TEST, |setup| {
        // Confined, it could not measure how long probes run.
        let agent = Agent::start_as(setup, CONFIG, &[], &["--confine=false"]);
        let mut proxy = setup.command();
        let proxy = Program::start(
            proxy
                .env(MARK, &agent.mark)
                .arg(repository().join("demo/proxy.py"))
                .arg("1000000"),
        );
        agent.wait_for("bleedtrace_bleeds_total", &[("service", "proxy")], 1);

        let folder = Folder::new(TEST);
        let configuration = configure(&folder, &agent.address);
        let address = format!("127.0.0.1:{}", free_port());
        let server = Program::start(
            Command::new(prometheus)
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.tsdb.path={}", folder.file("data")))
                .arg(format!("--web.listen-address={address}")),
        );
        let mut fired = BTreeSet::new();
        for alert in FIRING {
            wait_until(&format!("{alert} fires; so far {fired:?}"), PATIENCE, || {
                fired.extend(firing(&address).ok()?);
                fired.contains(alert).then_some(())
            });
        }
        let mut panels = 0;
        for (file, dashboard) in dashboards() {
            for expression in asked_beside_panels(&dashboard) {
                query(&address, &expression).unwrap_or_else(|error| panic!("{file}: {expression}: {error}"));
            }
            for panel in dashboard["panels"].as_array().expect("panels") {
                let title = panel["title"].as_str().expect("a title");
                let targets = panel["targets"].as_array().into_iter().flatten();
                for target in targets {
                    let expression = substituted(target["expr"].as_str().expect("a query"));
                    let what = format!("{file}, {title}: {expression} has data");
                    wait_until(&what, PATIENCE, || {
                        let series = query(&address, &expression);
                        let series = series.unwrap_or_else(|error| panic!("{what}: {error}"));
                        (EMPTY.contains(&title) || !series.is_empty()).then_some(())
                    });
                }
                panels += usize::from(panel["type"] != "row");
            }
        }
        assert!(panels > 70, "{panels} panels");
        let bleeds = "sum(sum_over_time(service:bleedtrace_bleeds:rate5m[1m]))";
        let bleeds = query(&address, bleeds).expect("an answer");
        let bleeds = bleeds[0]["value"][1]
            .as_str()
            .and_then(|value| value.parse::<f64>().ok());
        assert!(bleeds.is_some_and(|bleeds| bleeds > 0.0), "{bleeds:?}");
        fired.extend(firing(&address).expect("prometheus lists its alerts"));
        let false_alarms: Vec<_> = SILENT.iter().filter(|alert| fired.contains(**alert)).collect();
        assert!(false_alarms.is_empty(), "{false_alarms:?}");
        evaluated(&address);

        server.signal("TERM");
        server.end();
        proxy.signal("TERM");
        proxy.end();
        agent.end();
    });
}

#[test]
fn metrics_are_valid_and_complete() {
    const TEST: &str = "metrics_are_valid_and_complete";
    let Some(promtool) = tool("BLEEDTRACE_PROMTOOL", "promtool") else {
        return skip(TEST, "no promtool");
    };
    once(TEST, |setup| {
        let mut target = Program::fixture(setup, "attached.py", &[]);
        target.wait_for("ready");
        // The trace outlives the target, so that its last counts can be read: another one waits.
        let mut other = Program::fixture(setup, "attached.py", &[]);
        other.wait_for("ready");
        let trace = Trace::new(setup, "tenant")
            .flags(["--pid", &other.pid().to_string()])
            .attach(target.pid());
        let address = trace.address.clone();
        let at_attach = get(&address, "/metrics").expect("metrics");
        for kind in [
            "bleed",
            "squat",
            "black_hole_read",
            "black_hole_return",
            "unattributed_task",
            "misattributed_task",
        ] {
            assert_eq!(
                sample(&at_attach, "bleedtrace_findings_total", &[("kind", kind)]),
                Some(0.0),
                "{kind}"
            );
        }
        target.say("go on");
        target.end();
        let moved = wait_until("the bleed is counted", Duration::from_secs(10), || {
            let text = get(&address, "/metrics").ok()?;
            (sample(&text, "bleedtrace_findings_total", &[("kind", "bleed")])? >= 1.0).then_some(text)
        });
        assert_eq!(
            sample(
                &moved,
                "bleedtrace_bleeds_total",
                &[("confidence", "confirmed"), ("source", "before_attach")]
            ),
            Some(1.0)
        );
        for text in [&at_attach, &moved] {
            valid(&promtool, text);
        }
        other.say("go on");
        other.end();
        trace.end();
    });
}

fn valid(promtool: &Path, metrics: &str) {
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check
        .stdin
        .take()
        .expect("piped")
        .write_all(metrics.as_bytes())
        .expect("promtool reads");
    let output = check.wait_with_output().expect("promtool ends");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        metrics
    );
}

fn tool(variable: &str, name: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).or_else(|| {
        env::split_paths(&env::var_os("PATH")?)
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    })
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .to_owned()
}

/// A configuration of Prometheus, with the rules that ship in a shorter time.
fn configure(folder: &Folder, target: &str) -> PathBuf {
    let shipped = repository().join("dashboards/prometheus");
    for rules in ["rules.yml", "slo.yml", "alerts.yml"] {
        let text = fs::read_to_string(shipped.join(rules)).expect("readable");
        folder.write(rules, shrunk(&text));
    }
    folder.write(
        "prometheus.yml",
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml, slo.yml, alerts.yml]\n\
             scrape_configs: [{{job_name: bleedtrace, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ),
    )
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = repository().join("dashboards/grafana");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files
        .map(|file| file.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"));
    paths
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (
                path.display().to_string(),
                serde_json::from_str(&text).expect("a dashboard is JSON"),
            )
        })
        .collect()
}

/// Queries of annotations, and selectors of variables.
fn asked_beside_panels(dashboard: &Value) -> Vec<String> {
    let annotations = dashboard["annotations"]["list"].as_array().into_iter().flatten();
    let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
    let selectors = variables.filter_map(|variable| {
        let of = variable["query"]["query"]
            .as_str()?
            .strip_prefix("label_values(")?;
        Some(of.rsplit_once(", ")?.0)
    });
    annotations
        .filter_map(|annotation| annotation["expr"].as_str())
        .chain(selectors)
        .map(substituted)
        .collect()
}

/// The query as Grafana would send it with every variable at "all".
fn substituted(expression: &str) -> String {
    let mut query = expression.to_owned();
    for (name, value) in [
        ("$__rate_interval", "4m"),
        ("$__range", "1h"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$service", ".+"),
    ] {
        query = query.replace(name, value);
    }
    assert!(!query.contains('$'), "{query}");
    shrunk(&query)
}

/// The alerts that fire now.
fn firing(address: &str) -> Result<Vec<String>, String> {
    let series = query(address, "ALERTS{alertstate=\"firing\"}")?;
    let names = series.iter().map(|one| one["metric"]["alertname"].as_str());
    names
        .map(|name| {
            name.map(str::to_owned)
                .ok_or("an alert without a name".to_owned())
        })
        .collect()
}

/// Every rule was evaluated, and without an error.
#[track_caller]
fn evaluated(address: &str) {
    let text = get(address, "/api/v1/rules").expect("prometheus lists its rules");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let groups = answer["data"]["groups"].as_array().expect("groups");
    let rules: Vec<_> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    assert!(rules.len() > 40, "{} rules", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// The series that a query gives now.
fn query(address: &str, expression: &str) -> Result<Vec<Value>, String> {
    let encoded: String = expression
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let text = get(address, &format!("/api/v1/query?query={encoded}")).map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    answer["data"]["result"].as_array().cloned().ok_or(text)
}
