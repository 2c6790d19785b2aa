//! Measuring: ratios of runs that alternate, so that they say the same on any machine.

mod accuracy;
mod app;
mod armed;
mod attach;
mod document;
mod engine;
mod fleet;
mod goals;
mod hit;
mod interleave;
mod loops;
mod record;
mod ring;
mod scale;
mod section;
mod server;
mod statistics;
mod targets;
mod tracer;
mod wire;

use std::{
    env,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Interpreter, SUPPORTED, Setup, interpreters, is_main, skip, untraceable};
use clap::{Args, ValueEnum};

use self::{document::Sections, interleave::Rounds, section::Section};
use crate::workspace;

/// How long the tracer measures run times at first.
const FIRST_MEASURED: Duration = Duration::from_millis(700);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Group {
    /// What a probe hit costs, by what comes of it.
    Hit,
    /// What tracing costs servers that are asked for as much as they can answer.
    App,
    /// How many events come through.
    Ring,
    /// Replaying, and the agent's memory.
    Engine,
    /// What a hit costs beside many processes, threads and variables.
    Scale,
    /// Time until a process is attached, and until nothing is left of that.
    Attach,
    /// A random mix of requests with recorded ground truth: no false finding, and none missed.
    Accuracy,
    /// What reading the wire costs a server.
    Wire,
    /// What recording takes, next to tracing.
    Record,
    /// Every rule and every panel in a Prometheus that has a thousand agents: only if it is named, for it takes its time.
    Fleet,
}

impl Group {
    /// As it is named on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::App => "app",
            Self::Ring => "ring",
            Self::Engine => "engine",
            Self::Scale => "scale",
            Self::Attach => "attach",
            Self::Accuracy => "accuracy",
            Self::Wire => "wire",
            Self::Record => "record",
            Self::Fleet => "fleet",
        }
    }

    /// What it takes of the time that all of them have.
    const fn share(self) -> f64 {
        match self {
            Self::Hit => 0.27,
            Self::App => 0.25,
            Self::Scale => 0.13,
            Self::Wire => 0.12,
            Self::Ring | Self::Engine | Self::Attach | Self::Record => 0.05,
            // They take as long as they take.
            Self::Accuracy | Self::Fleet => 0.0,
        }
    }

    fn measure(self, bench: &Bench) -> Result<Section> {
        match self {
            Self::Hit => hit::measure(bench),
            Self::App => app::measure(bench),
            Self::Ring => ring::measure(bench),
            Self::Engine => engine::measure(bench),
            Self::Scale => scale::measure(bench),
            Self::Attach => attach::measure(bench),
            Self::Accuracy => accuracy::measure(bench),
            Self::Wire => wire::measure(bench),
            Self::Record => record::measure(bench),
            Self::Fleet => fleet::measure(bench),
        }
    }
}

/// How it is measured.
#[derive(Args)]
pub struct Options {
    /// What is measured; all of it but for `fleet` when nothing is named.
    groups: Vec<Group>,
    /// Minutes that all groups take together, more or less; each takes its share of them.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Everything very short, on one interpreter: whether the benchmarks themselves work. Nothing is noted.
    #[arg(long)]
    smoke: bool,
    /// Measures nothing; writes docs/benchmarks.md anew, with the remarks as they are now.
    #[arg(long, conflicts_with_all = ["groups", "smoke"])]
    render: bool,
    /// Requests of a run of `accuracy`.
    #[arg(long, default_value_t = 2_000)]
    requests: u32,
    /// Of the random choices of `accuracy`.
    #[arg(long, default_value_t = 7)]
    seed: u32,
    #[command(flatten)]
    fleet: fleet::Size,
}

/// What groups measure with.
struct Bench {
    bleedtrace: PathBuf,
    /// Arms an empty program.
    empty: PathBuf,
    smoke: bool,
    minutes: f64,
    /// Of a run of `accuracy`.
    requests: u32,
    seed: u32,
    fleet: Option<fleet::Size>,
}

