//! What the engine and the reports were told, on disk: written while processes are watched, read again without them.
//!
//! What is recorded is what was resolved already: names, places, and values as keyed hashes. So the same engine and the same reports
//! make the same of it, on any machine and without privilege. docs/recording.md describes the format.
#![forbid(unsafe_code)]

pub mod entry;
pub mod flight;
pub mod frame;
mod intern;
mod line;
pub mod reader;
pub mod seal;
#[cfg(test)]
pub(crate) mod tests;
pub mod writer;
