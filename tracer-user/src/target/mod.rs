//! Processes: looking at one without trusting it, naming it, starting one.
#![deny(unsafe_code)]

pub mod arm;
mod arm_tasks;
pub mod arm_wire;
pub mod container;
mod descendants;
pub mod follow;
pub mod identify;
pub mod keeper;
pub mod mapped;
pub mod maps;
pub mod name;
mod open;
pub mod process;
pub mod robust_list;
pub mod spawn;
pub mod stat;
pub mod user;
