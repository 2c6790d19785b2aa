//! CPython: what to probe and how to read it.
//!
//! From files: [`core`] finds an interpreter's probe points and the addresses of its static objects, [`queue`] those of the
//! `_queue` module, [`find`] says where files may be, and [`layout`] holds the offsets of every supported version.

pub mod core;
pub mod find;
pub mod layout;
pub mod probe_point;
pub mod queue;
