//! The runtimes that execute targets: what to probe in each and how to read its memory.

pub mod cpython;
