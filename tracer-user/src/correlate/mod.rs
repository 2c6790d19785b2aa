//! The engine: events in, facts out. Pure and deterministic; time comes from the events.

pub mod event;
pub mod fact;
pub mod finding;
pub mod value;
