//! Services that an agent follows because they have its mark.

use crate::{agent::Agent, setup::Setup, tracer::Program};

/// A configuration with a rule by the environment.
pub const MARKED: &str = "[watch]\nidentity = [\"tenant\"]\n\
                          [[service]]\nmatch = { env = { BLEEDTRACE_TEST_MARK = \"{mark}\" } }\nname = \"marked\"\n";

/// The metric that counts the bleeds of such a service.
pub const BLEEDS: (&str, [(&str, &str); 2]) = (
    "bleedtrace_findings_total",
    [("service", "marked"), ("kind", "bleed")],
);

/// Starts a program that bleeds whenever it is told to.
#[track_caller]
pub fn bleeder(agent: &Agent, setup: &Setup) -> Program {
    ready(agent, setup, "keeps_bleeding.py")
}

/// Starts a fixture that says `ready`.
#[track_caller]
pub fn ready(agent: &Agent, setup: &Setup, fixture: &str) -> Program {
    let mut program = Program::start(&mut agent.command(setup, fixture));
    program.wait_for("ready");
    program
}

/// Has a bleeder hand two requests over; how often it has bled so far, by its own account.
#[track_caller]
pub fn bleed(program: &mut Program) -> u64 {
    serve(program, "go on")
}

/// Has a program do what a line asks for; the count that it answers with.
///
/// # Panics
/// When it answers something else.
#[track_caller]
pub fn serve(program: &mut Program, line: &str) -> u64 {
    program.say(line);
    let line = program.line();
    let count = line.strip_prefix("done ").and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("not a count: {line}"))
}
