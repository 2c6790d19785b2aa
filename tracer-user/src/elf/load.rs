//! The part of a file that is ever loaded. Debug information and symbols, often most of an unstripped file, stay on disk.

use std::{fs::File, io, os::unix::fs::FileExt};

use object::{
    LittleEndian as Le, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// Headers are at a file's beginning.
const HEAD: u64 = 64 * 1024;
/// Bytes that are read of a file at most; interpreters have 5 to 20 MiB.
const MAX_LOADED: u64 = 256 * 1024 * 1024;

/// Reads a file up to the end of its last loadable segment, enough for [`super::Elf::parse`]. Of what is no ELF file the beginning.
pub fn read_loaded(file: &File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len().min(MAX_LOADED);
    let head = read(file, len.min(HEAD))?;
    let Some(end) = loaded_end(&head) else {
        return Ok(head);
    };
    read(file, end.min(len))
}

fn read(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn loaded_end(head: &[u8]) -> Option<u64> {
    let header = elf::FileHeader64::<Le>::parse(head).ok()?;
    let segments = header
        .program_headers(Le, head)
        .ok()?
        .iter()
        .filter(|h| h.p_type(Le) == elf::PT_LOAD);
    segments
        .map(|segment| segment.p_offset(Le).saturating_add(segment.p_filesz(Le)))
        .max()
}
