//! The contract between bleedtrace's kernel side (`tracer-ebpf`) and its agent (`tracer-user`).
//!
//! Every struct here crosses the boundary as plain bytes: through the ring buffer ([`record`]), or as the key or value of a
//! BPF map ([`config`], [`stats`]). All of it is `repr(C)`, without implicit padding, and its sizes are asserted at compile time.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod record;
pub mod stats;
pub mod told;

/// Watched variables of one target.
pub const MAX_SLOTS: usize = 8;
/// Python frames that travel with one record.
pub const MAX_FRAMES: usize = 8;
/// Bytes of a value that travel with one record.
pub const MAX_TEXT: usize = 64;
/// Bytes of a variable's name that are compared in the kernel; of a longer one the length is compared as well.
pub const MAX_NAME: usize = 56;
/// Paths of one process that can be followed.
pub const MAX_PATHS: usize = 3;
/// Steps of a path into a variable's value.
pub const MAX_STEPS: usize = 4;
/// Bytes of a code object's name that travel.
pub const MAX_CODE_NAME: usize = 256;
/// Bytes of a type's name that travel with a code object.
pub const MAX_CODE_OWNER: usize = 64;
/// Bytes of a code object's file name that travel.
pub const MAX_CODE_FILE: usize = 512;
/// Names that a code object refers to and that travel with it.
pub const MAX_USED_NAMES: usize = 32;
/// Bytes of such a name that travel, with a zero that ends it.
pub const MAX_USED_NAME: usize = 24;
/// Bytes of a code object's line table that travel.
pub const MAX_CODE_TABLE: usize = 4096;
/// Room for the bytes of the wire that travel with one message; one of them stays unused.
pub const MAX_WIRE: usize = 2048;
/// Interpreter images (distinct ELF files that carry a CPython core) that can be traced at once.
pub const MAX_IMAGES: u32 = 256;
/// Probe points over all images.
pub const MAX_POINTS: u32 = 8192;
/// Processes that can be traced at once.
pub const MAX_TARGETS: u32 = 4096;
