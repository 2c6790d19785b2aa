//! What recording takes: of the server that is recorded, of the machine, and of the disk.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use bleedtrace_tests::{Folder, Setup, Trace, is_main};

use super::{
    Bench, Group,
    interleave::interleaved,
    section::Section,
    server::{BATCH, CONNECTIONS, Figures, Served, Server, WARM, one, processor},
    spoken,
};

/// A way of watching the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Measures on what packages are pinned for.
pub fn measure(bench: &Bench) -> Result<Section> {
    let batch = bench.scaled(BATCH, 80);
    let mut section = Section::new(
        "What recording costs",
        format!(
            "A FastAPI service under uvicorn, asked {batch} times by {CONNECTIONS} connections for as much as it can answer: untraced, with \
`trace --identity`, and with `record --identity`. Ratios are to the batch of the same round that was only traced; *tracer* is what that and the \
thread that writes take of a processor for an answer, *bytes* is what was written for one."
        ),
    );
    let interpreters = bench.interpreters(|one| is_main(one) && !one.free_threaded)?;
    for interpreter in &interpreters {
        let name = spoken(interpreter);
        let Some(setup) = bench.setup(interpreter).with_requirements("loops") else {
            section.miss(
                &name,
                "the packages of tests/requirements/loops.txt cannot be had",
            );
            continue;
        };
        let folder = Folder::new("bench-record");
        let mut server = Server::start(&setup.interpreter.python, Served::FastApi("asyncio"), one)?;
        server.ask(batch)?;
        let rounds = bench.rounds(Group::Record, interpreters.len());
        let turns = interleaved(&WAYS, rounds, |way| {
            show(bench, &setup, &mut server, way, &folder.file("recorded.bleed"))
        })?;
        let mut add = |figure: &str, of: fn(&BTreeMap<Way, Measured>) -> f64| {
            section.add(figure, &name, turns.each(of));
        };
        add("untraced: answers/s", |turn| turn[&Way::Untraced].server.answers);
        add("traced: answers/s", |turn| turn[&Way::Traced].server.answers);
        add("recorded: answers", |turn| {
            turn[&Way::Recorded].server.answers / turn[&Way::Traced].server.answers
        });
        add("recorded: service's time", |turn| {
            turn[&Way::Recorded].server.processor / turn[&Way::Traced].server.processor
        });
        add("traced: tracer, µs of an answer", |turn| {
            turn[&Way::Traced].tracer
        });
        add("recorded: tracer, µs of an answer", |turn| {
            turn[&Way::Recorded].tracer
        });
        add("recorded: bytes of an answer", |turn| turn[&Way::Recorded].bytes);
    }
    Ok(section)
}

fn show(bench: &Bench, setup: &Setup, server: &mut Server, way: Way, file: &str) -> Result<Measured> {
    let batch = bench.scaled(BATCH, 80);
    let trace = match way {
        Way::Untraced => None,
        Way::Traced => Some(Trace::new(setup, "tenant")),
        Way::Recorded => Some(Trace::recording(setup, "tenant", file)),
    };
    let tracer = trace.map(|trace| trace.attach(server.pid()));
    if tracer.is_some() {
        bench.calm();
    }
    server.ask(WARM)?;
    let taken = || {
        tracer
            .as_ref()
            .map_or(Ok(0.0), |tracer| processor(tracer.program.pid()))
    };
    let before = taken()?;
    let figures = server.ask(batch)?;
    let mut measured = Measured {
        server: figures,
        tracer: (taken()? - before) * 1e6 / batch as f64,
        bytes: 0.0,
    };
    if let Some(tracer) = tracer {
        tracer.program.signal("INT");
        tracer.end();
    }
    if way == Way::Recorded {
        measured.bytes = fs::metadata(file)?.len() as f64 / (WARM + batch) as f64;
        fs::remove_file(file)?;
    }
    Ok(measured)
}
