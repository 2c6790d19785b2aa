//! The engine's events, as label values.

use crate::correlate::event::What;

/// Names of the engine's events.
pub const EVENTS: [&str; 24] = [
    "attach",
    "existing",
    "variable",
    "begin",
    "end",
    "scope_end",
    "submit",
    "idle",
    "take",
    "read",
    "bind",
    "unbind",
    "random",
    "announced",
    "gap",
    "exit",
    "wire",
    "wire_closed",
    "spawn",
    "task_scope",
    "complete",
    "wake",
    "coroutine",
    "agreed",
];

/// The number of one among them.
pub const fn event_number(what: &What) -> usize {
    match what {
        What::Attach { .. } => 0,
        What::Existing { .. } => 1,
        What::Variable { .. } => 2,
        What::Begin { .. } => 3,
        What::End => 4,
        What::ScopeEnd { .. } => 5,
        What::Submit { .. } => 6,
        What::Idle { .. } => 7,
        What::Take { .. } => 8,
        What::Read { .. } => 9,
        What::Bind { .. } => 10,
        What::Unbind { .. } => 11,
        What::Random { .. } => 12,
        What::Announced { .. } => 13,
        What::Gap { .. } => 14,
        What::Exit { .. } => 15,
        What::Said(said) if said.closed => 17,
        What::Wire(_) | What::Said(_) => 16,
        What::WireClosed(_) => 17,
        What::Spawn { .. } => 18,
        What::TaskScope { .. } => 19,
        What::Complete { .. } => 20,
        What::Wake { .. } => 21,
        What::Coroutine { .. } => 22,
        What::Agreed { .. } => 23,
    }
}
