//! The engine's tests: programs with their verdicts, the rules one by one, and properties.

pub(super) mod agreed;
mod announced;
mod called;
mod checks;
mod drift;
mod golden;
mod inventory;
mod ledger;
mod lineage;
mod open_tasks;
mod pools;
mod programs;
mod properties;
pub(super) mod recorded;
mod rules;
mod simulator;
mod witness;
