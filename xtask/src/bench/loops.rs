//! A process whose calls are timed.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Interpreter, Program};

use super::statistics::Spread;
use crate::workspace;

const LOOPS: &str = "xtask/src/bench/loops.py";

/// A read of another variable than the watched one.
pub const OTHER: &str = "get_other";
/// A read that finds what the one before has found.
pub const AGREEING: &str = "get_agreeing";
/// A read that finds another value of 64 bytes than the one before, under more than eight frames.
pub const DISAGREEING: &str = "get_disagreeing";
/// A bind.
pub const BIND: &str = "set_watched";
/// An executor's item is put into a queue, and taken from it.
pub const PUT_GET: &str = "put_get";

/// Times that a batch is repeated, of which the middle counts.
const REPEATED: usize = 3;

/// One that runs.
pub struct Loops {
    program: Program,
    queue: String,
}

impl Loops {
    /// Starts it.
    pub fn start(interpreter: &Interpreter) -> Self {
        let mut command: Command = interpreter.command();
        let mut program = Program::start(command.arg(workspace::root().join(LOOPS)));
        let queue = program.line();
        Self { program, queue }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Files that the process maps and that may carry what the tracer probes.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid()))?;
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
            files.push(std::fs::read_link(format!("/proc/{}/exe", self.pid()))?);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Nanoseconds that one of so many calls takes.
    pub fn time(&mut self, operation: &str, calls: u32) -> Result<f64> {
        self.program.say(&format!("{operation} {calls}"));
        self.program
            .line()
            .parse()
            .context("the loops answer with a number")
    }

    /// The same, a few times.
    pub fn middle(&mut self, operation: &str, calls: u32) -> Result<f64> {
        let times = (0..REPEATED).map(|_| self.time(operation, calls));
        let times: Vec<f64> = times.collect::<Result<_>>()?;
        Spread::of(times)
            .map(|spread| spread.median)
            .context("it was called")
    }

    /// Has so many threads beside the one whose calls are timed; each reads once.
    pub fn threads(&mut self, threads: u32) -> Result<()> {
        self.time("threads", threads).map(|_| ())
    }
}
