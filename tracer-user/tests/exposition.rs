//! Prometheus's own tool accepts the metrics, and there are as many series as documented.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use tracer_common::stats::Probe;
use tracer_user::elf::Cost;
use tracer_user::report::{clock::Clock, finding::Runtime, metrics::Metrics};

fn rendered() -> String {
    let metrics = Metrics::new(Clock::default());
    metrics.attach_service("proxy", Runtime::Cpython);
    metrics.slot_seen("proxy", "tenant");
    metrics.probe("proxy", Probe::ContextGet, Some(Cost::Emulated));
    metrics.render()
}

/// Runs promtool, or says that it is not there.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let program = env::var_os("BLEEDTRACE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let child = Command::new(&program)
        .args(arguments)
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

/// Series of an agent, by how many services, probes of a service and variables of a service there are.
fn series(services: usize, probes: usize, slots: usize) -> usize {
    let metrics = Metrics::new(Clock::default());
    for service in (0..services).map(|n| format!("service-{n}")) {
        metrics.attach_service(&service, Runtime::Cpython);
        for probe in &Probe::ALL[..probes] {
            metrics.probe(&service, *probe, Some(Cost::Emulated));
        }
        for slot in (0..slots).map(|n| format!("slot-{n}")) {
            metrics.slot_seen(&service, &slot);
        }
    }
    let text = metrics.render();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn the_documented_numbers_of_series_are_right() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleet.md");
    let document = fs::read_to_string(document).unwrap();
    let documented = |of: &str| -> usize {
        let row = document
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| {of} | ")));
        let row = row.unwrap_or_else(|| panic!("no row for {of}"));
        row.split(" |").next().unwrap().replace(',', "").parse().unwrap()
    };
    let (agent, service, slot) = (series(0, 0, 0), series(1, 0, 0), series(1, 0, 1));
    assert_eq!(
        [
            documented("an agent"),
            documented("each service"),
            documented("each variable of a service"),
            documented("each probe of a service"),
            documented("an agent with 20 services, 8 probes and 2 variables each"),
        ],
        [
            agent,
            service - agent,
            slot - service,
            series(1, 1, 0) - service,
            series(20, 8, 2)
        ]
    );
}
