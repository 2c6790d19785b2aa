//! What a probe hit costs, next to what an empty program on the same addresses costs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Interpreter, SUPPORTED, installed};

use super::{
    child::{interrupt, wait_for},
    notes,
    statistics::Spread,
};
use crate::workspace;

const LOOPS: &str = "xtask/src/bench/loops.py";
/// Calls of one measurement: fewer than the ring has room for, so that no record is lost.
const CALLS: u32 = 10_000;

/// How long the tracer measures run times at first.
const FIRST_MEASURED: Duration = Duration::from_millis(700);

/// What is called, how many probes one call hits, and the highest ratio that is accepted.
const OPERATIONS: [(&str, &str, Option<f64>); 4] = [
    ("get_other", "`get` of a variable that is not watched", Some(1.3)),
    (
        "get_watched",
        "`get` of a watched one: look-up, 8 frames, event",
        Some(2.5),
    ),
    ("set_watched", "`set` of a watched one", None),
    ("put_get", "`put` and `get` of a queue, three probes", None),
];

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
}

const MODES: [Mode; 4] = [Mode::Off, Mode::Empty, Mode::Traced, Mode::Measured];

struct Programs {
    bleedtrace: PathBuf,
    empty: PathBuf,
}

/// Prints the ratios and notes them.
pub fn run(rounds: u32) -> Result<()> {
    let programs = Programs {
        bleedtrace: workspace::release()?,
        empty: empty_probes()?,
    };
    let pythons = installed();
    ensure!(
        !pythons.is_empty(),
        "no CPython of {SUPPORTED:?}: set BLEEDTRACE_PYTHONS"
    );
    let mut text = format!(
        "What tracing adds to a call, divided by what an empty program on the same addresses adds to it. {rounds} rounds of {CALLS} \
calls each. The last column is the same while the kernel measures run times at every hit, which is the case half a second in every ten.\n"
    );
    for Interpreter { minor, python, .. } in pythons {
        let table = table(&measure(&programs, python, rounds)?);
        println!("\nCPython 3.{minor}\n{table}");
        write!(text, "\nCPython 3.{minor}:\n\n{table}")?;
    }
    notes::replace("What a hit costs", &text)
}

fn empty_probes() -> Result<PathBuf> {
    workspace::run(workspace::cargo_command().args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tracer-user",
        "--example",
        "empty_probes",
    ]))?;
    Ok(workspace::target().join("release/examples/empty_probes"))
}

/// Nanoseconds of a call by operation and mode, one for every round.
type Times = BTreeMap<(&'static str, Mode), Vec<f64>>;

fn measure(programs: &Programs, python: &Path, rounds: u32) -> Result<Times> {
    let mut loops = Loops::start(python)?;
    let files = loops.files()?;
    let mut times = Times::new();
    for round in 0..=rounds {
        for mode in MODES {
            let armed = Armed::start(programs, mode, loops.child.id(), &files)?;
            for (operation, ..) in OPERATIONS {
                let nanos = loops.time(operation)?;
                // The first round warms up.
                if round > 0 {
                    times.entry((operation, mode)).or_default().push(nanos);
                }
            }
            armed.stop()?;
        }
    }
    Ok(times)
}

fn table(times: &Times) -> String {
    let mut table =
        "| call | untraced, ns | empty adds, ns | tracing adds, ns | ratio | goal | ratio, measured |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (operation, label, goal) in OPERATIONS {
        let of = |mode: Mode| &times[&(operation, mode)];
        let added = |mode: Mode| -> Vec<f64> {
            of(mode)
                .iter()
                .zip(of(Mode::Off))
                .map(|(on, off)| on - off)
                .collect()
        };
        let empty = added(Mode::Empty);
        let ratio = |mode: Mode| {
            Spread::of(
                added(mode)
                    .iter()
                    .zip(&empty)
                    .map(|(traced, empty)| traced / empty),
            )
        };
        let goal = goal.map_or_else(String::new, |goal| format!("at most {goal}"));
        let _ = writeln!(
            table,
            "| {label} | {} | {} | {} | {} | {goal} | {} |",
            Spread::of(of(Mode::Off).iter().copied()),
            Spread::of(empty.iter().copied()),
            Spread::of(added(Mode::Traced)),
            ratio(Mode::Traced),
            ratio(Mode::Measured),
        );
    }
    table
}

/// The process whose calls are timed.
struct Loops {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    queue: String,
}

impl Loops {
    fn start(python: &Path) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(workspace::root().join(LOOPS))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", python.display()))?;
        let stdin = child.stdin.take().context("piped")?;
        let mut loops = Self {
            stdin,
            stdout: BufReader::new(child.stdout.take().context("piped")?),
            child,
            queue: String::new(),
        };
        loops.queue = loops.line()?;
        Ok(loops)
    }

    /// Files that the process maps and that may carry what the tracer probes.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?;
        let mut files: Vec<PathBuf> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|path| path.contains("/libpython") || *path == self.queue)
            .map(PathBuf::from)
            .collect();
        if !files
            .iter()
            .any(|file| file.to_string_lossy().contains("/libpython"))
        {
            files.push(std::fs::read_link(format!("/proc/{}/exe", self.child.id()))?);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn time(&mut self, operation: &str) -> Result<f64> {
        writeln!(self.stdin, "{operation} {CALLS}")?;
        self.line()?.parse().context("the loops answer with a number")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "the loops ended");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a mode needs running beside the loops.
struct Armed {
    tracer: Option<Child>,
    probes: Option<Child>,
}

impl Armed {
    fn start(programs: &Programs, mode: Mode, pid: u32, files: &[PathBuf]) -> Result<Self> {
        let helper = |arguments: &[&str]| -> Result<Child> {
            let mut command = Command::new(&programs.empty);
            command.args(arguments).args(files);
            wait_for(command.stdin(Stdio::piped()), "armed")
        };
        let tracer = || -> Result<Child> {
            let mut command = Command::new(&programs.bleedtrace);
            command.args(["trace", "--identity", "tenant", "--pid"]);
            wait_for(command.arg(pid.to_string()), "attached to")
        };
        let (tracer, probes) = match mode {
            Mode::Off => (None, None),
            Mode::Empty => (None, Some(helper(&[])?)),
            Mode::Traced => (Some(tracer()?), None),
            Mode::Measured => (Some(tracer()?), Some(helper(&["--nothing", "--run-times"])?)),
        };
        if mode == Mode::Traced {
            thread::sleep(FIRST_MEASURED);
        }
        Ok(Self { tracer, probes })
    }

    fn stop(self) -> Result<()> {
        if let Some(mut probes) = self.probes {
            drop(probes.stdin.take());
            probes.wait()?;
        }
        if let Some(mut tracer) = self.tracer {
            interrupt(&mut tracer)?;
        }
        Ok(())
    }
}
