//! The random mix with recorded ground truth: how many findings are right, false, missed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bleedtrace_tests::{Judged, SUPPORTED, Setup, Trace, interpreters};

use crate::workspace;

/// Sizes of the pools.
const POOLS: [u32; 3] = [1, 4, 32];

/// One run of the mix.
struct Run {
    /// What the interpreter is called.
    interpreter: String,
    workers: u32,
    initializer: bool,
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

/// Prints the confusion matrix of every run; any false or missed finding is an error.
pub fn bench(requests: u32, seed: u32) -> Result<()> {
    let runs = mix(requests, seed)?;
    ensure!(
        runs.iter().all(Run::is_exact),
        "there are false or missed findings"
    );
    Ok(())
}

/// The same, for longer, with its results added to `docs/soak.md`.
pub fn soak(requests: u32, seed: u32) -> Result<()> {
    let runs = mix(requests, seed)?;
    let path = workspace::root().join("docs/soak.md");
    let before = fs::read_to_string(&path).unwrap_or_else(|_| {
        "# Long runs\n\nResults of `cargo xtask soak`: a random mix of requests with recorded ground truth.\n".to_owned()
    });
    let mut text = format!(
        "{before}\n## {}\n\n{requests} requests a run, seed {seed}, Linux {}, {} processors.\n\n",
        said("date", &["-u", "+%Y-%m-%d"])?,
        said("uname", &["-r"])?,
        std::thread::available_parallelism()?
    );
    text.push_str("| CPython | workers | initialiser | right | false | missed | events lost | seconds |\n|---|---|---|---|---|---|---|---|\n");
    for run in &runs {
        let Judged { right, wrong, missed } = run.total();
        writeln!(
            text,
            "| {} | {} | {} | {right} | {wrong} | {missed} | {} | {:.1} |",
            run.interpreter,
            run.workers,
            if run.initializer { "yes" } else { "no" },
            run.lost,
            run.took.as_secs_f64()
        )?;
    }
    fs::create_dir_all(workspace::root().join("docs"))?;
    fs::write(&path, text)?;
    println!("{}", path.display());
    ensure!(
        runs.iter().all(Run::is_exact),
        "there are false or missed findings"
    );
    Ok(())
}

fn mix(requests: u32, seed: u32) -> Result<Vec<Run>> {
    let bleedtrace = workspace::release()?;
    let pythons: Vec<_> = interpreters().iter().filter(|one| one.is_supported()).collect();
    ensure!(
        !pythons.is_empty(),
        "no CPython of {SUPPORTED:?}: set BLEEDTRACE_PYTHONS"
    );
    let mut runs = Vec::new();
    for interpreter in pythons {
        let setup = Setup::new(&bleedtrace, interpreter);
        for (workers, initializer) in POOLS
            .into_iter()
            .flat_map(|workers| [(workers, false), (workers, true)])
        {
            let run = one(&setup, requests, workers, seed, initializer);
            print(&run);
            runs.push(run);
        }
    }
    Ok(runs)
}

fn one(setup: &Setup, requests: u32, workers: u32, seed: u32, initializer: bool) -> Run {
    let numbers = [requests, workers, seed].map(|number| number.to_string());
    let mut arguments: Vec<&str> = numbers.iter().map(String::as_str).collect();
    arguments.extend(initializer.then_some("initializer"));
    let start = Instant::now();
    let (outcome, truth) = Trace::new(setup, "tenant")
        .revealing()
        .flags(["--mint", "*create_task"])
        .run(setup, "accuracy.py", &arguments);
    let lost = outcome.summary["events"]["lost"].as_object();
    Run {
        interpreter: setup.interpreter.name(),
        workers,
        initializer,
        matrix: outcome.matrix(&truth),
        lost: lost
            .into_iter()
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum(),
        took: start.elapsed(),
    }
}

fn print(run: &Run) {
    let initializer = if run.initializer {
        ", with an initialiser"
    } else {
        ""
    };
    println!(
        "\nCPython {}, {} workers{initializer}: {} events lost, {:.1} s",
        run.interpreter,
        run.workers,
        run.lost,
        run.took.as_secs_f64()
    );
    println!("{:<20} {:>8} {:>8} {:>8}", "kind", "right", "false", "missed");
    for (kind, Judged { right, wrong, missed }) in &run.matrix {
        println!("{kind:<20} {right:>8} {wrong:>8} {missed:>8}");
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