/// Measures, prints, and writes `docs/benchmarks.md`.
pub fn run(options: &Options) -> Result<()> {
    if options.render {
        return document::render();
    }
    if options.smoke {
        return smoke(&options.groups);
    }
    let bench = Bench {
        bleedtrace: workspace::release()?,
        empty: empty_probes("release", &["--release"])?,
        smoke: false,
        minutes: options.minutes,
        requests: options.requests,
        seed: options.seed,
        fleet: Some(options.fleet.clone()),
    };
    let mut failed = Vec::new();
    for group in named(&options.groups) {
        let begin = Instant::now();
        // What was measured is kept, whatever becomes of the others.
        match group.measure(&bench) {
            Ok(section) => {
                print(&section);
                println!("{}: {} s", group.name(), begin.elapsed().as_secs());
                failed.extend(inexact(&section));
                document::write(Sections::from([(group.name().to_owned(), section)]))?;
            }
            Err(error) => failed.push(format!("{}: {error:#}", group.name())),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Whether the benchmarks work, with the program that `BLEEDTRACE_BIN` names, or one that is built; says by name what cannot be measured here.
fn smoke(groups: &[Group]) -> Result<()> {
    if let Some(why) = untraceable() {
        skip("bench", &why);
        return Ok(());
    }
    let bleedtrace = match env::var_os("BLEEDTRACE_BIN") {
        Some(program) => program.into(),
        None => workspace::debug()?,
    };
    let bench = Bench {
        bleedtrace,
        empty: empty_probes("debug", &[])?,
        smoke: true,
        minutes: 0.0,
        requests: 200,
        seed: 7,
        fleet: None,
    };
    let groups = named(groups);
    let mut sections = Sections::new();
    for &group in &groups {
        let section = group.measure(&bench).with_context(|| group.name())?;
        print(&section);
        let faults = section.faults();
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        sections.insert(group.name().to_owned(), section);
    }
    let read = document::parse(&document::json(&sections)?)?;
    ensure!(read == sections, "what was measured does not read back");
    for goal in goals::GOALS.iter().filter(|goal| groups.contains(&goal.group)) {
        let section = &sections[goal.group.name()];
        let measured = section.figures.iter().any(|figure| figure.name == goal.name);
        ensure!(
            measured || !section.missing.is_empty(),
            "{}: neither measured nor said why not",
            goal.name
        );
    }
    for (group, section) in &sections {
        for (what, why) in &section.missing {
            skip(&format!("bench {group}"), &format!("{what}: {why}"));
        }
    }
    Ok(())
}

/// Those that are named, or all that do not have to be.
fn named(groups: &[Group]) -> Vec<Group> {
    if !groups.is_empty() {
        return groups.to_vec();
    }
    let all = Group::value_variants().iter().copied();
    all.filter(|group| *group != Group::Fleet).collect()
}

/// What has to be exact, however fast the machine is, and is not.
fn inexact(section: &Section) -> Vec<String> {
    let exact = [goals::EXACT, goals::EXACT_OF_HANDOFFS, goals::UNCOUNTED];
    let figures = section.figures.iter();
    figures
        .filter(|figure| exact.contains(&figure.name.as_str()) && figure.spread.high > 0.0)
        .map(|figure| format!("{}, {}: {}", figure.of, figure.name, figure.spread))
        .collect()
}

fn print(section: &Section) {
    println!("\n{}\n", section.title);
    for table in section.drawn() {
        println!("{table}");
    }
}

fn empty_probes(profile: &str, flags: &[&str]) -> Result<PathBuf> {
    let mut command: Command = workspace::cargo_command();
    command.args([
        "build",
        "--locked",
        "--package",
        "tracer-user",
        "--example",
        "empty_probes",
    ]);
    workspace::run(command.args(flags))?;
    Ok(workspace::target().join(profile).join("examples/empty_probes"))
}

impl Bench {
    /// Interpreters of this machine's root, one of each version: those that most is measured on, or all of them.
    fn interpreters(&self, wanted: fn(&Interpreter) -> bool) -> Result<Vec<&'static Interpreter>> {
        let mut found: Vec<_> = interpreters()
            .iter()
            .filter(|one| one.is_supported() && one.root.is_none() && wanted(one))
            .collect();
        found.dedup_by_key(|one| (one.minor, one.free_threaded));
        if self.smoke {
            // The one that packages are pinned for, if it is here.
            found.sort_by_key(|one| !is_main(one));
            found.truncate(1);
        }
        ensure!(
            !found.is_empty(),
            "no CPython of {SUPPORTED:?}: set BLEEDTRACE_PYTHONS"
        );
        Ok(found)
    }

    fn setup(&self, interpreter: &Interpreter) -> Setup {
        Setup::new(&self.bleedtrace, interpreter)
    }

    /// Rounds in a group's time, if it measures so many things one after the other.
    fn rounds(&self, group: Group, parts: usize) -> Rounds {
        // What a server or an interpreter does at first is over before the first round of these.
        let warm = !matches!(group, Group::App | Group::Wire | Group::Record | Group::Engine);
        let seconds = self.minutes * 60.0 * group.share() / parts as f64;
        Rounds {
            least: if self.smoke { 1 } else { 3 },
            time: Duration::from_secs_f64(seconds),
            warm: warm && !self.smoke,
        }
    }

    /// Waits until the tracer does not measure run times any more, as it does at first, then half a second in every ten.
    fn calm(&self) {
        if !self.smoke {
            thread::sleep(FIRST_MEASURED);
        }
    }

    /// A number, or the one that is enough to see whether it works.
    const fn scaled<T: Copy>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }
}

/// `3.14t`.
fn spoken(interpreter: &Interpreter) -> String {
    let threaded = if interpreter.free_threaded { "t" } else { "" };
    format!("3.{}{threaded}", interpreter.minor)
}
