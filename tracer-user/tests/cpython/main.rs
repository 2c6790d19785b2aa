//! The front end for CPython against real interpreters: their files and their memory.

mod files;
mod headers;
mod live;
mod pythons;
