//! How long it takes until a live process is traced, and how much memory the tracer takes under load.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Interpreter, SUPPORTED, fixture, installed};

use super::{
    child::{interrupt, wait_for},
    notes,
    statistics::Spread,
};
use crate::workspace;

/// How long the tracer's memory is watched.
const LOADED: Duration = Duration::from_secs(15);

/// Prints the figures and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let pythons = installed();
    ensure!(
        !pythons.is_empty(),
        "no CPython of {SUPPORTED:?}: set BLEEDTRACE_PYTHONS"
    );
    let mut text = format!(
        "From the start of `trace --pid` until it says that the process is attached ({rounds} times, after one that warms up; goal: \
less than 150 ms), and the tracer's resident memory while it traces a process that hands over work as fast as it can, for {} s \
(goal: less than 40 MB).\n\n| CPython | attached after, ms | memory at the end, MB | at most, MB |\n|---|---|---|---|\n",
        LOADED.as_secs()
    );
    for Interpreter { minor, python, .. } in pythons {
        let mut load = wait_for(Command::new(python).arg(fixture("load.py")), "ready")?;
        let figures = figures(&bleedtrace, &load, rounds);
        load.kill()?;
        load.wait()?;
        let (attached, (now, peak)) = figures?;
        let row = format!("| 3.{minor} | {attached} | {now:.1} | {peak:.1} |\n");
        print!("{row}");
        text.push_str(&row);
    }
    notes::replace("Attaching", &text)
}

type Megabytes = f64;

fn figures(bleedtrace: &Path, load: &Child, rounds: u32) -> Result<(Spread, (Megabytes, Megabytes))> {
    let mut attached = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        let mut tracer = trace(bleedtrace, load)?;
        // The first round warms up.
        if round > 0 {
            attached.push(start.elapsed().as_secs_f64() * 1e3);
        }
        interrupt(&mut tracer)?;
    }
    let mut tracer = trace(bleedtrace, load)?;
    thread::sleep(LOADED);
    let memory = memory(&tracer);
    interrupt(&mut tracer)?;
    Ok((Spread::of(attached), memory?))
}

fn trace(bleedtrace: &Path, load: &Child) -> Result<Child> {
    let mut command = Command::new(bleedtrace);
    command.args(["trace", "--identity", "tenant", "--pid"]);
    wait_for(command.arg(load.id().to_string()), "attached to")
}

/// Resident now, and at most so far.
fn memory(process: &Child) -> Result<(Megabytes, Megabytes)> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let field = |name: &str| -> Result<Megabytes> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes: f64 = kilobytes.with_context(|| format!("no {name}"))?.parse()?;
        Ok(kilobytes / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
