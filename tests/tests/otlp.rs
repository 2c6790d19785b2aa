//! What a collector that others wrote takes in of what is sent by OpenTelemetry's protocol.

use std::{collections::BTreeMap, env, net::TcpStream, path::Path, process::Command, time::Duration};

use bleedtrace_tests::{Ended, Folder, Program, Trace, free_port, once, skip, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the fixture: requests, threads and the seed of its choices.
const LOAD: [&str; 3] = ["300", "4", "7"];

/// A collector that prints what it takes in.
fn collector(program: &Path, folder: &Folder, http: &str) -> Program {
    let grpc = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(program);
    command
        .args(["start", "--exporter", "blackhole"])
        .args(["--debug-log", "logs", "--debug-log", "metrics"])
        .args(["--debug-log-verbosity", "detailed"])
        .args(["--otlp-http-endpoint", http, "--otlp-grpc-endpoint", &grpc])
        .args(["--pid-file", &folder.file("pid")])
        .args(["--log-file", &folder.file("log")]);
    let program = Program::start(&mut command);
    wait_until("the collector listens", PATIENCE, || {
        TcpStream::connect(http).ok()
    });
    program
}

/// What it printed of the metrics last, by name and labels: values, and of histograms how many were counted.
fn points(said: &str) -> BTreeMap<(String, BTreeMap<String, String>), String> {
    let mut points = BTreeMap::new();
    let (mut name, mut labels) = (String::new(), BTreeMap::new());
    for line in said.lines() {
        if let Some(new) = line.strip_prefix("     -> Name: ") {
            new.clone_into(&mut name);
        } else if line.contains("DataPoints #") {
            labels.clear();
        } else if let Some((key, value)) = line
            .strip_prefix("     -> ")
            .and_then(|rest| rest.strip_suffix(')')?.split_once(": Str("))
        {
            labels.insert(key.to_owned(), value.to_owned());
        } else if let Some(value) = line.strip_prefix("Value: ").or(line.strip_prefix("Count: ")) {
            points.insert((name.clone(), labels.clone()), value.to_owned());
        }
    }
    points
}

#[test]
fn a_collector_takes_in_findings_and_metrics() {
    const TEST: &str = "a_collector_takes_in_findings_and_metrics";
    let Some(program) = env::var_os("BLEEDTRACE_COLLECTOR") else {
        return skip(TEST, "no collector");
    };
    once(TEST, |setup| {
        let folder = Folder::new(TEST);
        let http = format!("127.0.0.1:{}", free_port());
        let collector = collector(program.as_ref(), &folder, &http);
        let endpoint = format!("http://{http}");
        let (outcome, truth) = Trace::new(setup, "tenant")
            .revealing()
            .flags(["--mint", "*create_task", "--otlp-endpoint", &endpoint])
            .run(setup, "accuracy.py", &LOAD);
        collector.signal("TERM");
        let Ended { stdout: said, .. } = collector.end();
        outcome.assert_truth(&truth);
        let events = |name: &str| {
            let line = format!("EventName: {name}");
            said.lines().filter(|said| *said == line).count()
        };
        assert_eq!(events("bleedtrace.finding"), outcome.findings.len());
        assert_eq!(events("bleedtrace.summary"), 1);
        // What was sent last, at the end of the trace, has the totals of its summary.
        let points = points(&said);
        let has = |name: &str, label: (&str, &str), wanted: u64| {
            let of_it = points.iter().filter(|((of, labels), _)| {
                of == name && labels.get(label.0).is_some_and(|value| value == label.1)
            });
            let sum: u64 = of_it.map(|(_, value)| value.parse::<u64>().expect(name)).sum();
            assert_eq!(sum, wanted, "{name} {label:?}");
        };
        for (table, name, label) in [
            ("findings", "bleedtrace_findings_total", "kind"),
            ("reads", "bleedtrace_context_reads_total", "result"),
            ("binds", "bleedtrace_context_binds_total", "place"),
            ("hops", "bleedtrace_handoffs_total", "primitive"),
        ] {
            for (key, count) in outcome.summary[table].as_object().expect("a table") {
                has(name, (label, key), count.as_u64().expect("a count"));
            }
        }
        let bleeds = outcome.count("bleed");
        assert!(bleeds > 0);
        has("bleedtrace_bleeds_total", ("slot", "tenant"), bleeds);
        let ages = points
            .iter()
            .filter(|((name, _), _)| name == "bleedtrace_bleed_age_seconds");
        let ages: Vec<_> = ages.map(|(_, count)| count.clone()).collect();
        assert_eq!(ages, [outcome.number("reads", "foreign").to_string()]);
    });
}
