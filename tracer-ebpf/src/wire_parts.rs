//! Calls that send several parts at once: `socket.sendmsg`, `posix.writev`, and what uvloop calls of the C library.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    config::{WireKey, tap},
    stats::Probe,
};

use crate::{
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
    wire::{self, Bytes, Way},
    wire_calls::{argument, buffer, hit, of_descriptor, stream},
};

/// Parts of one call that are told.
const MOST_PARTS: u32 = 16;
/// Items in a block of a `deque` (BLOCKLEN, Modules/_collectionsmodule.c, 3.8 to 3.15).
const BLOCK: u64 = 64;

/// What is sent in parts.
#[uprobe]
pub fn wire_vector(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = hit(&ctx, Probe::WireVector) else {
        return 0;
    };
    let by_library = !matches!(hit.point.tap, tap::PARTS | tap::DESCRIPTOR_PARTS);
    let stream = if by_library {
        let descriptor = ctx.arg::<u64>(0).ok_or(Unreadable);
        descriptor.map(|descriptor| of_descriptor(&hit, descriptor & 0xffff_ffff))
    } else {
        stream(&ctx, &hit)
    };
    // What cannot be read is no stream that was told of, or its next call does not fit.
    let Ok(stream) = stream else {
        return 0;
    };
    let found = if by_library {
        of_library(&ctx, &hit)
    } else {
        of_sequence(&ctx, &hit)
    };
    let Some(parts) = found.ok().filter(|parts| parts.count <= u64::from(MOST_PARTS)) else {
        wire::untold(&hit, stream, Way::Out);
        return 0;
    };
    let mut sending = Sending {
        hit: &hit,
        stream,
        parts,
        context: false,
    };
    repeat(MOST_PARTS, &mut sending, send_next);
    if sending.context {
        wire::tell_context(&ctx, &mut hit, by_library);
    }
    0
}

/// What a call's parts are an array of.
mod kind {
    /// The only part is at the address, as long as the index says.
    pub const BYTES: u32 = 0;
    /// `struct iovec`.
    pub const VECTOR: u32 = 1;
    /// Objects.
    pub const OBJECTS: u32 = 2;
    /// Objects in blocks of a `deque`, from an index in the first one on.
    pub const BLOCKS: u32 = 3;
}

/// Where a call's parts are.
#[derive(Clone, Copy)]
struct Parts {
    kind: u32,
    at: u64,
    index: u64,
    count: u64,
}

/// Of `write`, `writev`, `sendmsg` of the C library.
#[inline(always)]
fn of_library(ctx: &ProbeContext, hit: &Hit) -> Result<Parts, Unreadable> {
    let at = ctx.arg::<u64>(1).ok_or(Unreadable)?;
    let count = ctx.arg::<u64>(2).ok_or(Unreadable)?;
    if hit.point.tap == tap::C_SEND {
        return Ok(Parts {
            kind: kind::BYTES,
            at,
            index: count,
            count: 1,
        });
    }
    let [at, count] = if hit.point.tap == tap::C_MESSAGE {
        // struct msghdr: msg_iov 16, msg_iovlen 24 (bits/socket.h).
        read::user::<[u64; 2]>(at + 16)?
    } else {
        [at, count & 0xffff_ffff]
    };
    Ok(Parts {
        kind: kind::VECTOR,
        at,
        index: 0,
        count,
    })
}

/// Of a sequence of data: a list, a tuple, or what asyncio sends its backlog with, a slice of a `deque` (Lib/asyncio/selector_events.py,
/// `_get_sendmsg_buffer`, 3.12 to 3.15).
#[inline(always)]
fn of_sequence(ctx: &ProbeContext, hit: &Hit) -> Result<Parts, Unreadable> {
    let number = u64::from(hit.point.tap == tap::DESCRIPTOR_PARTS);
    let sequence = argument(ctx, hit, number)?;
    let name = type_name(hit, sequence)?;
    match read::user::<u64>(name)? {
        // PyVarObject.ob_size is at 16, PyListObject.ob_item at 24.
        start if begins(start, b"list\0") => Ok(Parts {
            kind: kind::OBJECTS,
            at: read::pointer(hit.member(sequence, 24))?,
            index: 0,
            count: read::pointer(hit.member(sequence, 16))?,
        }),
        start if begins(start, b"tuple\0") => Ok(Parts {
            kind: kind::OBJECTS,
            at: sequence + u64::from(hit.image.tuple_items),
            index: 0,
            count: read::pointer(hit.member(sequence, 16))?,
        }),
        start if begins(start, b"itertool") => of_slice(hit, sequence, name),
        _ => Err(Unreadable),
    }
}

