//! The front end for CPython against real interpreters: their files and their memory.

mod files;
mod live;
mod pythons;
