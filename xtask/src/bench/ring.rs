//! How many events come through, and whether those that do not are counted.

use std::{thread, time::Duration};

use anyhow::Result;
use bleedtrace_tests::is_main;

use super::{
    Bench, Group,
    armed::Empty,
    goals,
    interleave::interleaved,
    loops::{DISAGREEING, Loops},
    section::Section,
    spoken,
    statistics::Spread,
    tracer::{Tracer, received},
};

/// Reads that no consumer gets: more than the ring has room for.
const BEYOND: u32 = 500_000;

/// How much of its time the producer does nothing, when it is to be slower.
const PAUSES: [f64; 8] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9];

/// Batches of one measurement.
const BATCHES: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Empty,
    Traced,
}

/// Measures one producer, as fast as nothing is lost, and one that nobody listens to for a while.
pub fn measure(bench: &Bench) -> Result<Section> {
    let calls = bench.scaled(20_000, 500);
    let mut section = Section::new(
        "How many events come through",
        format!(
            "One thread reads as fast as it can, and every read disagrees with the one before: {} reads with an empty program on the same \
address, and with the tracer, of which each is an event. Where events are lost the producer pauses between its batches, more and more, until none is. \
Beyond that: the tracer is stopped while {} events are made; then what it received and what it says it lost have to be what was made.",
            calls * BATCHES,
            bench.scaled(BEYOND, BEYOND / 2),
        ),
    );
    let interpreters = bench.interpreters(is_main)?;
    for interpreter in &interpreters {
        let mut loops = Loops::start(interpreter);
        let name = spoken(interpreter);
        let rounds = bench.rounds(Group::Ring, interpreters.len());
        let turns = interleaved(&[Mode::Empty, Mode::Traced], rounds, |mode| match mode {
            Mode::Empty => {
                let empty = Empty::start(bench, &loops)?;
                let rate = rate(&mut loops, calls, 0.0);
                empty.stop();
                rate
            }
            Mode::Traced => lossless(bench, &mut loops, calls),
        })?;
        section.add(
            goals::LOSSLESS,
            &name,
            turns.each(|turn| turn[&Mode::Traced] / turn[&Mode::Empty]),
        );
        section.add(
            "events in a second",
            &name,
            turns.each(|turn| turn[&Mode::Traced]),
        );
        beyond(bench, &mut loops, &name, &mut section)?;
    }
    Ok(section)
}

/// Reads in a second, with pauses that take a share of the time.
fn rate(loops: &mut Loops, calls: u32, pause: f64) -> Result<f64> {
    let mut nanos = 0.0;
    for _ in 0..BATCHES {
        let took = loops.time(DISAGREEING, calls)? * f64::from(calls);
        let paused = took * pause / (1.0 - pause);
        thread::sleep(Duration::from_nanos(paused as u64));
        nanos += took + paused;
    }
    Ok(f64::from(calls * BATCHES) / nanos * 1e9)
}

/// The highest rate at which nothing is lost; 0 if there is none.
fn lossless(bench: &Bench, loops: &mut Loops, calls: u32) -> Result<f64> {
    for pause in PAUSES {
        let tracer = Tracer::attached(bench, &[loops.pid()], &["--identity", "tenant"])?;
        bench.calm();
        let rate = rate(loops, calls, pause)?;
        if tracer.stop()?.lost == 0.0 {
            return Ok(rate);
        }
    }
    Ok(0.0)
}

/// Has more events made than there is room for while nobody takes any.
fn beyond(bench: &Bench, loops: &mut Loops, name: &str, section: &mut Section) -> Result<()> {
    let made = bench.scaled(BEYOND, BEYOND / 2);
    let mut tracer = Tracer::attached(bench, &[loops.pid()], &["--identity", "tenant"])?;
    tracer.signal("STOP");
    loops.time(DISAGREEING, made)?;
    tracer.signal("CONT");
    tracer.wait_until("it goes on", |_, metrics| received(metrics) > 0.0)?;
    let counted = tracer.stop()?;
    // What is told beside the reads, once, has no place in the difference.
    let uncounted = (f64::from(made) - counted.received - counted.lost).max(0.0);
    section.add(goals::UNCOUNTED, name, Spread::of([uncounted]));
    section.add(
        "beyond it: lost, share",
        name,
        Spread::of([counted.lost / f64::from(made)]),
    );
    Ok(())
}
