//! What reading the wire costs a server: its throughput and its processor time, traced and untraced.

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Running, Setup, Trace, is_main};

use super::{
    Bench, Group,
    interleave::{Rounds, interleaved},
    section::Section,
    server::{BATCH, CONNECTIONS, Figures, Request, Served, Server, WARM, forwarded, one, processor},
    spoken,
};

/// What the server is asked for: the least that such a service does, and what another service has to be asked for.
const ASKED: [(&str, Request); 2] = [("one order", one), ("a gateway", forwarded)];

/// A way of watching the server.
struct Way {
    name: &'static str,
    /// Which process is traced, if any.
    traced: Traced,
    options: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Traced {
    Nobody,
    /// Another process of the same interpreter: the server is hit, and passed over at once.
    Neighbour,
    Server,
}

const WAYS: [Way; 5] = [
    Way {
        name: "untraced",
        traced: Traced::Nobody,
        options: &[],
    },
    Way {
        name: "a neighbour",
        traced: Traced::Neighbour,
        options: &["--wire", "--tasks=false"],
    },
    Way {
        name: "traced",
        traced: Traced::Server,
        options: &[],
    },
    Way {
        name: "wire",
        traced: Traced::Server,
        options: &["--wire", "--tasks=false"],
    },
    Way {
        name: "wire and tasks",
        traced: Traced::Server,
        options: &["--wire"],
    },
];

/// Of the same batch, for an answer, if the server is traced.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    hits: f64,
    /// Microseconds of processor time that the tracer took.
    tracer: f64,
}

/// Measures on one of what packages are pinned for.
pub fn measure(bench: &Bench) -> Result<Section> {
    let batch = bench.scaled(BATCH, 80);
    let mut section = Section::new(
        "What reading the wire costs a server",
        format!(
            "A FastAPI service under uvicorn, asked {batch} times by {CONNECTIONS} connections for as much as it can answer: untraced, while \
`trace --wire` watches another process of the same interpreter (*a neighbour*: every probe is hit, and passed over at once, so that \
nothing that is traced can cost less), with `trace --identity` (*traced*), with `--wire --tasks=false` (*wire*), and with `--wire` (*wire and tasks*); a ratio is \
to the untraced batch of the same round. *One order* is the least that such a service does: it takes one in, and \
says a few words of it; a *gateway* asks another service, with httpx, and checks what that answers. *Answers* are those in a second (with the wire they \
are to be at least 0.95), *time* is the service's own processor time for one, with what probes take. Then, for an answer: how often probes are \
hit, and what the tracer takes elsewhere. The service, the tracer and who asks share two processors; where \
a machine's own host takes turns away from it, answers tell less than times, and times less than hits."
        ),
    );
    let mut interpreters = bench.interpreters(|one| is_main(one) && !one.free_threaded)?;
    // Four services are measured in five ways on each.
    interpreters.truncate(1);
    let loops: &[&str] = bench.scaled(&["asyncio", "uvloop"], &["asyncio"]);
    let asked = &ASKED[..bench.scaled(ASKED.len(), 1)];
    for interpreter in &interpreters {
        let Some(setup) = bench.setup(interpreter).with_requirements("loops") else {
            section.miss(
                &spoken(interpreter),
                "the packages of tests/requirements/loops.txt cannot be had",
            );
            continue;
        };
        for event_loop in loops {
            for &(what, request) in asked {
                let name = format!("{}, {event_loop}, {what}", spoken(interpreter));
                let rounds = bench.rounds(Group::Wire, interpreters.len() * loops.len() * asked.len());
                add(bench, &setup, event_loop, request, rounds, &name, &mut section)?;
            }
        }
    }
    Ok(section)
}

fn add(
    bench: &Bench,
    setup: &Setup,
    event_loop: &'static str,
    request: Request,
    rounds: Rounds,
    name: &str,
    section: &mut Section,
) -> Result<()> {
    let batch = bench.scaled(BATCH, 80);
    let start = || Server::start(&setup.interpreter.python, Served::FastApi(event_loop), request);
    let (mut server, mut neighbour) = (start()?, start()?);
    server.ask(batch)?;
    // What it loads only when it is asked is there now, too.
    neighbour.ask(WARM)?;
    let numbers: Vec<usize> = (0..WAYS.len()).collect();
    let turns = interleaved(&numbers, rounds, |way| {
        show(bench, setup, &mut server, neighbour.pid(), &WAYS[way])
    })?;
    let untraced = |of: fn(&Figures) -> f64| turns.each(move |turn| of(&turn[&0].0));
    section.add("untraced: answers/s", name, untraced(|figures| figures.answers));
    section.add(
        "untraced: time of an answer, µs",
        name,
        untraced(|figures| figures.processor),
    );
    for (number, Way { name: way, .. }) in WAYS.iter().enumerate().skip(1) {
        let ratio = |of: fn(&Figures) -> f64| turns.each(move |turn| of(&turn[&number].0) / of(&turn[&0].0));
        let probes = |of: fn(&Probes) -> f64| turns.each(move |turn| of(&turn[&number].1));
        section.add(&format!("{way}: answers"), name, ratio(|figures| figures.answers));
        section.add(&format!("{way}: time"), name, ratio(|figures| figures.processor));
        section.add(
            &format!("{way}: hits of an answer"),
            name,
            probes(|probes| probes.hits),
        );
        section.add(
            &format!("{way}: tracer, µs of an answer"),
            name,
            probes(|probes| probes.tracer),
        );
    }
    Ok(())
}

fn show(
    bench: &Bench,
    setup: &Setup,
    server: &mut Server,
    neighbour: u32,
    way: &Way,
) -> Result<(Figures, Probes)> {
    let batch = bench.scaled(BATCH, 80);
    let traced = match way.traced {
        Traced::Nobody => None,
        Traced::Neighbour => Some(neighbour),
        Traced::Server => Some(server.pid()),
    };
    let trace = |process| Trace::new(setup, "tenant").flags(way.options).attach(process);
    let tracer = traced.map(trace);
    if tracer.is_some() {
        bench.calm();
    }
    server.ask(WARM)?;
    let before = tracer.as_ref().map(taken).transpose()?;
    let figures = server.ask(batch)?;
    let after = tracer.as_ref().map(taken).transpose()?;
    let mut probes = Probes::default();
    if let Some(tracer) = tracer {
        tracer.program.signal("INT");
        let hits = tracer.end().summary["overhead"]["probe_hits"].as_f64();
        probes = Probes {
            hits: hits.context("the tracer counts")? / (WARM + batch) as f64,
            tracer: (after.unwrap_or_default() - before.unwrap_or_default()) * 1e6 / batch as f64,
        };
    }
    Ok((figures, probes))
}

/// Seconds of processor time that a tracer took so far.
fn taken(tracer: &Running) -> Result<f64> {
    processor(tracer.program.pid())
}
