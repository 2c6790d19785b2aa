//! Reading a live process from outside. The process goes on meanwhile and may be hostile: every read is bounded, and what cannot
//! be read or makes no sense is an error, never an empty answer.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::layout::Layout;
use crate::patience;

/// Characters of a name or path that are read.
pub const MAX_TEXT_CHARS: u64 = 4096;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The memory is not there.
    #[error("{len} bytes at {address:#x} cannot be read")]
    Unreadable {
        /// Where.
        address: u64,
        /// How much.
        len: usize,
    },
    /// What is there is not what it should be: it changed while it was read, or it is damaged.
    #[error("no valid {what} at {address:#x}")]
    Invalid {
        /// What was expected.
        what: &'static str,
        /// Where.
        address: u64,
    },
}

impl MemoryError {
    /// Something that is not what it should be.
    pub const fn invalid(what: &'static str, address: u64) -> Self {
        Self::Invalid { what, address }
    }
}

/// The memory of a process.
pub trait Memory {
    /// Fills `buf` with the bytes at `address`.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// The 64-bit word at `base + offset`.
    fn u64(&self, base: u64, offset: u64) -> Result<u64, MemoryError> {
        Ok(u64::from_le_bytes(self.array(base, offset)?))
    }

    /// The 32-bit word at `base + offset`.
    fn u32(&self, base: u64, offset: u64) -> Result<u32, MemoryError> {
        Ok(u32::from_le_bytes(self.array(base, offset)?))
    }

    /// The byte at `base + offset`.
    fn u8(&self, base: u64, offset: u64) -> Result<u8, MemoryError> {
        Ok(self.array::<1>(base, offset)?[0])
    }

    /// `N` bytes at `base + offset`.
    fn array<const N: usize>(&self, base: u64, offset: u64) -> Result<[u8; N], MemoryError> {
        let mut bytes = [0; N];
        let address = base.checked_add(offset).ok_or(MemoryError::Unreadable {
            address: base,
            len: N,
        })?;
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// `len` bytes at `base + offset`. The caller bounds `len`.
    fn bytes(&self, base: u64, offset: u64, len: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; len];
        let address = base
            .checked_add(offset)
            .ok_or(MemoryError::Unreadable { address: base, len })?;
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// `len` 64-bit words at `base + offset`. The caller bounds `len`.
    fn words(&self, base: u64, offset: u64, len: usize) -> Result<Vec<u64>, MemoryError> {
        let bytes = self.bytes(base, offset, len * 8)?;
        Ok(bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect())
    }
}

/// Reads that a process may leave unanswered before nothing more is asked of it.
const MAX_STALLS: u32 = 3;

/// The memory of a process through its already opened `/proc/PID/mem`.
#[derive(Debug)]
pub struct ProcessMemory {
    mem: Arc<File>,
    stalls: AtomicU32,
}

impl ProcessMemory {
    /// Takes an opened `/proc/PID/mem`.
    pub fn new(mem: File) -> Self {
        Self {
            mem: Arc::new(mem),
            stalls: AtomicU32::new(0),
        }
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let unreadable = MemoryError::Unreadable {
            address,
            len: buf.len(),
        };
        // An offset beyond this is negative to the kernel.
        if i64::try_from(address).is_err() || self.stalls.load(Ordering::Relaxed) >= MAX_STALLS {
            return Err(unreadable);
        }
        let (mem, mut bytes) = (Arc::clone(&self.mem), vec![0; buf.len()]);
        let answer = patience::attempt(move || mem.read_exact_at(&mut bytes, address).map(|()| bytes));
        match answer {
            Ok(Ok(bytes)) => {
                buf.copy_from_slice(&bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(unreadable),
            Err(patience::Stalled) => {
                self.stalls.fetch_add(1, Ordering::Relaxed);
                Err(unreadable)
            }
        }
    }
}

/// How the characters of a `str` are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrShape {
    /// Characters.
    pub len: u64,
    /// Bytes of one character: 1, 2 or 4.
    pub width: u64,
    /// Where the characters begin, from the object.
    pub data: u64,
}

/// The shape of the compact `str` at `address`, whose type the caller has checked or trusts.
pub fn str_shape(memory: &impl Memory, layout: &Layout, address: u64) -> Result<StrShape, MemoryError> {
    let len = memory.u64(address, layout.unicode_length)?;
    let state = memory.u32(address, layout.unicode_state)? >> layout.unicode_kind;
    let (width, compact, ascii) = (u64::from(state & 7), state & 8 != 0, state & 16 != 0);
    if !compact || !matches!(width, 1 | 2 | 4) || i64::try_from(len).is_err() {
        return Err(MemoryError::invalid("str", address));
    }
    Ok(StrShape {
        len,
        width,
        data: if ascii {
            layout.ascii_data
        } else {
            layout.compact_data
        },
    })
}

/// The text of the `str` at `address`, cut after [`MAX_TEXT_CHARS`]. Lone surrogates become U+FFFD: this is for names, not identities.
pub fn text(memory: &impl Memory, layout: &Layout, address: u64) -> Result<String, MemoryError> {
    let shape = str_shape(memory, layout, address)?;
    let len = shape.len.min(MAX_TEXT_CHARS) * shape.width;
    let bytes = memory.bytes(address, shape.data, len as usize)?;
    Ok(string(&bytes, shape.width as usize))
}

/// The text in `bytes`, each character of `width` bytes. Lone surrogates become U+FFFD.
pub fn string(bytes: &[u8], width: usize) -> String {
    characters(bytes, width)
        .map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The code points in `bytes`, each of `width` bytes.
pub fn characters(bytes: &[u8], width: usize) -> impl Iterator<Item = u32> + '_ {
    bytes
        .chunks_exact(width.max(1))
        .map(|unit| unit.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

/// The C string at `address`, at most `limit` bytes of it.
pub fn c_string(memory: &impl Memory, address: u64, limit: usize) -> Result<String, MemoryError> {
    // Never across a chunk's boundary: what follows the string may not be mapped.
    const CHUNK: u64 = 64;
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let at = address
            .checked_add(bytes.len() as u64)
            .ok_or(MemoryError::invalid("c string", address))?;
        let chunk = memory.bytes(at, 0, (CHUNK - at % CHUNK) as usize)?;
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&chunk[..end]);
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(limit);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
