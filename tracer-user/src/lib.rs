//! bleedtrace's agent as a library.
//!
//! An event goes `tracer-ebpf -> tracer-common -> source -> correlate -> report`, and nothing goes back.

pub mod attach;
pub mod cli;
pub mod config;
pub mod correlate;
pub mod elf;
pub mod patience;
pub mod privilege;
pub mod recording;
pub mod report;
pub mod runtime;
pub mod source;
pub mod target;
pub mod wire;
