//! A tracer beside a measurement.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bleedtrace_tests::{Program, free_port, get, sample};
use serde_json::Value;

use super::Bench;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// One that runs.
pub struct Tracer {
    program: Program,
    address: String,
    processes: usize,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Events that it got.
    pub received: f64,
    /// Events that it did not get, as the kernel side says.
    pub lost: f64,
}

impl Tracer {
    /// Starts one on some processes.
    pub fn start(bench: &Bench, processes: &[u32], flags: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(&bench.bleedtrace);
        command.args(["trace", "--format", "json", "--listen", &address]);
        command.args(flags);
        for process in processes {
            command.args(["--pid", &process.to_string()]);
        }
        Self {
            program: Program::start(&mut command),
            address,
            processes: processes.len(),
        }
    }

    /// The same, and waits until they are attached.
    pub fn attached(bench: &Bench, processes: &[u32], flags: &[&str]) -> Result<Self> {
        let mut tracer = Self::start(bench, processes, flags);
        tracer.wait_until("all processes are attached", |tracer, metrics| {
            tracer.are_attached(metrics)
        })?;
        Ok(tracer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Its metrics, if it answers.
    pub fn metrics(&self) -> Option<String> {
        get(&self.address, "/metrics").ok()
    }

    /// Whether they say that all processes are attached.
    pub fn are_attached(&self, metrics: &str) -> bool {
        // The gauge of targets is set now and then only.
        let attached = sample(
            metrics,
            "bleedtrace_events_received_total",
            &[("event", "attach")],
        );
        attached.is_some_and(|attached| attached >= self.processes as f64)
    }

    /// Waits until something holds of it, and of its metrics.
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&Self, &str) -> bool) -> Result<()> {
        let begin = Instant::now();
        loop {
            ensure!(self.program.runs(), "the tracer ended before {what}");
            if self.metrics().is_some_and(|metrics| holds(self, &metrics)) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} in vain until {what}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        self.program.signal(signal);
    }

    /// Tells it to end, and waits for that; gives what its summary says.
    pub fn stop(self) -> Result<Counted> {
        self.program.signal("INT");
        let ended = self.program.end();
        let last = ended.stdout.lines().next_back().unwrap_or_default();
        let summary: Value = serde_json::from_str(last)
            .with_context(|| format!("no summary; it ended with {:?}: {}", ended.code, ended.stderr))?;
        let events = &summary["events"];
        let lost = events["lost"]
            .as_object()
            .context("the summary says what was lost")?;
        Ok(Counted {
            received: events["received"].as_f64().context("and what was received")?,
            lost: lost.values().filter_map(Value::as_f64).sum(),
        })
    }
}

/// Events that metrics say have come.
pub fn received(metrics: &str) -> f64 {
    sample(metrics, "bleedtrace_events_received_total", &[]).unwrap_or(0.0)
}
