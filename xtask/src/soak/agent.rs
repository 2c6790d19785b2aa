//! The agent beside processes that make 200,000 events in a second: nothing is lost, what is found is the truth, nothing grows.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bleedtrace_tests::{Agent, Course, Ended, Program, Setup, Steady, Usage, by_label, sample, wait_until};

use super::{MEMORY_KIB, PROCESSES, machine, note, setup};

/// Reads of the work of a request: programs that make so many events read more than they hand over.
const READS: u64 = 94;

/// How often it is asked for its metrics, at most.
const SCRAPE: Duration = Duration::from_secs(5);

/// Entries that come and go with what is under way.
const FEW: u64 = 256;

/// How often it is asked at least, in a short run.
const SCRAPES: u32 = 40;

const CONFIG: &str = "[watch]\nidentity = [\"tenant\"]\n\
                      [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"steady\"\n";

const ENTRIES: &str = "bleedtrace_state_entries";
const LOST: &str = "bleedtrace_events_lost_total";
const RECEIVED: &str = "bleedtrace_events_received_total";

/// What it uses in the course of the run.
#[derive(Default)]
struct Held {
    /// Milliseconds that it is behind.
    lag: Course,
    /// By its share of each page: the kernel maps the ring twice in a row.
    memory: Course,
    descriptors: Course,
    links: Course,
    maps: Course,
    tables: BTreeMap<String, Course>,
}

/// A run.
struct Run {
    held: Held,
    took: Duration,
    truth: Steady,
    found: Steady,
    received: u64,
    /// Events that were lost, by the reason.
    lost: BTreeMap<String, u64>,
    /// Seconds of a processor that the agent took.
    processor: f64,
    /// Entries of tables when all processes have ended.
    left: BTreeMap<String, u64>,
    /// Entries that tables dropped.
    evicted: BTreeMap<String, u64>,
    agent: Ended,
}

impl Run {
    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Events that were made in a second.
    fn rate(&self) -> f64 {
        self.truth.events() as f64 / self.took.as_secs_f64()
    }
}

/// Runs it for some seconds beside so many events in each of them, and adds a section to `docs/soak.md`.
pub fn run(seconds: u64, rate: u64) -> Result<()> {
    let setup = setup()?;
    let run = observe(&setup, seconds, rate)?;
    let text = text(&setup, &run, rate)?;
    print!("{text}");
    note(&text)?;
    ensure!(
        run.agent.code == Some(0),
        "the agent ended with {:?}",
        run.agent.code
    );
    let differences = run.found.differences(&run.truth);
    ensure!(
        differences.is_empty(),
        "not what was there: {}",
        differences.join("; ")
    );
    ensure!(run.lost() == 0, "events were lost: {:?}", run.lost);
    // Who makes them waits until it is time for the next, and no longer than it is asked to go on.
    ensure!(
        run.rate() >= 0.99 * rate as f64,
        "only {:.0} events a second",
        run.rate()
    );
    let held = &run.held;
    ensure!(
        held.memory.most() <= MEMORY_KIB,
        "{} KiB of memory",
        held.memory.most()
    );
    let figures = [
        ("memory", &held.memory),
        ("descriptors", &held.descriptors),
        ("links", &held.links),
        ("maps", &held.maps),
    ];
    let tables = held.tables.iter().map(|(name, course)| (name.as_str(), course));
    let all = figures
        .into_iter()
        .chain(tables.filter(|(_, course)| course.late() > FEW));
    for (what, course) in all {
        ensure!(
            course.is_flat(),
            "{what} grew from {} to {}",
            course.early(),
            course.late()
        );
    }
    ensure!(
        run.left.values().all(|entries| *entries == 0),
        "entries are left of processes that have ended: {:?}",
        run.left
    );
    Ok(())
}

