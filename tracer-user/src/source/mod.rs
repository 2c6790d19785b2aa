//! Where events come from: the ring that the kernel side fills, translated for the engine.

mod announce;
mod by_hand;
mod conveys;
pub mod frontend;
pub mod names;
mod primitive;
pub mod ring;
pub mod sites;
pub mod snapshot;
pub mod stacks;
pub mod used;
pub mod watchdog;
