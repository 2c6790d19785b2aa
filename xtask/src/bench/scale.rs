//! What a hit costs beside many processes, threads and variables, and beside a trace of somebody else.

use anyhow::Result;
use bleedtrace_tests::{Interpreter, is_main};

use super::{
    Bench, Group, goals,
    interleave::{Rounds, interleaved},
    loops::{AGREEING, DISAGREEING, Loops, OTHER},
    section::Section,
    spoken,
    targets::Targets,
    tracer::Tracer,
};

/// Variables that are watched besides.
const OTHERS: [&str; 7] = [
    "other_0", "other_1", "other_2", "other_3", "other_4", "other_5", "other_6",
];

/// Processes that are traced at most, and in a short run.
const MANY: usize = 100;
const FEW: usize = 3;

/// Between two handoffs of the processes that stand beside the measured one.
const IDLE: f64 = 3600.0;

/// What stands beside what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Nothing is traced.
    Off,
    /// So many processes are traced, each of the others idle.
    Processes(usize),
    /// So many threads.
    Threads(u32),
    /// So many variables are watched.
    Slots(usize),
}

/// Nanoseconds of a call.
struct Shown {
    filtered: f64,
    told: f64,
}

/// Measures on one of what most is tested on: it is the tracer whose tables grow.
pub fn measure(bench: &Bench) -> Result<Section> {
    let many = bench.scaled(MANY, FEW);
    let calls = bench.scaled(10_000, 1_000);
    let mut section = Section::new(
        "What a hit costs beside others",
        format!(
            "What tracing adds to a read over what it adds when one process with one thread is traced that watches one variable. *Processes* run from \
the same interpreter and are traced, too; *threads* have all read the watched variable since they are traced; *variables* are watched besides. \
A told read is a disagreeing one, a filtered one is of a variable that is not watched. The process that is not traced reads while another one of the same interpreter \
is, over the time that it takes when none is; batches of {calls} calls."
        ),
    );
    let ways: &[Way] = bench.scaled(
        &[
            Way::Off,
            Way::Processes(1),
            Way::Processes(10),
            Way::Processes(MANY),
            Way::Threads(10),
            Way::Threads(1000),
            Way::Slots(2),
            Way::Slots(4),
            Way::Slots(8),
        ],
        &[
            Way::Off,
            Way::Processes(1),
            Way::Processes(FEW),
            Way::Threads(20),
            Way::Slots(8),
        ],
    );
    for interpreter in bench.interpreters(is_main)?.into_iter().take(1) {
        let name = spoken(interpreter);
        let mut loops = Loops::start(interpreter);
        let rounds = bench.rounds(Group::Scale, 2);
        let turns = interleaved(ways, rounds, |way| {
            show(bench, interpreter, &mut loops, way, calls)
        })?;
        for way in &ways[2..] {
            let over = |figure: fn(&Shown) -> f64| {
                turns.each(move |turn| {
                    let off = figure(&turn[&Way::Off]);
                    (figure(&turn[way]) - off) / (figure(&turn[&Way::Processes(1)]) - off)
                })
            };
            let (told, beside) = match way {
                Way::Processes(processes) if *processes == many => {
                    (goals::MAPPED.to_owned(), format!("{processes} processes"))
                }
                Way::Processes(processes) => (
                    format!("told read with {processes} processes"),
                    format!("{processes} processes"),
                ),
                Way::Threads(threads) => (
                    format!("told read with {threads} threads"),
                    format!("{threads} threads"),
                ),
                Way::Slots(slots) => (
                    format!("told read with {slots} variables"),
                    format!("{slots} variables"),
                ),
                Way::Off => continue,
            };
            section.add(&told, &name, over(|shown| shown.told));
            section.add(
                &format!("filtered read with {beside}"),
                &name,
                over(|shown| shown.filtered),
            );
        }
        neighbour(bench, interpreter, rounds, &mut section)?;
    }
    Ok(section)
}

fn show(bench: &Bench, interpreter: &Interpreter, loops: &mut Loops, way: Way, calls: u32) -> Result<Shown> {
    let (mut processes, mut threads, mut slots) = (1, 1, 1);
    match way {
        Way::Off => {}
        Way::Processes(number) => processes = number,
        Way::Threads(number) => threads = number,
        Way::Slots(number) => slots = number,
    }
    let targets = match processes {
        1 => None,
        many => Some(Targets::start(interpreter, None, many - 1, 1, IDLE)?),
    };
    let tracer = if way == Way::Off {
        None
    } else {
        let mut pids = vec![loops.pid()];
        pids.extend(targets.iter().flat_map(|targets| &targets.processes));
        let mut flags = vec!["--identity", "tenant"];
        flags.extend(OTHERS[..slots - 1].iter().flat_map(|other| ["--identity", other]));
        Some(Tracer::attached(bench, &pids, &flags)?)
    };
    loops.threads(threads - 1)?;
    if tracer.is_some() {
        bench.calm();
    }
    let shown = Shown {
        filtered: loops.middle(OTHER, calls)?,
        told: loops.middle(DISAGREEING, calls)?,
    };
    tracer.map(Tracer::stop).transpose()?;
    if let Some(targets) = targets {
        targets.stop();
    }
    Ok(shown)
}

/// A process that is not traced, while another one is.
fn neighbour(bench: &Bench, interpreter: &Interpreter, rounds: Rounds, section: &mut Section) -> Result<()> {
    let (mut measured, traced) = (Loops::start(interpreter), Loops::start(interpreter));
    let calls = bench.scaled(100_000, 1_000);
    let turns = interleaved(&[false, true], rounds, |on| {
        let pids = [traced.pid()];
        let tracer = on
            .then(|| Tracer::attached(bench, &pids, &["--identity", "tenant"]))
            .transpose()?;
        bench.calm();
        let nanos = measured.middle(AGREEING, calls)?;
        tracer.map(Tracer::stop).transpose()?;
        Ok(nanos)
    })?;
    let name = spoken(interpreter);
    section.add(
        goals::NEIGHBOUR,
        &name,
        turns.each(|turn| turn[&true] / turn[&false]),
    );
    section.add(
        "a process that is not traced: added to a read, ns",
        &name,
        turns.each(|turn| turn[&true] - turn[&false]),
    );
    Ok(())
}
