//! What stands beside the tracer on the same addresses: an empty program, and bpftrace.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::Program;

use super::{
    Bench,
    loops::{AGREEING, Loops},
};
use crate::{deps, workspace};

/// How long bpftrace may take to arm its probe.
const PATIENCE: Duration = Duration::from_secs(30);

/// An empty program wherever the tracer has one, or nothing, while run times are measured at every hit.
pub struct Empty(Program);

impl Empty {
    /// Arms it in the files that a process maps.
    pub fn start(bench: &Bench, loops: &Loops) -> Result<Self> {
        let mut command = Command::new(&bench.empty);
        Ok(Self::begin(command.args(loops.files()?)))
    }

    /// Has run times measured.
    pub fn measuring(bench: &Bench) -> Self {
        let mut command = Command::new(&bench.empty);
        Self::begin(command.args(["--nothing", "--run-times"]))
    }

    fn begin(command: &mut Command) -> Self {
        let mut program = Program::start(command);
        program.wait_for("armed");
        Self(program)
    }

    /// Disarms it.
    pub fn stop(self) {
        // It ends with its input.
        self.0.end();
    }
}

/// bpftrace, which prints what the first argument of each read points at.
pub struct Bpftrace(Program);

impl Bpftrace {
    /// Why it cannot be run, if it cannot.
    pub fn missing(bench: &Bench) -> Option<String> {
        if bench.smoke && workspace::in_path("bpftrace").is_none() {
            return Some("not in PATH".to_owned());
        }
        deps::bpftrace().err().map(|error| format!("{error:#}"))
    }

    /// Arms it in a process; waits until that is hit.
    pub fn start(loops: &mut Loops) -> Result<Self> {
        const READ: &str = "PyContextVar_Get";
        let file = loops.files()?;
        let file = file
            .iter()
            .find(|file| !file.to_string_lossy().contains("_queue"))
            .context("the process maps an interpreter")?;
        let bpftrace = workspace::in_path("bpftrace").context("no bpftrace in PATH")?;
        let script = format!(
            "uprobe:{}:{READ} {{ @hits = count(); printf(\"%s\\n\", str(arg0)); }} interval:ms:100 {{ print(@hits); }}",
            file.display()
        );
        let mut program =
            Program::start(Command::new(bpftrace).args(["-p", &loops.pid().to_string(), "-e", &script]));
        let begin = Instant::now();
        loop {
            ensure!(program.runs(), "bpftrace ended: {}", program.end().stderr);
            loops.time(AGREEING, 100)?;
            // It says how often it was hit every now and then; at first that it attaches.
            if program.line().starts_with("@hits: ") {
                return Ok(Self(program));
            }
            ensure!(begin.elapsed() < PATIENCE, "bpftrace is not hit");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Disarms it; gives the number of events that it says it lost.
    pub fn stop(self) -> f64 {
        self.0.signal("INT");
        let ended = self.0.end();
        let said = ended.stdout.lines().chain(ended.stderr.lines());
        said.filter_map(|line| line.strip_prefix("Lost ")?.split(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}
