//! What reading the wire costs a server: its throughput and its processor time, traced and untraced.

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Running, Setup, Trace, installed, is_main};

use super::{
    notes,
    server::{BATCH, CONNECTIONS, Figures, Request, Server, WARM, forwarded, one, processor},
    statistics::Spread,
};
use crate::workspace;

/// Turns of each way in a round: the machine's speed may change from one second to the next.
const TURNS: u32 = 3;

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

/// A batch each way.
type Turn = [(Figures, Probes); WAYS.len()];

/// Prints the figures and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let bleedtrace = workspace::release()?;
    let turns = rounds * TURNS;
    let mut text = format!(
        "A FastAPI service under uvicorn, asked {BATCH} times by {CONNECTIONS} connections for as much as it can answer: untraced, while \
`trace --wire` watches another process of the same interpreter (*a neighbour*: every probe is hit, and passed over at once, so that \
nothing that is traced can cost less), with `trace --identity` (*traced*), with `--wire --tasks=false`, and with `--wire`, {turns} turns of the \
five; a ratio is to the untraced batch of the same turn. *One order* is the least that such a service does: it takes one in, and \
says a few words of it; a *gateway* asks another service, with httpx, and checks what that answers. *Answers* are those in a second (goal with the wire: at \
least 0.95), *time* is the service's own processor time for one, with what probes take. Then, for an answer: how often probes are \
hit, and what the tracer takes elsewhere. The service, the tracer and who asks share two processors; where \
a machine's own host takes turns away from it, answers tell less than times, and times less than hits.\n\n\
| CPython, loop, asked for | untraced, answers/s | µs an answer | way | answers | time | hits | tracer, µs |\n\
|---|---|---|---|---|---|---|---|\n"
    );
    for interpreter in installed().into_iter().filter(|interpreter| is_main(interpreter)) {
        let setup = Setup::new(&bleedtrace, interpreter).with_requirements("loops");
        let setup = setup.context("the packages of requirements/loops.txt cannot be had")?;
        for event_loop in ["asyncio", "uvloop"] {
            for (what, request) in ASKED {
                let name = format!("3.{}, {event_loop}, {what}", interpreter.minor);
                let rows = rows(&name, &measure(&setup, event_loop, request, turns)?);
                print!("{rows}");
                text.push_str(&rows);
            }
        }
    }
    notes::replace("What reading the wire costs a server", &text)
}

/// A line for each way of tracing.
fn rows(name: &str, turns: &[Turn]) -> String {
    let untraced = |of: fn(&Figures) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[0].0)));
    let answers = |figures: &Figures| figures.answers;
    let processor = |figures: &Figures| figures.processor;
    let line = |way: usize| {
        let ratio =
            |of: fn(&Figures) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[way].0) / of(&turn[0].0)));
        let probes = |of: fn(&Probes) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[way].1))).median;
        format!(
            "| {name} | {} | {} | {} | {} | {} | {:.1} | {:.0} |\n",
            untraced(answers),
            untraced(processor),
            WAYS[way].name,
            ratio(answers),
            ratio(processor),
            probes(|probes| probes.hits),
            probes(|probes| probes.tracer)
        )
    };
    (1..WAYS.len()).map(line).collect()
}

fn measure(setup: &Setup, event_loop: &str, request: Request, turns: u32) -> Result<Vec<Turn>> {
    let start = || Server::start(&setup.interpreter.python, event_loop, request);
    let (mut server, mut neighbour) = (start()?, start()?);
    server.ask(BATCH)?;
    // What it loads only when it is asked is there now, too.
    neighbour.ask(WARM)?;
    (0..turns)
        .map(|_| turn(setup, &mut server, neighbour.pid()))
        .collect()
}

fn turn(setup: &Setup, server: &mut Server, neighbour: u32) -> Result<Turn> {
    let mut turn = Turn::default();
    for ((figures, probes), way) in turn.iter_mut().zip(WAYS) {
        let traced = match way.traced {
            Traced::Nobody => None,
            Traced::Neighbour => Some(neighbour),
            Traced::Server => Some(server.pid()),
        };
        let trace = |process| Trace::new(setup, "tenant").flags(way.options).attach(process);
        let tracer = traced.map(trace);
        server.ask(WARM)?;
        let before = tracer.as_ref().map(taken).transpose()?;
        *figures = server.ask(BATCH)?;
        let after = tracer.as_ref().map(taken).transpose()?;
        if let Some(tracer) = tracer {
            tracer.program.signal("INT");
            let hits = tracer.end().summary["overhead"]["probe_hits"].as_f64();
            *probes = Probes {
                hits: hits.context("the tracer counts")? / (WARM + BATCH) as f64,
                tracer: (after.unwrap_or_default() - before.unwrap_or_default()) * 1e6 / BATCH as f64,
            };
        }
    }
    Ok(turn)
}

/// Seconds of processor time that a tracer took so far.
fn taken(tracer: &Running) -> Result<f64> {
    processor(tracer.program.pid())
}
