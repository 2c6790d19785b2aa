//! The engine: events in, facts out. Pure and deterministic; time comes from the events.

mod access;
mod announced;
pub mod announcement;
mod black_hole;
mod bleed;
mod called;
mod carrier;
mod check;
mod contexts;
mod coverage;
mod drift;
pub mod engine;
pub mod event;
pub mod fact;
pub mod finding;
mod handoff;
mod hop;
mod inventory;
mod item;
pub mod ledger;
pub mod life;
mod lineage;
mod reporter;
mod request;
pub mod sealed;
pub mod settings;
mod slots;
mod squat;
mod stale;
pub(crate) mod table;
mod target;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod value;
pub mod visit;
pub(crate) mod witness;

pub use engine::Engine;
pub use settings::Settings;
