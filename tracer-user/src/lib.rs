//! bleedtrace's agent as a library.
//!
//! An event goes `tracer-ebpf -> tracer-common -> source -> correlate -> report`, and nothing goes back.

pub mod correlate;
pub mod report;
