//! Many small targets.

use std::process::Command;

use anyhow::{Context as _, Result};
use bleedtrace_tests::{Interpreter, Program};

use crate::workspace;

const TARGETS: &str = "xtask/src/bench/targets.py";

/// Processes that hand over work every now and then.
pub struct Targets {
    program: Program,
    /// Each of them.
    pub processes: Vec<u32>,
}

impl Targets {
    /// Starts so many, each with a pool of so many threads, that hands over something every so many seconds.
    pub fn start(
        interpreter: &Interpreter,
        mark: Option<(&str, &str)>,
        processes: usize,
        threads: usize,
        period: f64,
    ) -> Result<Self> {
        Self::start_with(
            interpreter,
            mark,
            [processes.to_string(), threads.to_string(), period.to_string()],
        )
    }

    /// The same, of one thread each; what they hand over loses its context, and each time that is a finding.
    pub fn losing(interpreter: &Interpreter, processes: usize, period: f64) -> Result<Self> {
        let numbers = [processes.to_string(), "1".to_owned(), period.to_string()];
        Self::start_with(interpreter, None, numbers.into_iter().chain(["loses".to_owned()]))
    }

    fn start_with(
        interpreter: &Interpreter,
        mark: Option<(&str, &str)>,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let mut command: Command = interpreter.command();
        command
            .arg(workspace::root().join(TARGETS))
            .args(arguments)
            .envs(mark);
        let mut program = Program::start(&mut command);
        let processes = program.line();
        let processes = processes.split(' ').map(str::parse);
        Ok(Self {
            processes: processes.collect::<Result<_, _>>().context("process ids")?,
            program,
        })
    }

    /// Ends them.
    pub fn stop(self) {
        self.program.end();
    }
}
