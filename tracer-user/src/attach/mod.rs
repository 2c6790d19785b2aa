//! Attaching: the kernel side is loaded, configured and linked here.

pub mod kernel;
mod links;
mod load;
pub mod namespace;
pub mod object;
pub mod programs;
pub mod registry;
pub mod run_time;
pub mod selftest;
pub mod sys;
