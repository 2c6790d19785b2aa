//! What a probe hit costs by what comes of it, next to what an empty program on the same addresses costs, and bpftrace.

use std::collections::BTreeMap;

use anyhow::Result;
use bleedtrace_tests::{Interpreter, is_main};

use super::{
    Bench, Group,
    armed::{Bpftrace, Empty},
    goals,
    interleave::interleaved,
    loops::{AGREEING, BIND, DISAGREEING, Loops, OTHER, PUT_GET},
    section::Section,
    spoken,
    tracer::{Counted, Tracer},
};

/// Calls of one measurement: fewer than the ring has room for, so that no record is lost.
const CALLS: u32 = 10_000;

/// What is called.
const OPERATIONS: [&str; 5] = [OTHER, AGREEING, DISAGREEING, BIND, PUT_GET];

/// What is armed during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    /// Nothing.
    Off,
    /// The empty program.
    Empty,
    /// The tracer.
    Traced,
    /// The tracer, while run times are measured at every hit.
    Measured,
    /// bpftrace, on reads alone.
    Bpftrace,
}

/// What one mode has shown in a round.
struct Shown {
    /// Nanoseconds of a call.
    times: BTreeMap<&'static str, f64>,
    counted: Counted,
}

type Turn = BTreeMap<Mode, Shown>;

/// Measures on every interpreter; those that most is tested on beside bpftrace, too.
pub fn measure(bench: &Bench) -> Result<Section> {
    let calls = bench.scaled(CALLS, 1_000);
    let mut section = Section::new(
        "What a hit costs",
        format!(
            "What tracing adds to a call, divided by what an empty program on the same addresses adds to it; batches of {calls} calls, the middle of three. \
A filtered read is one of another variable than the watched one; an agreeing one finds what the read before has found, \
a disagreeing one another value of 64 bytes, under more than eight frames. *put and get* is an executor's item that goes into a queue \
and out of it on one thread. bpftrace prints `str(arg0)` at each hit of the function that reads. *While measured*: the kernel measures run \
times at every hit, which is the case half a second in every ten."
        ),
    );
    let without = Bpftrace::missing(bench);
    if let Some(why) = &without {
        section.miss(goals::AGAINST_BPFTRACE, why);
    }
    let interpreters = bench.interpreters(|_| true)?;
    for interpreter in &interpreters {
        let mut modes = vec![Mode::Off, Mode::Empty, Mode::Traced];
        if is_main(interpreter) {
            modes.push(Mode::Measured);
            // Without symbols it has nothing to go by.
            modes.extend((without.is_none() && !interpreter.stripped).then_some(Mode::Bpftrace));
        }
        add(
            bench,
            interpreter,
            &modes,
            interpreters.len(),
            calls,
            &mut section,
        )?;
    }
    Ok(section)
}

fn add(
    bench: &Bench,
    interpreter: &Interpreter,
    modes: &[Mode],
    parts: usize,
    calls: u32,
    section: &mut Section,
) -> Result<()> {
    let mut loops = Loops::start(interpreter);
    let turns = interleaved(modes, bench.rounds(Group::Hit, parts), |mode| {
        show(bench, &mut loops, mode, calls)
    })?;
    let name = spoken(interpreter);
    let time = |turn: &Turn, mode: Mode, operation: &str| turn[&mode].times[operation];
    let added = |turn: &Turn, mode: Mode, operation: &str| {
        time(turn, mode, operation) - time(turn, Mode::Off, operation)
    };
    let over = |mode: Mode, operation: &'static str| {
        turns.each(move |turn| added(turn, mode, operation) / added(turn, Mode::Empty, operation))
    };
    section.add(goals::FILTERED, &name, over(Mode::Traced, OTHER));
    section.add(goals::AGREEING, &name, over(Mode::Traced, AGREEING));
    section.add(goals::DISAGREEING, &name, over(Mode::Traced, DISAGREEING));
    section.add("bind, over an empty probe", &name, over(Mode::Traced, BIND));
    section.add(
        "put and get, over empty probes",
        &name,
        over(Mode::Traced, PUT_GET),
    );
    section.add(
        goals::HANDOFF,
        &name,
        turns.each(|turn| {
            let own = time(turn, Mode::Off, PUT_GET) + 2.0 * added(turn, Mode::Empty, OTHER);
            added(turn, Mode::Traced, PUT_GET) / own
        }),
    );
    section.add(
        goals::LOST,
        &name,
        turns.each(|turn| turn[&Mode::Traced].counted.lost),
    );
    if modes.contains(&Mode::Bpftrace) {
        section.add(
            goals::AGAINST_BPFTRACE,
            &name,
            turns.each(|turn| {
                added(turn, Mode::Traced, DISAGREEING) / added(turn, Mode::Bpftrace, DISAGREEING)
            }),
        );
        section.add(
            "events that bpftrace lost",
            &name,
            turns.each(|turn| turn[&Mode::Bpftrace].counted.lost),
        );
    }
    if modes.contains(&Mode::Measured) {
        section.add(
            "filtered read, while measured",
            &name,
            over(Mode::Measured, OTHER),
        );
        section.add(
            "disagreeing read, while measured",
            &name,
            over(Mode::Measured, DISAGREEING),
        );
    }
    for (operation, called) in [
        (AGREEING, "a read"),
        (DISAGREEING, "a read in another context"),
        (PUT_GET, "put and get"),
    ] {
        section.add(
            &format!("{called}, untraced, ns"),
            &name,
            turns.each(|turn| time(turn, Mode::Off, operation)),
        );
    }
    section.add(
        "an empty probe adds to a read, ns",
        &name,
        turns.each(|turn| added(turn, Mode::Empty, OTHER)),
    );
    Ok(())
}

fn show(bench: &Bench, loops: &mut Loops, mode: Mode, calls: u32) -> Result<Shown> {
    let (mut tracer, mut empty, mut bpftrace) = (None, None, None);
    match mode {
        Mode::Off => {}
        Mode::Empty => empty = Some(Empty::start(bench, loops)?),
        Mode::Bpftrace => bpftrace = Some(Bpftrace::start(loops)?),
        Mode::Traced | Mode::Measured => {
            tracer = Some(Tracer::attached(
                bench,
                &[loops.pid()],
                &["--identity", "tenant"],
            )?);
        }
    }
    match mode {
        Mode::Traced => bench.calm(),
        Mode::Measured => empty = Some(Empty::measuring(bench)),
        _ => {}
    }
    let mut times = BTreeMap::new();
    for operation in OPERATIONS {
        times.insert(operation, loops.middle(operation, calls)?);
    }
    if let Some(empty) = empty {
        empty.stop();
    }
    let mut counted = tracer.map(Tracer::stop).transpose()?.unwrap_or_default();
    if let Some(bpftrace) = bpftrace {
        counted.lost = bpftrace.stop();
    }
    Ok(Shown { times, counted })
}
