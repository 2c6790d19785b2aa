//! Frames: compressed, numbered, each with its checksums.
//!
//! A file begins with [`start`]; behind it come frames up to its end. All numbers are little-endian.

use std::io;

/// What every recording begins with. No text file does, and a transfer that changes line ends shows.
pub const MAGIC: [u8; 8] = *b"\x89BLEED\r\n";
/// The version that is written.
pub const VERSION: u32 = 2;
/// The oldest version that is read, and all since.
pub const OLDEST: u32 = 1;
/// Bytes before the first frame.
pub const START: usize = 16;
/// Bytes before each frame's payload.
pub const HEAD: usize = 16;
/// Bytes of a frame's content, before it is compressed.
pub const MAX_RAW: usize = 1 << 20;
/// Bytes of a frame's payload: what cannot be compressed grows a little.
pub const MAX_PAYLOAD: usize = MAX_RAW + (MAX_RAW >> 6);
/// How much is tried to compress; more costs more time than it saves space.
const LEVEL: i32 = 1;

/// What a file begins with.
pub fn start() -> [u8; START] {
    let mut out = [0; START];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    seal(&mut out);
    out
}

/// The version of a file that begins so; none if it is no recording.
pub fn version(start: &[u8; START]) -> Option<u32> {
    (start[..8] == MAGIC && is_sealed(start)).then(|| number(&start[8..12]))
}

/// A frame that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    payload: Box<[u8]>,
    checksum: u32,
}

impl Packed {
    /// Compresses a frame's content.
    pub fn new(raw: &[u8]) -> io::Result<Self> {
        let payload = zstd::bulk::compress(raw, LEVEL)?.into_boxed_slice();
        let checksum = crc32c::crc32c(&payload);
        Ok(Self { payload, checksum })
    }

    /// Bytes that it takes on disk.
    pub fn size(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// Writes it as the frame of this number.
    pub fn write(&self, number: u32, to: &mut impl io::Write) -> io::Result<()> {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&number.to_le_bytes());
        head[4..8].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        seal(&mut head);
        to.write_all(&head)?;
        to.write_all(&self.payload)
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 0.
    pub number: u32,
    /// Bytes of its payload.
    pub len: usize,
    checksum: u32,
}

impl Head {
    /// Reads one; none if it is damaged, or of a frame that nobody writes.
    pub fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let head = Self {
            number: number(&bytes[..4]),
            len: number(&bytes[4..8]) as usize,
            checksum: number(&bytes[8..12]),
        };
        (is_sealed(bytes) && head.len <= MAX_PAYLOAD).then_some(head)
    }
}

/// Unpacks frames one after the other, with what it takes kept in between.
pub struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Unpacker {
    /// Begins.
    pub fn new() -> io::Result<Self> {
        let zstd = zstd::bulk::Decompressor::new()?;
        Ok(Self { zstd })
    }

    /// Writes the content of a frame over what is in `raw`; false if it is damaged.
    pub fn unpack(&mut self, head: Head, payload: &[u8], raw: &mut Vec<u8>) -> bool {
        raw.clear();
        raw.reserve_exact(MAX_RAW);
        crc32c::crc32c(payload) == head.checksum && self.zstd.decompress_to_buffer(payload, raw).is_ok()
    }
}

/// The last four of sixteen bytes are the checksum of the others.
fn seal(bytes: &mut [u8; 16]) {
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
}

fn is_sealed(bytes: &[u8; 16]) -> bool {
    crc32c::crc32c(&bytes[..12]) == number(&bytes[12..])
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u32::from(*byte))
}
