//! The live view: what is known of a run at one moment, as rows that a person sorts and searches, drawn on a screen or as plain text.
//!
//! All of it is pure. The reader of the ring makes a [`snapshot::Snapshot`] now and then; who shows it takes their own time.

pub mod books;
mod detail;
mod lines;
pub mod render;
pub mod rows;
pub mod snapshot;
pub mod text;
pub mod ui;
pub mod view;

#[cfg(test)]
mod tests;
