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
        let mut command: Command = interpreter.command();
        command
            .arg(workspace::root().join(TARGETS))
            .args([processes.to_string(), threads.to_string(), period.to_string()])
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
