//! CPython: what to probe and how to read it.
//!
//! From files: [`core`] finds an interpreter's probe points and the addresses of its static objects, [`queue`] those of the
//! `_queue` module, [`task`] those of asyncio tasks, [`coroutine`] that of calls of `async` functions, [`wire`] and [`uvloop`] those of what receives and sends, [`find`] says where files may be. Both rest on [`layout`], the offsets of every supported version, and on
//! method tables ([`crate::elf`]) instead of symbols, so a stripped build is read like any other.
//!
//! From a live process ([`memory`]): [`threads`] lists threads, their stacks and what their contexts hold ([`hamt`]), [`code`] turns
//! frames into functions and lines, [`value`] reads and translates values, [`modules`] tells which module holds a variable,
//! [`attributes`] how an attribute of an object is found.
//!
//! Addresses from files are link-time addresses; a process adds its load bias. Whatever cannot be read is an error, never empty.

pub mod attributes;
pub mod binaries;
pub mod code;
pub mod core;
pub mod coroutine;
pub mod find;
pub mod hamt;
mod hash;
pub mod layout;
pub mod line_table;
pub mod memory;
pub mod modules;
pub mod probe_point;
pub mod queue;
pub mod queue_user;
pub mod task;
pub mod threads;
pub mod uvloop;
pub mod value;
pub mod wire;
