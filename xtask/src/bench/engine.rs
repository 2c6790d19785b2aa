//! How fast a recording is replayed, and how much memory the agent takes.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Agent, Folder, Interpreter, MARK, Setup, Steady, Trace, Usage, is_main};
use serde_json::Value;

use super::{
    Bench, Group, goals, interleave::interleaved, section::Section, spoken, statistics::Spread,
    targets::Targets,
};

/// Events that are recorded.
const EVENTS: u64 = 1_000_000;
/// Processes that make them.
const PROCESSES: u64 = 4;
/// In a second: what makes them and what records them share two processors.
const RATE: u64 = 100_000;
/// How long the agent's memory is watched.
const WATCHED: Duration = Duration::from_secs(10);
const CONFIG: &str = "[watch]\nidentity = [\"tenant\"]\n\
                      [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"bench\"\n";

/// Measures with what one of the interpreters makes: the engine knows none of them.
pub fn measure(bench: &Bench) -> Result<Section> {
    let interpreter = *bench.interpreters(is_main)?.first().context("none is empty")?;
    let events = bench.scaled(EVENTS, 10_000);
    let mut section = Section::new(
        "Replaying, and the agent's memory",
        format!(
            "A recording of at least {events} events of {PROCESSES} processes that serve requests is replayed; the rate is by the processor time that the replay took, start and end \
included. The agent's memory is the highest of {} s, in MB (10^6 bytes), while processes hand over work ten times a second each; each page counts by its share, and the ring, which the kernel maps twice in a row so that no \
record is cut in two, once. What `ps` shows as resident counts it twice.",
            bench.scaled(WATCHED, Duration::from_secs(1)).as_secs()
        ),
    );
    let setup = bench.setup(interpreter);
    replay(bench, &setup, events, &mut section)?;
    for (name, processes, threads) in [
        (goals::MEMORY, 1, 4),
        (goals::MEMORY_OF_MANY, bench.scaled(100, 3), bench.scaled(32, 4)),
    ] {
        let of = spoken(interpreter);
        let (by_share, resident) = memory(bench, &setup, interpreter, processes, threads)?;
        section.add(name, &of, Some(by_share));
        section.add(&format!("{name}, as resident"), &of, Some(resident));
    }
    Ok(section)
}

fn replay(bench: &Bench, setup: &Setup, events: u64, section: &mut Section) -> Result<()> {
    let folder = Folder::new("bench-engine");
    let file = folder.file("steady.bleed");
    let arguments = Steady::arguments(PROCESSES, RATE, events, Steady::READS);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let recording = Trace::recording(setup, "tenant", &file).flags(["--reads", "all"]);
    let mut recording = recording.start(setup, Steady::FIXTURE, &arguments);
    recording.program.wait_for("ready");
    recording.program.say("go on");
    let recording = recording.end();
    let recorded = recording.number("events", "received");
    let lost = recording.lost() as f64;
    ensure!(recorded > 0, "nothing was recorded");
    let bytes = fs::metadata(&file)?.len() as f64;
    let turns = interleaved(&[()], bench.rounds(Group::Engine, 1), |()| {
        let (begin, before) = (Instant::now(), taken_by_children()?);
        let mut command = Command::new(&setup.bleedtrace);
        let ended = command.args(["replay", &file, "--format", "json"]).output()?;
        let took = (begin.elapsed().as_secs_f64(), taken_by_children()? - before);
        let summary = String::from_utf8_lossy(&ended.stdout);
        let summary: Value = serde_json::from_str(summary.lines().next_back().unwrap_or_default())?;
        let received = summary["events"]["received"].as_f64();
        Ok((received.context("the summary says what was replayed")?, took))
    })?;
    let name = spoken(&setup.interpreter);
    // The kernel counts in hundredths of a second.
    let rate = |events: f64, seconds: f64| events / seconds.max(0.01) / 1e6;
    let by = |figure: fn((f64, f64)) -> f64| turns.each(move |turn| rate(turn[&()].0, figure(turn[&()].1)));
    section.add(goals::REPLAY, &name, by(|(_, processor)| processor));
    section.add(
        "replay, million events/s of the clock",
        &name,
        by(|(clock, _)| clock),
    );
    section.add("events replayed", &name, turns.each(|turn| turn[&()].0));
    section.add("events lost while it was recorded", &name, Spread::of([lost]));
    section.add("bytes of an event", &name, Spread::of([bytes / recorded as f64]));
    Ok(())
}

/// Seconds of processor time of all children that have ended.
fn taken_by_children() -> Result<f64> {
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit_once(')').context("a name in brackets")?.1;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}

/// What the agent holds beside so many processes of so many threads: by share, and as resident.
fn memory(
    bench: &Bench,
    setup: &Setup,
    interpreter: &Interpreter,
    processes: usize,
    threads: usize,
) -> Result<(Spread, Spread)> {
    let agent = Agent::start(setup, CONFIG);
    let targets = Targets::start(interpreter, Some((MARK, &agent.mark)), processes, threads, 0.1)?;
    // The process that oversees them is one more.
    agent.wait_for(
        "bleedtrace_targets",
        &[("state", "attached")],
        processes as u64 + 1,
    );
    let begin = Instant::now();
    let mut most = [0; 2];
    while begin.elapsed() < bench.scaled(WATCHED, Duration::from_secs(1)) {
        let usage = Usage::of(agent.program.pid()).context("the agent runs")?;
        most[0] = most[0].max(usage.proportional_kib);
        most[1] = most[1].max(usage.resident_kib);
        agent.metrics();
        thread::sleep(Duration::from_millis(500));
    }
    ensure!(
        agent.sample("bleedtrace_events_received_total", &[]) > 0,
        "the agent received nothing"
    );
    targets.stop();
    agent.end();
    let [by_share, resident] = most.map(|kib| Spread::of([kib as f64 * 1024.0 / 1e6]));
    Ok((
        by_share.context("it was looked at")?,
        resident.context("it was looked at")?,
    ))
}
