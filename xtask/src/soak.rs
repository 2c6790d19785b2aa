//! The long runs: what takes too long for every change.

mod agent;
mod replay;

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Regression, Setup, Traffic, installed};
use clap::ValueEnum;

use crate::{accuracy, test, workspace};

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The random mix with recorded ground truth.
    Mix,
    /// CPython's own tests, with and without a tracer.
    Regression,
    /// Correct traffic, for an hour unless told otherwise.
    Traffic,
    /// Ten million events, recorded and replayed.
    Replay,
    /// The agent beside several processes that make 200,000 events in a second, for half an hour, unless told otherwise.
    Agent,
    /// Every end-to-end test on every interpreter; `cargo xtask support` writes down what passed.
    Versions,
}

/// CPython's tests of what is probed.
const SUITES: [&str; 5] = [
    "test_context",
    "test_queue",
    "test_threading",
    "test_concurrent_futures",
    "test_asyncio",
];

/// What the tracer's memory is to stay under.
const MEMORY_KIB: u64 = 60_000_000 / 1024;

/// Processes that make requests at a steady rate.
const PROCESSES: u64 = 4;

/// Runs one part, or all of them, and adds the results to `docs/soak.md`.
pub fn run(
    part: Option<Part>,
    requests: u32,
    seed: u32,
    seconds: Option<u64>,
    events: u64,
    rate: u64,
) -> Result<()> {
    let wanted = |one| part.is_none_or(|part| part == one);
    let mut failed = Vec::new();
    if wanted(Part::Mix) {
        failed.extend(accuracy::soak(requests, seed).err());
    }
    if wanted(Part::Regression) {
        failed.extend(regression().err());
    }
    if wanted(Part::Traffic) {
        failed.extend(traffic(seconds.unwrap_or(3600)).err());
    }
    if wanted(Part::Replay) {
        failed.extend(replay::run(events).err());
    }
    if wanted(Part::Agent) {
        failed.extend(agent::run(seconds.unwrap_or(1800), rate).err());
    }
    if wanted(Part::Versions) {
        failed.extend(test::widely().err());
    }
    let failed: Vec<_> = failed.iter().map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Adds a section to `docs/soak.md`, under today's date.
pub fn note(section: &str) -> Result<()> {
    let path = workspace::root().join("docs/soak.md");
    let before = fs::read_to_string(&path)
        .unwrap_or_else(|_| "# Long runs\n\nResults of `cargo xtask soak`.\n".to_owned());
    let heading = format!("## {}\n", said("date", &["-u", "+%Y-%m-%d"])?);
    let heading = if before.contains(&heading) { "" } else { &heading };
    let separator = if heading.is_empty() { "" } else { "\n" };
    fs::write(&path, format!("{before}{separator}{heading}\n{section}"))?;
    println!("{}", path.display());
    Ok(())
}

/// `Linux 6.18, 2 processors`.
pub fn machine() -> Result<String> {
    Ok(format!(
        "Linux {}, {} processors",
        said("uname", &["-r"])?,
        std::thread::available_parallelism()?
    ))
}

/// The released program, and the newest interpreter that most things are tested on.
fn setup() -> Result<Setup> {
    let bleedtrace = workspace::release()?;
    let newest = installed()
        .into_iter()
        .rfind(|one| [12, 13].contains(&one.minor) && !one.free_threaded);
    let interpreter = newest.context("no CPython 3.12 or 3.13")?;
    Ok(Setup::new(&bleedtrace, interpreter))
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// CPython's own tests on every installed interpreter that has them.
fn regression() -> Result<()> {
    let bleedtrace = workspace::release()?;
    let mut text = format!(
        "CPython's own tests with and without a tracer, {}. What ends in another way is run once more.\n\n\
         | CPython | tests | run | passed | otherwise when traced |\n|---|---|---|---|---|\n",
        machine()?
    );
    let mut differences = Vec::new();
    let mut ran = 0;
    for interpreter in installed() {
        let setup = Setup::new(&bleedtrace, interpreter);
        for suite in SUITES {
            let Some(mut regression) = Regression::run(&setup, &[suite]) else {
                writeln!(text, "| {} | {suite} | not installed | | |", interpreter.version)?;
                continue;
            };
            // What depends on time can end in either way without a tracer, too: only what does so twice counts.
            let first = regression.differences();
            if !first.is_empty() {
                println!("{} {suite}: {first:?}; once more", interpreter.name());
                regression = Regression::run(&setup, &[suite]).unwrap_or(regression);
            }
            let twice: Vec<_> = regression
                .differences()
                .into_iter()
                .filter(|difference| first.contains(difference))
                .collect();
            let passed = regression
                .traced
                .values()
                .filter(|ended| *ended == "passed")
                .count();
            let line = format!(
                "| {} | {suite} | {} | {passed} | {} |",
                interpreter.version,
                regression.traced.len(),
                twice.len()
            );
            println!("{line}");
            writeln!(text, "{line}")?;
            differences.extend(twice);
            ran += regression.traced.len();
        }
    }
    note(&text)?;
    ensure!(ran > 0, "no interpreter comes with CPython's tests");
    ensure!(
        differences.is_empty(),
        "CPython's tests end in another way: {}",
        differences.join(", ")
    );
    Ok(())
}

/// Correct traffic on the newest interpreter that the packages are pinned for.
fn traffic(seconds: u64) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let pinned = installed().into_iter().rfind(|one| [12, 13].contains(&one.minor));
    let setup = pinned.and_then(|one| Setup::new(&bleedtrace, one).with_requirements("pools"));
    let Some(setup) = setup else {
        anyhow::bail!(
            "correct traffic needs CPython 3.12 or 3.13 and the packages of tests/requirements/pools.txt"
        );
    };
    let traffic = Traffic::run(&setup, seconds, Duration::from_millis(10));
    let summary = &traffic.outcome.summary;
    note(&format!(
        "Correct traffic for {seconds} s, {}.\n\n\
         | CPython | reads | handoffs | findings | verdict | tracer's memory in the second quarter | in the last |\n|---|---|---|---|---|---|---|\n\
         | {} | {} | {} | {} | {} | {} KiB | {} KiB |\n",
        machine()?,
        setup.interpreter.version,
        summary["reads"]["own"],
        summary["targets"][0]["handoffs"],
        traffic.outcome.findings.len(),
        traffic.outcome.verdict(),
        traffic.resident_kib.early(),
        traffic.resident_kib.late(),
    ))?;
    traffic.assert_clean();
    traffic.assert_steady();
    Ok(())
}
