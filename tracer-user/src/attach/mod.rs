//! Attaching: the kernel side is loaded, configured and linked here.

mod file_key;
pub mod kernel;
mod links;
mod load;
pub mod namespace;
mod numbers;
pub mod object;
pub mod programs;
pub mod registry;
pub mod run_time;
pub mod selftest;
mod shelf;
pub mod starts;
pub mod sys;
