//! What tracing costs servers that are asked for as much as they can answer.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bleedtrace_tests::is_main;

use super::{
    Bench, Group, goals,
    interleave::interleaved,
    section::Section,
    server::{CONNECTIONS, Figures, Request, Served, Server, processor, tool, work},
    spoken,
    statistics::Spread,
    targets::Targets,
    tracer::{Counted, Tracer},
};

/// Seconds between what a process does that is traced instead of the server.
const PAUSE: f64 = 5.0;

/// Requests in a row that are measured.
const BATCH: usize = 1000;

/// A server, what it needs, and what it is asked for.
const SERVERS: [(&str, &str, Served, Request); 2] = [
    ("FastAPI", "loops", Served::FastApi("asyncio"), work),
    ("MCP SDK", "mcp-2.3.0", Served::Mcp, tool),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Off,
    /// The same once more: how much two batches differ in which nothing does.
    OffAgain,
    Full,
    Handoffs,
    /// Another process of the interpreter is traced: every probe is hit and let pass, than which nothing can cost less.
    FullOfAnother,
    HandoffsOfAnother,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Off,
        Self::OffAgain,
        Self::Full,
        Self::Handoffs,
        Self::FullOfAnother,
        Self::HandoffsOfAnother,
    ];

    /// How what the server does is traced, if it is.
    const fn flags(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Off | Self::OffAgain => None,
            Self::Full | Self::FullOfAnother => Some(&["--identity", "tenant"]),
            Self::Handoffs | Self::HandoffsOfAnother => Some(&["--identity", "tenant", "--tier", "handoffs"]),
        }
    }
}

/// Of one batch.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    server: Figures,
    /// Seconds of a processor that the tracer took over those that the server took.
    share: f64,
    /// Events of a request.
    events: f64,
    counted: Counted,
}

/// Measures both servers on what most is tested on.
pub fn measure(bench: &Bench) -> Result<Section> {
    let batch = bench.scaled(BATCH, 80);
    let mut section = Section::new(
        "What tracing costs a server",
        format!(
            "Servers under uvicorn, asked {batch} times in a row by {CONNECTIONS} connections, each for the next answer as soon as it has one: ten reads of the \
watched variable and one handoff a request, traced and not, in turn. *Untraced again* is what the same figures are when nothing differs; *let pass* is what they are when \
another process of the same interpreter is traced, so that the server hits every probe and the program looks into one table and returns: what the kernel's traps take, whatever is done in them. The server, the \
tracer and who asks share the processors."
        ),
    );
    let interpreters = bench.interpreters(is_main)?;
    for interpreter in &interpreters {
        for (what, packages, served, request) in SERVERS {
            let name = format!("{} {what}", spoken(interpreter));
            let Some(setup) = bench.setup(interpreter).with_requirements(packages) else {
                section.miss(
                    &name,
                    &format!("the packages of tests/requirements/{packages}.txt cannot be had"),
                );
                continue;
            };
            let another = Targets::start(interpreter, None, 1, 1, PAUSE)?;
            let mut server = Server::start(&setup.interpreter.python, served, request)?;
            server.ask(batch)?;
            let rounds = bench.rounds(Group::App, interpreters.len() * SERVERS.len());
            let turns = interleaved(&Way::ALL, rounds, |way| {
                show(bench, &mut server, &another, way, batch)
            })?;
            another.stop();
            let over = |way: Way, figure: fn(&Figures) -> f64| {
                turns.each(move |turn: &BTreeMap<Way, Shown>| {
                    figure(&turn[&way].server) / figure(&turn[&Way::Off].server)
                })
            };
            let answers = |figures: &Figures| figures.answers;
            let tail = |figures: &Figures| figures.tail;
            let taken = |figures: &Figures| figures.processor;
            let mut add = |figure: &str, spread: Option<Spread>| section.add(figure, &name, spread);
            add(goals::THROUGHPUT, over(Way::Full, answers));
            add(goals::TAIL, over(Way::Full, tail));
            add(
                "full tier: server's processor time, on/off",
                over(Way::Full, taken),
            );
            add(goals::SHARE, turns.each(|turn| turn[&Way::Full].share));
            add(goals::THROUGHPUT_OF_HANDOFFS, over(Way::Handoffs, answers));
            add("handoffs tier: p99 latency, on/off", over(Way::Handoffs, tail));
            add(
                "handoffs tier: server's processor time, on/off",
                over(Way::Handoffs, taken),
            );
            for (tier, way) in [("full", Way::FullOfAnother), ("handoffs", Way::HandoffsOfAnother)] {
                add(&format!("{tier} tier, let pass: throughput"), over(way, answers));
                add(
                    &format!("{tier} tier, let pass: server's processor time"),
                    over(way, taken),
                );
            }
            add("untraced again: throughput", over(Way::OffAgain, answers));
            add("untraced again: p99 latency", over(Way::OffAgain, tail));
            add(
                "untraced again: server's processor time",
                over(Way::OffAgain, taken),
            );
            add(
                "untraced: answers in a second",
                turns.each(|turn| turn[&Way::Off].server.answers),
            );
            add(
                "untraced: p99 latency, ms",
                turns.each(|turn| turn[&Way::Off].server.tail * 1e3),
            );
            add(
                "full tier: events of a request",
                turns.each(|turn| turn[&Way::Full].events),
            );
            add(
                "full tier: events lost",
                turns.each(|turn| turn[&Way::Full].counted.lost),
            );
            let none = turns.sum(|turn| turn[&Way::Full].counted.received) == 0.0;
            ensure!(!none, "{name}: nothing was traced");
        }
    }
    Ok(section)
}

fn show(bench: &Bench, server: &mut Server, another: &Targets, way: Way, batch: usize) -> Result<Shown> {
    let traced = match way {
        Way::FullOfAnother | Way::HandoffsOfAnother => &another.processes[..],
        _ => &[server.pid()],
    };
    let tracer = way.flags().map(|flags| Tracer::attached(bench, traced, flags));
    let tracer = tracer.transpose()?;
    if tracer.is_some() {
        bench.calm();
    }
    let warm = batch / 5;
    server.ask(warm)?;
    let of_both = |server: &Server| -> Result<(f64, f64)> {
        let tracer = tracer.as_ref().map(|tracer| processor(tracer.pid()));
        Ok((tracer.transpose()?.unwrap_or_default(), processor(server.pid())?))
    };
    let before = of_both(server)?;
    let figures = server.ask(batch)?;
    let after = of_both(server)?;
    let counted = tracer.map(Tracer::stop).transpose()?.unwrap_or_default();
    Ok(Shown {
        server: figures,
        share: (after.0 - before.0) / (after.1 - before.1),
        events: counted.received / (warm + batch) as f64,
        counted,
    })
}
