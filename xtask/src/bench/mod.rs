//! Measuring: ratios of runs that alternate in one process, so that they say the same on any machine.

pub mod attach;
mod child;
pub mod fleet;
pub mod hit;
mod notes;
pub mod record;
mod server;
mod statistics;
pub mod wire;
