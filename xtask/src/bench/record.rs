//! What recording takes: of the server that is recorded, of the machine, and of the disk.

use std::fs;

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Folder, Setup, Trace, installed, is_main};

use super::{
    notes,
    server::{BATCH, CONNECTIONS, Figures, Server, WARM, one, processor},
    statistics::Spread,
};
use crate::workspace;

/// A way of watching the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Untraced,
    Traced,
    Recorded,
}

const WAYS: [Way; 3] = [Way::Untraced, Way::Traced, Way::Recorded];

/// Of one batch.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    server: Figures,
    /// Microseconds of processor time that the tracer took for an answer.
    tracer: f64,
    /// Bytes that were written for an answer.
    bytes: f64,
}

/// Prints the figures and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let mut text = format!(
        "A FastAPI service under uvicorn, asked {BATCH} times by {CONNECTIONS} connections for as much as it can answer: untraced, with \
`trace --identity`, and with `record --identity`, {rounds} turns of the three. Ratios are to the batch of the same turn that was only traced; *tracer* is what that and the \
thread that writes take of a processor for an answer, *bytes* is what was written for one.\n\n\
| CPython | untraced, answers/s | traced, answers/s | recorded: answers | service's time | tracer, µs: traced | recorded | bytes |\n\
|---|---|---|---|---|---|---|---|\n"
    );
    for interpreter in installed().into_iter().filter(|interpreter| is_main(interpreter)) {
        let setup = Setup::new(&bleedtrace, interpreter).with_requirements("loops");
        let setup = setup.context("the packages of requirements/loops.txt cannot be had")?;
        let turns = measure(&setup, rounds)?;
        let of = |figure: fn(&[Measured; WAYS.len()]) -> f64| Spread::of(turns.iter().map(figure));
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            interpreter.name(),
            of(|[untraced, ..]| untraced.server.answers),
            of(|[_, traced, _]| traced.server.answers),
            of(|[_, traced, recorded]| recorded.server.answers / traced.server.answers),
            of(|[_, traced, recorded]| recorded.server.processor / traced.server.processor),
            of(|[_, traced, _]| traced.tracer),
            of(|[.., recorded]| recorded.tracer),
            of(|[.., recorded]| recorded.bytes),
        );
        print!("{row}");
        text.push_str(&row);
    }
    notes::replace("What recording costs", &text)
}

fn measure(setup: &Setup, rounds: u32) -> Result<Vec<[Measured; WAYS.len()]>> {
    let folder = Folder::new("bench-record");
    let mut server = Server::start(&setup.interpreter.python, "asyncio", one)?;
    server.ask(BATCH)?;
    let turn = |round: u32| {
        let mut turn = [Measured::default(); WAYS.len()];
        for (measured, way) in turn.iter_mut().zip(WAYS) {
            *measured = batch(setup, &mut server, way, &folder.file(&round.to_string()))?;
        }
        Ok(turn)
    };
    (0..rounds).map(turn).collect()
}

fn batch(setup: &Setup, server: &mut Server, way: Way, file: &str) -> Result<Measured> {
    let trace = match way {
        Way::Untraced => None,
        Way::Traced => Some(Trace::new(setup, "tenant")),
        Way::Recorded => Some(Trace::recording(setup, "tenant", file)),
    };
    let tracer = trace.map(|trace| trace.attach(server.pid()));
    server.ask(WARM)?;
    let taken = || {
        tracer
            .as_ref()
            .map_or(Ok(0.0), |tracer| processor(tracer.program.pid()))
    };
    let before = taken()?;
    let figures = server.ask(BATCH)?;
    let mut measured = Measured {
        server: figures,
        tracer: (taken()? - before) * 1e6 / BATCH as f64,
        bytes: 0.0,
    };
    if let Some(tracer) = tracer {
        tracer.program.signal("INT");
        tracer.end();
    }
    if way == Way::Recorded {
        measured.bytes = fs::metadata(file)?.len() as f64 / (WARM + BATCH) as f64;
        fs::remove_file(file)?;
    }
    Ok(measured)
}
