//! How long it takes until live processes are traced, and until nothing is left of that.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Armed, Program, is_main};

use super::{Bench, Group, goals, interleave::interleaved, section::Section, spoken, targets::Targets};

/// How long probes may be left when the tracer is gone. What is left then belongs to somebody who traces the same interpreter.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is traced, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    many: bool,
    signal: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        many: false,
        signal: "INT",
    },
    Way {
        many: false,
        signal: "KILL",
    },
    Way {
        many: true,
        signal: "INT",
    },
    Way {
        many: true,
        signal: "KILL",
    },
];

/// Milliseconds.
struct Shown {
    first_finding: f64,
    disarmed: f64,
    ended: f64,
}

/// Measures on every interpreter, and with many processes on what most is tested on.
pub fn measure(bench: &Bench) -> Result<Section> {
    let many = bench.scaled(100, 4);
    let mut section = Section::new(
        "Attaching",
        format!(
            "From the start of `trace --pid` until it has printed that all processes are attached, and a finding; one process that loses an identity at a handoff \
two hundred times a second, or {many} that do so ten times a second each. Then from a signal to the tracer until no probe is left in any of them."
        ),
    );
    let interpreters = bench.interpreters(|_| true)?;
    for interpreter in &interpreters {
        let name = spoken(interpreter);
        let one = Targets::losing(interpreter, 1, 0.005)?;
        let all = if is_main(interpreter) {
            Some(Targets::losing(interpreter, many, 0.1)?)
        } else {
            None
        };
        let ways = if all.is_some() { &WAYS[..] } else { &WAYS[..2] };
        let rounds = bench.rounds(Group::Attach, interpreters.len());
        let turns = interleaved(ways, rounds, |way| {
            let targets = if way.many {
                all.as_ref().unwrap_or(&one)
            } else {
                &one
            };
            show(bench, &targets.processes, way.signal)
        })?;
        let mut add = |figure: &str, way: Way, of: fn(&Shown) -> f64| {
            section.add(figure, &name, turns.each(|turn| of(&turn[&way])));
        };
        let [one_interrupted, one_killed, many_interrupted, many_killed] = WAYS;
        add(goals::FIRST_FINDING, one_interrupted, |shown| shown.first_finding);
        add("1 process: disarmed after SIGINT, ms", one_interrupted, |shown| {
            shown.disarmed
        });
        add("1 process: ended after SIGINT, ms", one_interrupted, |shown| {
            shown.ended
        });
        add("1 process: disarmed after SIGKILL, ms", one_killed, |shown| {
            shown.disarmed
        });
        if all.is_some() {
            add(goals::FIRST_FINDING_OF_MANY, many_interrupted, |shown| {
                shown.first_finding
            });
            add(goals::DETACH, many_interrupted, |shown| shown.disarmed);
            add(goals::KILLED, many_killed, |shown| shown.disarmed);
        }
        for targets in all.into_iter().chain([one]) {
            targets.stop();
        }
    }
    Ok(section)
}

fn show(bench: &Bench, processes: &[u32], signal: &str) -> Result<Shown> {
    let millis = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    let mut tracer = Command::new(&bench.bleedtrace);
    tracer.args(["trace", "--identity", "tenant"]);
    for process in processes {
        tracer.args(["--pid", &process.to_string()]);
    }
    let mut tracer = Program::start(&mut tracer);
    let (mut attached, mut found) = (0, false);
    while attached < processes.len() || !found {
        let line = tracer.line();
        attached += usize::from(line.starts_with("attached to "));
        found |= line.contains(" black_hole_read f-");
    }
    let first_finding = millis(start);
    let probes = processes
        .iter()
        .map(|process| Armed::find(*process).with_context(|| format!("no probe is in process {process}")));
    let probes: Vec<Armed> = probes.collect::<Result<_>>()?;
    let start = Instant::now();
    tracer.signal(signal);
    while probes.iter().any(Armed::is_armed) && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_micros(500));
    }
    let left = probes.iter().any(Armed::is_armed);
    let disarmed = if left { f64::NAN } else { millis(start) };
    tracer.end();
    Ok(Shown {
        first_finding,
        disarmed,
        ended: if left { f64::NAN } else { millis(start) },
    })
}
