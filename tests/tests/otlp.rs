//! What others take in of what is sent by OpenTelemetry's protocol: a Prometheus the metrics, a collector the findings.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bleedtrace_tests::{Folder, Outcome, Program, Setup, Trace, free_port, get, once, skip, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the fixture: requests, threads and the seed of its choices.
const LOAD: [&str; 3] = ["300", "4", "7"];

fn tool(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// Traces a program with many findings, which are sent there.
fn trace(setup: &Setup, endpoint: &str) -> Outcome {
    let flags = ["--otlp-endpoint", endpoint];
    let (outcome, truth) =
        Trace::new(setup, "tenant")
            .revealing()
            .flags(flags)
            .run(setup, "accuracy.py", &LOAD);
    outcome.assert_truth(&truth);
    outcome
}

/// A Prometheus with nothing to scrape, that takes OTLP in.
fn prometheus(server: &Path, folder: &Folder, address: &str) -> Program {
    let help = Command::new(server).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).into_owned();
    // It was a feature to be enabled before it had a flag.
    let flag = if help.contains("--web.enable-otlp-receiver") {
        "--web.enable-otlp-receiver"
    } else {
        "--enable-feature=otlp-write-receiver"
    };
    let config = folder.write("prometheus.yml", "global: {}\n");
    let program = Program::start(
        Command::new(server)
            .arg(flag)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.file("data")))
            .arg(format!("--web.listen-address={address}")),
    );
    wait_until("prometheus is ready", PATIENCE, || get(address, "/-/ready").ok());
    program
}

/// The sum of what a Prometheus has of these series.
fn sum(address: &str, series: &str) -> f64 {
    let encoded: String = format!("sum({series})")
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let text = get(address, &format!("/api/v1/query?query={encoded}")).expect("prometheus answers");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

#[test]
fn a_prometheus_takes_in_the_metrics() {
    const TEST: &str = "a_prometheus_takes_in_the_metrics";
    let Some(server) = tool("BLEEDTRACE_OTLP_PROMETHEUS") else {
        return skip(TEST, "no prometheus that takes OTLP");
    };
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let address = format!("127.0.0.1:{}", free_port());
        let server = prometheus(&server, &folder, &address);
        let outcome = trace(setup, &format!("http://{address}/api/v1/otlp"));
        // What was sent last, at the end of the trace, has the totals of its summary.
        let has = |series: &str, wanted: u64| assert_eq!(sum(&address, series), wanted as f64, "{series}");
        for table in ["findings", "reads", "binds", "hops"] {
            let counts = outcome.summary[table].as_object().expect("a table");
            for (key, count) in counts {
                let series = match table {
                    "findings" => format!("bleedtrace_findings_total{{kind=\"{key}\"}}"),
                    "reads" => format!("bleedtrace_context_reads_total{{result=\"{key}\"}}"),
                    "binds" => format!("bleedtrace_context_binds_total{{place=\"{key}\"}}"),
                    _ => format!("bleedtrace_handoffs_total{{primitive=\"{key}\"}}"),
                };
                has(&series, count.as_u64().expect("a count"));
            }
        }
        let bleeds = outcome.count("bleed");
        assert!(bleeds > 0);
        has("bleedtrace_bleeds_total{slot=\"tenant\"}", bleeds);
        has("bleedtrace_bleed_age_seconds_count", bleeds);
        has("bleedtrace_bleed_age_seconds_bucket{le=\"+Inf\"}", bleeds);
        has("bleedtrace_build_info{job=\"bleedtrace\"}", 1);
        // It takes no log records: that is said, once for all of them.
        let lost = format!("{} events did not get to", outcome.findings.len() + 1);
        assert!(
            outcome.ended.stderr.contains(&lost),
            "{lost}: {}",
            outcome.ended.stderr
        );
        server.signal("TERM");
        server.end();
    });
}

#[test]
fn a_collector_takes_in_the_findings() {
    const TEST: &str = "a_collector_takes_in_the_findings";
    let Some(collector) = tool("BLEEDTRACE_COLLECTOR") else {
        return skip(TEST, "no collector");
    };
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let [http, grpc] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let collector = Program::start(
            Command::new(collector)
                .args(["start", "--exporter", "blackhole", "--debug-log", "logs"])
                .args(["--debug-log-verbosity", "detailed"])
                .args(["--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc])
                .args([
                    "--pid-file",
                    &folder.file("pid"),
                    "--log-file",
                    &folder.file("log"),
                ]),
        );
        wait_until("the collector listens", PATIENCE, || {
            std::net::TcpStream::connect(&http).ok()
        });
        let outcome = trace(setup, &format!("http://{http}"));
        collector.signal("TERM");
        let ended = collector.end();
        let said = ended.stdout + &ended.stderr;
        assert_eq!(
            said.matches("bleedtrace.finding").count(),
            outcome.findings.len(),
            "{said}"
        );
    });
}
