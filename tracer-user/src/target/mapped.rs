//! A file, mapped by ourselves: the kernel then says of it in our own map what it says of it in a target's.
//!
//! `stat` and the memory map do not always name a file by the same device: overlays and btrfs give files numbers of their own.

#![expect(
    unsafe_code,
    reason = "mapping a file; nothing is ever read or written through the mapping"
)]

use std::{
    ffi::c_void,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    ptr,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::maps::{self, FileId};

const PAGE: u64 = 4096;

/// A page of a file in our own memory.
#[derive(Debug)]
pub struct Mapped {
    address: *mut c_void,
    /// Where in the page the wanted byte is.
    within: u64,
}

impl Mapped {
    /// Maps the page of a file that holds `offset`.
    pub fn new(file: &File, offset: u64) -> io::Result<Self> {
        let within = offset % PAGE;
        // SAFETY: the kernel chooses the address, so that no other mapping is touched.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                PAGE as usize,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                offset - within,
            )
        }?;
        Ok(Self { address, within })
    }

    /// The file, as our own memory map names it.
    pub fn file(&self) -> io::Result<FileId> {
        let text = fs::read("/proc/self/maps")?;
        let maps = maps::parse(&text).map_err(io::Error::other)?;
        let address = self.address as u64;
        maps.iter()
            .find(|mapping| mapping.range.contains(&address))
            .map(|mapping| mapping.file)
            .ok_or_else(|| io::Error::other("our own mapping is not in our map"))
    }

    /// The byte at the offset that was asked for. It is read through the kernel: the file may have been cut short.
    pub fn first_byte(&self) -> io::Result<u8> {
        let mut byte = [0];
        File::open("/proc/self/mem")?.read_exact_at(&mut byte, self.address as u64 + self.within)?;
        Ok(byte[0])
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the page was mapped here, and nobody holds a reference into it.
        let _ = unsafe { munmap(self.address, PAGE as usize) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn our_map_names_the_file() {
        let file = File::open("/proc/self/exe").unwrap();
        let mapped = Mapped::new(&file, 1).unwrap();
        assert_eq!(mapped.file().unwrap().inode, file.metadata().unwrap().ino());
        assert_eq!(mapped.first_byte().unwrap(), b'E');
    }

    #[test]
    fn a_file_that_was_cut_short_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let mapped = Mapped::new(&file, 0).unwrap();
        assert!(mapped.first_byte().is_err());
    }
}
