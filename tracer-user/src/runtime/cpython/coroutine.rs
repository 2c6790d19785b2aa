//! Where a call of an `async` function is seen.
//!
//! `_Py_MakeCoro(function)` makes the coroutine, from 3.11 on (`Objects/genobject.c`). From 3.13 on it is exported; before, only a build
//! that is not stripped says where it is.

use std::{fs::File, io};

use tracer_common::stats::Probe;

use super::{
    layout::Layout,
    probe_point::{PointError, ProbePoint},
};
use crate::elf::{ArgumentRegister::Rdi, Elf, ElfError, symbol};

const MAKE: &str = "_Py_MakeCoro";
const FIRST_MINOR: u32 = 11;

/// Why calls of `async` functions are not seen as such.
#[derive(Debug, thiserror::Error)]
pub enum CoroutineError {
    /// There is no such function.
    #[error("{MAKE} is there from 3.{FIRST_MINOR} on")]
    Version,
    /// It is not known where it is.
    #[error("the build is stripped and does not export {MAKE}")]
    Stripped,
    /// The file cannot be read.
    #[error("failed to read the symbols: {0}")]
    Read(#[from] io::Error),
    /// It is no object file that can be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The function cannot be probed.
    #[error(transparent)]
    Point(#[from] PointError),
}

/// Where to probe an interpreter's file, of which `loaded` is what is ever loaded.
pub fn point(file: &File, loaded: &[u8], layout: &Layout) -> Result<ProbePoint, CoroutineError> {
    if layout.minor < FIRST_MINOR {
        return Err(CoroutineError::Version);
    }
    let elf = Elf::parse(loaded)?;
    let entry = match elf.export(MAKE) {
        Some(entry) => entry,
        None => symbol(file, MAKE)?.ok_or(CoroutineError::Stripped)?,
    };
    Ok(ProbePoint::function(&elf, Probe::Coroutine, MAKE, entry, &[Rdi])?)
}
