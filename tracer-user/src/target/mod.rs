//! Processes: looking at one without trusting it, naming it, starting one.
#![deny(unsafe_code)]

pub mod arm;
pub mod follow;
pub mod identify;
pub mod keeper;
pub mod maps;
pub mod name;
pub mod process;
pub mod spawn;
pub mod stat;
pub mod user;
