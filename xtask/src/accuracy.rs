//! The random mix with recorded ground truth: how many findings are right, false, missed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bleedtrace_tests::{Judged, SUPPORTED, Setup, Start, interpreters, mix};

use crate::{soak, workspace};

/// Sizes of the pools.
const POOLS: [u32; 3] = [1, 4, 32];

/// One run of the mix.
struct Run {
    /// What the interpreter is called.
    interpreter: String,
    workers: u32,
    start: Start,
    matrix: BTreeMap<String, Judged>,
    lost: u64,
    took: Duration,
}

impl Run {
    fn total(&self) -> Judged {
        self.matrix
            .values()
            .fold(Judged::default(), |sum, judged| Judged {
                right: sum.right + judged.right,
                wrong: sum.wrong + judged.wrong,
                missed: sum.missed + judged.missed,
            })
    }

    fn is_exact(&self) -> bool {
        let total = self.total();
        total.right > 0 && total.wrong == 0 && total.missed == 0
    }
}

/// Prints the confusion matrix of every run, and adds the results to `docs/soak.md`; any false or missed finding is an error.
pub fn soak(requests: u32, seed: u32) -> Result<()> {
    let runs = all(requests, seed)?;
    let mut text = format!(
        "A random mix of requests with recorded ground truth: {requests} requests a run, seed {seed}, {}.\n\n",
        soak::machine()?
    );
    text.push_str("| CPython | workers | how | right | false | missed | events lost | seconds |\n|---|---|---|---|---|---|---|---|\n");
    for run in &runs {
        let Judged { right, wrong, missed } = run.total();
        writeln!(
            text,
            "| {} | {} | {} | {right} | {wrong} | {missed} | {} | {:.1} |",
            run.interpreter,
            run.workers,
            run.start.name(),
            run.lost,
            run.took.as_secs_f64()
        )?;
    }
    soak::note(&text)?;
    ensure!(
        runs.iter().all(Run::is_exact),
        "there are false or missed findings"
    );
    Ok(())
}

fn all(requests: u32, seed: u32) -> Result<Vec<Run>> {
    let bleedtrace = workspace::release()?;
    let pythons: Vec<_> = interpreters().iter().filter(|one| one.is_supported()).collect();
    ensure!(
        !pythons.is_empty(),
        "no CPython of {SUPPORTED:?}: set BLEEDTRACE_PYTHONS"
    );
    let mut runs = Vec::new();
    for interpreter in pythons {
        let setup = Setup::new(&bleedtrace, interpreter);
        for (workers, start) in POOLS
            .into_iter()
            .flat_map(|workers| Start::ALL.map(|start| (workers, start)))
        {
            let run = one(&setup, requests, workers, seed, start);
            print(&run);
            runs.push(run);
        }
    }
    Ok(runs)
}

fn one(setup: &Setup, requests: u32, workers: u32, seed: u32, start: Start) -> Run {
    let begin = Instant::now();
    let (outcome, truth) = mix(setup, requests, workers, seed, start);
    Run {
        interpreter: setup.interpreter.name(),
        workers,
        start,
        matrix: outcome.matrix(&truth),
        lost: outcome.lost(),
        took: begin.elapsed(),
    }
}

fn print(run: &Run) {
    println!(
        "\nCPython {}, {} workers, {}: {} events lost, {:.1} s",
        run.interpreter,
        run.workers,
        run.start.name(),
        run.lost,
        run.took.as_secs_f64()
    );
    println!("{:<20} {:>8} {:>8} {:>8}", "kind", "right", "false", "missed");
    for (kind, Judged { right, wrong, missed }) in &run.matrix {
        println!("{kind:<20} {right:>8} {wrong:>8} {missed:>8}");
    }
}
