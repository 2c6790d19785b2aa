//! What stands beside the tracer on the same addresses: an empty program, and bpftrace.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{Folder, Program};

use super::{
    Bench,
    loops::{AGREEING, Loops},
};
use crate::{deps, workspace};

/// The file that bpftrace prints to.
const PRINTED: &str = "printed";

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
pub struct Bpftrace {
    program: Program,
    /// What it prints goes there: it need not be text.
    folder: Folder,
}

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
        let folder = Folder::new("bench-bpftrace");
        let pid = loops.pid().to_string();
        let arguments = ["-p", &pid, "-o", &folder.file(PRINTED), "-e", &script];
        let mut program = Program::start(Command::new(bpftrace).args(arguments));
        let begin = Instant::now();
        loop {
            ensure!(program.runs(), "bpftrace ended: {}", program.end().stderr);
            loops.time(AGREEING, 100)?;
            // It says every now and then how often it was hit, as soon as it was.
            if printed(&folder).contains("@hits: ") {
                return Ok(Self { program, folder });
            }
            ensure!(begin.elapsed() < PATIENCE, "bpftrace is not hit");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Disarms it; gives the number of events that it says it lost.
    pub fn stop(self) -> f64 {
        self.program.signal("INT");
        let ended = self.program.end();
        let printed = printed(&self.folder);
        let said = printed
            .lines()
            .chain(ended.stdout.lines())
            .chain(ended.stderr.lines());
        said.filter_map(|line| line.strip_prefix("Lost ")?.split(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

fn printed(folder: &Folder) -> String {
    let printed = fs::read(folder.file(PRINTED)).unwrap_or_default();
    String::from_utf8_lossy(&printed).into_owned()
}
