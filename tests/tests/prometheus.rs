//! A real Prometheus scrapes a real trace, and every query of the dashboards is evaluated.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bleedtrace_tests::{Program, Trace, free_port, get, once, sample, skip, wait_until};
use serde_json::Value;

/// The scrape interval is one second: rates look back over ten.
const WINDOW: &str = "10s";

#[test]
fn every_panel_has_an_answer() {
    const TEST: &str = "every_panel_has_an_answer";
    let Some(prometheus) = tool("BLEEDTRACE_PROMETHEUS", "prometheus") else {
        return skip(TEST, "no prometheus");
    };
    once(TEST, |setup| {
        let trace = Trace::new(setup, "tenant").listening();
        let mut running = trace.start(setup, "load.py", &[]);
        let target = running.address.clone();
        running.program.wait_for("ready");

        let folder = env::temp_dir().join(format!("bleedtrace-prometheus-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for prometheus");
        let configuration = folder.join("prometheus.yml");
        fs::write(&configuration, configure(&target)).expect("prometheus can be configured");
        let address = format!("127.0.0.1:{}", free_port());
        let server = Program::start(
            Command::new(prometheus)
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}")),
        );
        wait_until("prometheus scraped for a while", Duration::from_secs(60), || {
            let scrapes = query(&address, "min(count_over_time(up[1m])) >= 12").ok()?;
            (!scrapes.is_empty()).then_some(())
        });
        let mut queries = 0;
        for (file, dashboard) in dashboards() {
            for panel in panels(&dashboard) {
                let title = panel["title"].as_str().unwrap_or_default();
                for expression in panel["targets"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|t| t["expr"].as_str())
                {
                    let expression = substituted(expression, &dashboard);
                    let answer = query(&address, &expression);
                    let series =
                        answer.unwrap_or_else(|error| panic!("{file}, {title}: {expression}: {error}"));
                    // What filters by value is meant to show nothing when all is well.
                    let may_be_empty = expression.trim_end().ends_with("> 0");
                    assert!(
                        may_be_empty || !series.is_empty(),
                        "{file}, {title}: no data for {expression}"
                    );
                    queries += 1;
                }
            }
        }
        assert!(queries > 0, "the dashboards have queries");
        let rules = get(&address, "/api/v1/rules").expect("prometheus lists its rules");
        assert!(
            rules.contains("bleedtrace_"),
            "the alert rules are loaded: {rules}"
        );
        let unhealthy = rules.contains(r#""health":"err""#);
        assert!(!unhealthy, "{rules}");

        server.signal("TERM");
        server.end();
        running.signal_command("TERM");
        running.end();
        fs::remove_dir_all(folder).expect("the folder is ours");
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

fn configure(target: &str) -> String {
    let rules = repository().join("dashboards/prometheus/alerts.yml");
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: bleedtrace, static_configs: [{{targets: ['{target}']}}]}}]\n",
        rules.display()
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

/// Every panel, those in rows included.
fn panels(value: &Value) -> Vec<&Value> {
    let own = value["panels"].as_array().into_iter().flatten();
    own.flat_map(|panel| std::iter::once(panel).chain(panels(panel)))
        .collect()
}

/// The query as Grafana would send it with every variable at "all".
fn substituted(expression: &str, dashboard: &Value) -> String {
    let mut query = expression.to_owned();
    let mut replace = |name: &str, value: &str| {
        for form in [
            format!("${{{name}:regex}}"),
            format!("${{{name}}}"),
            format!("${name}"),
        ] {
            query = query.replace(&form, value);
        }
    };
    for (name, value) in [
        ("__rate_interval", WINDOW),
        ("__interval", WINDOW),
        ("__range", "1m"),
    ] {
        replace(name, value);
    }
    let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
    for name in variables.filter_map(|variable| variable["name"].as_str()) {
        replace(name, ".*");
    }
    query
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
