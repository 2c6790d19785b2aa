//! The Python frames of the current thread.

use tracer_common::{
    MAX_FRAMES,
    record::{FullRecord, RawFrame, flag},
};

use crate::{
    read::{self, Unreadable},
    state::Hit,
};

/// `FRAME_OWNED_BY_CSTACK` (3.12, 3.13): an entry frame of the interpreter itself, with no code of the program.
const OWNED_BY_C_STACK: u8 = 3;
/// Frames that are looked at: those of the interpreter itself are passed over.
const MAX_WALK: usize = MAX_FRAMES * 2;
/// Bytes of an `_PyInterpreterFrame` that are read at once: up to and with `owner`.
const FRAME_BYTES: usize = 72;

/// Fills in the frames, innermost first.
#[inline(always)]
pub fn walk(hit: &Hit, tstate: u64, record: &mut FullRecord) {
    record.head.frames = 0;
    match top(hit, tstate) {
        Ok(frame) => follow(hit, frame, record),
        Err(Unreadable) => record.head.flags |= flag::TORN_STACK,
    }
}

#[inline(always)]
fn top(hit: &Hit, tstate: u64) -> Result<u64, Unreadable> {
    let first = read::pointer(tstate + u64::from(hit.image.tstate_frame))?;
    if hit.image.cframe_current == u32::MAX {
        Ok(first)
    } else {
        read::pointer(first + u64::from(hit.image.cframe_current))
    }
}

#[inline(always)]
fn follow(hit: &Hit, mut frame: u64, record: &mut FullRecord) {
    for _ in 0..MAX_WALK {
        if frame == 0 {
            break;
        }
        // The count lives in the record, not in a register: the verifier would follow every value that it can have.
        let count = record.head.frames as usize;
        if count >= MAX_FRAMES {
            record.head.flags |= flag::MORE_FRAMES;
            break;
        }
        // One read of the whole struct: f_executable 0, previous 8, prev_instr/instr_ptr 56, owner 70
        // (Include/internal/pycore_frame.h, 3.12 and 3.13).
        let Ok(words) = read::user::<[u64; FRAME_BYTES / 8]>(frame) else {
            record.head.flags |= flag::TORN_STACK;
            break;
        };
        let owner = (words[8] >> (8 * (hit.image.frame_owner & 7))) as u8;
        if owner != OWNED_BY_C_STACK && words[0] != 0 {
            record.head.stack[count & (MAX_FRAMES - 1)] = RawFrame {
                code: words[0],
                instr: words[7].wrapping_sub(words[0]) as u32,
                frame: frame as u32,
            };
            record.head.frames = count as u8 + 1;
        }
        frame = words[1];
    }
}