/// Of an `itertools.islice` of a `deque`, of which nothing was taken yet.
#[inline(always)]
fn of_slice(hit: &Hit, slice: u64, name: u64) -> Result<Parts, Unreadable> {
    if !begins(read::user::<u64>(name + 9)?, b".islice\0") {
        return Err(Unreadable);
    }
    // isliceobject: it 16, next 24, stop 32, step 40 (Modules/itertoolsmodule.c, 3.8 to 3.15).
    let [iterator, next, stop, step] = read::user::<[u64; 4]>(hit.member(slice, 16))?;
    // "collections._deque_iterator"; in the reverse one's name, other words come there.
    let name = type_name(hit, iterator)?;
    if next != 0
        || step != 1
        || !begins(read::user::<u64>(name)?, b"collecti")
        || !begins(read::user::<u64>(name + 19)?, b"iterator")
    {
        return Err(Unreadable);
    }
    // dequeiterobject: b 16, index 24, counter 48, the number of items that are left (Modules/_collectionsmodule.c, 3.8 to 3.15).
    let [at, index, _, _, left] = read::user::<[u64; 5]>(hit.member(iterator, 16))?;
    Ok(Parts {
        kind: kind::BLOCKS,
        at,
        index,
        count: if left < stop { left } else { stop },
    })
}

/// Where the name of an object's type is.
#[inline(always)]
fn type_name(hit: &Hit, object: u64) -> Result<u64, Unreadable> {
    // PyObject.ob_type is at 8, PyTypeObject.tp_name at 24.
    read::pointer(hit.member(read::pointer(hit.member(object, 8))?, 24))
}

#[inline(always)]
fn begins<const N: usize>(word: u64, with: &[u8; N]) -> bool {
    let mut text = [0; 8];
    text[..N].copy_from_slice(with);
    (word ^ u64::from_le_bytes(text)) << (64 - 8 * N as u32) == 0
}

struct Sending<'a> {
    hit: &'a Hit,
    stream: WireKey,
    parts: Parts,
    /// The context is to be told.
    context: bool,
}

/// Each part is told as a call of its own.
extern "C" fn send_next(number: u32, sending: &mut Sending<'_>) -> Next {
    if u64::from(number) >= sending.parts.count {
        return Next::Done;
    }
    if let Ok(bytes) = part(sending.hit, &mut sending.parts, u64::from(number)) {
        sending.context |= wire::moved(sending.hit, sending.stream, Way::Out, bytes);
        Next::More
    } else {
        wire::untold(sending.hit, sending.stream, Way::Out);
        Next::Done
    }
}

#[inline(always)]
fn part(hit: &Hit, parts: &mut Parts, number: u64) -> Result<Bytes, Unreadable> {
    let item = match parts.kind {
        kind::BYTES => {
            return Ok(Bytes {
                at: parts.at,
                len: parts.index,
            });
        }
        kind::VECTOR => {
            // struct iovec: iov_base 0, iov_len 8 (bits/types/struct_iovec.h).
            let [at, len] = read::user::<[u64; 2]>(parts.at + 16 * number)?;
            return Ok(Bytes { at, len });
        }
        kind::OBJECTS => parts.at + 8 * number,
        _ => {
            // BLOCK: leftlink 0, data 8, rightlink after it (Modules/_collectionsmodule.c, 3.8 to 3.15).
            if parts.index >= BLOCK {
                parts.at = read::pointer(parts.at + 8 + 8 * BLOCK)?;
                parts.index = 0;
            }
            let item = parts.at + 8 + 8 * parts.index;
            parts.index += 1;
            item
        }
    };
    buffer(hit, read::pointer(item)?)
}