fn observe(setup: &Setup, seconds: u64, rate: u64) -> Result<Run> {
    // Every read is an event.
    let agent = Agent::start_as(setup, CONFIG, &[], &["--reads", "all"]);
    let mut load = Program::start(agent.command(setup, Steady::FIXTURE).args(Steady::arguments(
        PROCESSES,
        rate,
        rate * seconds,
        READS,
    )));
    load.wait_for("ready");
    // The process that oversees them is one more.
    agent.wait_for("bleedtrace_targets", &[("state", "attached")], PROCESSES + 1);
    let total = |metrics: &str, family| sample(metrics, family, &[]).unwrap_or(0.0);
    let before = agent.metrics();
    load.say("go on");
    let begin = Instant::now();
    let every = SCRAPE.min(Duration::from_secs(seconds) / SCRAPES);
    let mut held = Held::default();
    let mut next = begin;
    while load.runs() {
        ensure!(
            begin.elapsed() < Duration::from_secs(120 + 2 * seconds),
            "the requests do not end"
        );
        if Instant::now() >= next {
            next += every;
            look(&agent, &mut held);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let took = begin.elapsed();
    let truth = Steady::parse(&load.end().stdout);
    wait_until(
        "every process is known to have ended",
        Duration::from_secs(60),
        || (agent.sample("bleedtrace_targets", &[("state", "attached")]) == 0).then_some(()),
    );
    let after = agent.metrics();
    let since = |family| total(&after, family) - total(&before, family);
    let mut run = Run {
        held,
        took,
        truth,
        found: Steady::exported(&after),
        received: since(RECEIVED) as u64,
        lost: by_label(&after, LOST, "reason"),
        processor: since("process_cpu_seconds_total"),
        left: by_label(&after, ENTRIES, "table"),
        evicted: by_label(&after, "bleedtrace_state_evictions_total", "table"),
        agent: Ended::default(),
    };
    run.agent = agent.end().0;
    Ok(run)
}

/// Asks for its metrics, as Prometheus does, and looks at what it uses.
fn look(agent: &Agent, held: &mut Held) {
    let metrics = agent.metrics();
    for (table, entries) in by_label(&metrics, ENTRIES, "table") {
        held.tables.entry(table).or_default().extend([entries]);
    }
    held.lag
        .extend(sample(&metrics, "bleedtrace_ring_lag_seconds", &[]).map(|seconds| (seconds * 1e3) as u64));
    if let Some(usage) = Usage::of(agent.program.pid()) {
        held.memory.extend([usage.proportional_kib]);
        held.descriptors.extend([usage.descriptors]);
        held.links.extend([usage.links]);
        held.maps.extend([usage.maps]);
    }
}

fn text(setup: &Setup, run: &Run, rate: u64) -> Result<String> {
    let took = run.took.as_secs_f64();
    let findings: u64 = run.found.findings.values().sum();
    let (wrong, missed) = run.found.wrong_and_missed(&run.truth);
    let held = &run.held;
    let mut text = format!(
        "The agent beside {PROCESSES} processes of CPython {} for {took:.0} s, {}; goal: {rate} events a second, none lost, less than 60 MB \
         that do not grow. Its metrics are asked for all along.\n\n\
         | events received | made a second | lost | findings | false | missed | processor time |\n|---|---|---|---|---|---|---|\n\
         | {} | {:.0} | {} | {findings} | {wrong} | {missed} | {:.0} % |\n\n\
         | held by the agent | in the second quarter | in the last | at most | dropped |\n|---|---|---|---|---|\n",
        setup.interpreter.version,
        machine()?,
        run.received,
        run.rate(),
        run.lost(),
        100.0 * run.processor / took,
    );
    let mut row = |what: &str, course: &Course, dropped: &str| {
        writeln!(
            text,
            "| {what} | {} | {} | {} | {dropped} |",
            course.early(),
            course.late(),
            course.most()
        )
    };
    row("memory, KiB", &held.memory, "")?;
    row("behind, ms", &held.lag, "")?;
    row("descriptors", &held.descriptors, "")?;
    row("of these, links", &held.links, "")?;
    row("of these, maps", &held.maps, "")?;
    for (table, course) in &held.tables {
        let dropped = run.evicted.get(table).copied().unwrap_or(0);
        row(&format!("entries of `{table}`"), course, &dropped.to_string())?;
    }
    Ok(text)
}
