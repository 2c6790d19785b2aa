//! A function of our own that is probed like any target's: its calls have to come out of the ring.

use std::{fs::File, hint::black_box, io};

use crate::{attach::sys::Offset, target::process::Process};

/// Why the function cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// It is not found in its file.
    #[error("no function of this program was found in its own file")]
    NotFound,
    /// The file cannot be opened.
    #[error("failed to open /proc/self/exe: {0}")]
    File(#[source] io::Error),
}

/// Our own file, and where in it the function is. The cookie is our number, which the program in the kernel compares.
pub fn point() -> Result<(File, Offset), SelftestError> {
    let file_offset = file_offset(call as *const () as u64).ok_or(SelftestError::NotFound)?;
    let file = File::open("/proc/self/exe").map_err(SelftestError::File)?;
    let cookie = u64::from(std::process::id());
    Ok((file, Offset { file_offset, cookie }))
}

/// Where an address of ours is in our file, by the mapping that holds it.
fn file_offset(address: u64) -> Option<u64> {
    let maps = Process::open(std::process::id()).ok()?.maps().ok()?;
    let mapping = maps.iter().find(|m| m.is_file() && m.range.contains(&address))?;
    Some(address - mapping.range.start + mapping.offset)
}

/// What is probed. The kernel side tells the number.
#[inline(never)]
pub extern "C" fn call(number: u64) {
    black_box(number);
}
