//! The random mix of requests with recorded ground truth.

use crate::{Outcome, Program, Setup, Trace, Truth};

/// How the program of the mix is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Under the tracer.
    Traced,
    /// The same, with a pool whose initialiser binds something.
    Initializer,
    /// By itself; the tracer comes while requests are served, to workers that hold what was left with them.
    Attached,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traced, Self::Initializer, Self::Attached];

    /// In a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::Initializer => "traced, with an initialiser",
            Self::Attached => "attached in mid-flight",
        }
    }
}

/// Traces the mix, and gives what was found and what was there to be found.
///
/// # Panics
/// When the program does not run to its end.
#[track_caller]
pub fn mix(setup: &Setup, requests: u32, workers: u32, seed: u32, start: Start) -> (Outcome, Truth) {
    const PROGRAM: &str = "accuracy.py";
    let numbers = [requests, workers, seed].map(|number| number.to_string());
    let mut arguments: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let trace = Trace::new(setup, "tenant")
        .revealing()
        .flags(["--mint", "*create_task"]);
    match start {
        Start::Traced => trace.run(setup, PROGRAM, &arguments),
        Start::Initializer => {
            arguments.push("initializer");
            trace.run(setup, PROGRAM, &arguments)
        }
        Start::Attached => {
            arguments.push("attached");
            let mut target = Program::fixture(setup, PROGRAM, &arguments);
            target.wait_for("ready");
            let running = trace.attach(target.pid());
            target.say("go on");
            let truth = Truth::parse(&target.end().stdout);
            (running.end(), truth)
        }
    }
}
