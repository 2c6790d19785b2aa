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

const PROGRAM: &str = "accuracy.py";

/// Traces the mix, and gives what was found and what was there to be found.
///
/// # Panics
/// When the program does not run to its end.
#[track_caller]
pub fn mix(setup: &Setup, requests: u32, workers: u32, seed: u32, start: Start) -> (Outcome, Truth) {
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

/// The mix in which most reads say again what the one before did: what is found where those are only counted, and where all are told.
#[derive(Debug)]
pub struct Often {
    /// They are only counted.
    pub counted: Outcome,
    /// All are told.
    pub told: Outcome,
    /// What there was to be found.
    pub truth: Truth,
}

/// Has one run of it traced by two tracers, in mid-flight.
///
/// # Panics
/// When the program does not run to its end.
#[track_caller]
pub fn often(setup: &Setup, requests: u32, workers: u32, seed: u32) -> Often {
    let numbers = [requests, workers, seed].map(|number| number.to_string());
    let arguments = numbers.iter().map(String::as_str).chain(["attached", "often"]);
    let mut target = Program::fixture(setup, PROGRAM, &arguments.collect::<Vec<_>>());
    target.wait_for("ready");
    let attach = |reads| {
        Trace::new(setup, "tenant")
            .revealing()
            .flags(["--reads", reads])
            .attach(target.pid())
    };
    let [counted, told] = ["new", "all"].map(attach);
    target.say("go on");
    let truth = Truth::parse(&target.end().stdout);
    Often {
        counted: counted.end(),
        told: told.end(),
        truth,
    }
}
