//! The Python frames of the current thread.

use tracer_common::{
    MAX_FRAMES,
    config::Image,
    record::{FullRecord, RawFrame, flag},
};

use crate::{
    emit,
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
};

/// `FRAME_OWNED_BY_CSTACK` (3.12, 3.13), `FRAME_OWNED_BY_INTERPRETER` (3.14+; above it another `_CSTACK`): an entry frame of the
/// interpreter itself, with no code of the program.
const OWNED_BY_INTERPRETER: u8 = 3;
/// Frames that are looked at: those of the interpreter itself are passed over.
const MAX_WALK: usize = MAX_FRAMES * 2;
/// Words of an `_PyInterpreterFrame` that are read at once: up to and with `owner`. Where `owner` comes sooner, it takes in the first
/// local or stack entry, which every frame has.
const FRAME_WORDS: usize = 10;
/// Low bits of a `_PyStackRef`, 3.14+ (Include/internal/pycore_stackref.h). In a pointer they are 0.
const TAG: u64 = 3;

/// Fills in the frames, innermost first.
#[inline(always)]
pub fn walk(hit: &Hit, tstate: u64, record: &mut FullRecord) {
    record.head.frames = 0;
    match top(hit, tstate) {
        Ok(frame) if hit.image.lasti_unit == 0 => follow(hit, frame, record),
        Ok(frame) => follow_objects(hit, frame, record),
        Err(Unreadable) => record.head.flags |= flag::TORN_STACK,
    }
    // What the stack would have shown (a policy's function, a hop's kind) is missing.
    if emit::read_back(&record.head.flags) & flag::TORN_STACK != 0 {
        emit::count(hit.probe, |s| &raw mut s.unreadable);
        emit::mark_lost(hit.target);
    }
}

/// The innermost frame.
#[inline(always)]
pub fn top(hit: &Hit, tstate: u64) -> Result<u64, Unreadable> {
    let first = read::pointer(tstate + u64::from(hit.image.tstate_frame))?;
    if hit.image.cframe_current == u32::MAX {
        Ok(first)
    } else {
        read::pointer(first + u64::from(hit.image.cframe_current))
    }
}

#[inline(always)]
fn follow(hit: &Hit, frame: u64, record: &mut FullRecord) {
    let mut walk = Walk { hit, frame, record };
    repeat(MAX_WALK as u32, &mut walk, walk_frames);
}

/// Where frames are objects: up to 3.10.
#[inline(always)]
fn follow_objects(hit: &Hit, frame: u64, record: &mut FullRecord) {
    let mut walk = Walk { hit, frame, record };
    repeat(MAX_FRAMES as u32 + 1, &mut walk, walk_objects);
}

struct Walk<'a> {
    hit: &'a Hit,
    frame: u64,
    record: &'a mut FullRecord,
}

impl Walk<'_> {
    /// Where the next frame goes; none at the end of the stack, or of the room.
    #[inline(always)]
    fn place(&mut self) -> Option<usize> {
        let head = &mut self.record.head;
        let count = head.frames as usize;
        if self.frame == 0 {
            return None;
        }
        if count >= MAX_FRAMES {
            head.flags |= flag::MORE_FRAMES;
            return None;
        }
        Some(count)
    }

    #[inline(always)]
    fn add(&mut self, place: usize, code: u64, instr: u32) {
        self.record.head.stack[place & (MAX_FRAMES - 1)] = RawFrame {
            code,
            instr,
            frame: self.frame as u32,
        };
        self.record.head.frames = place as u8 + 1;
    }

    #[inline(always)]
    fn torn(&mut self) -> Next {
        self.record.head.flags |= flag::TORN_STACK;
        Next::Done
    }
}

extern "C" fn walk_frames(_: u32, walk: &mut Walk<'_>) -> Next {
    let Some(place) = walk.place() else {
        return Next::Done;
    };
    // One read of the whole struct. 3.11: f_code 32, previous 48, prev_instr 56, owner 69. From 3.12 on: f_code or f_executable 0,
    // previous 8, prev_instr or instr_ptr 56, owner 70, from 3.14 on 74 (Include/internal/pycore_frame.h, 3.14 on pycore_interpframe_structs.h).
    let Ok(words) = read::user::<[u64; FRAME_WORDS]>(walk.frame) else {
        return walk.torn();
    };
    let image = walk.hit.image;
    let (code, previous) = if image.frame_code == 0 {
        (words[0] & !TAG, words[1])
    } else {
        (words[4], words[6])
    };
    let owners = if image.frame_owner < 72 {
        words[8]
    } else {
        words[9]
    };
    let owner = (owners >> (8 * (image.frame_owner & 7))) as u8;
    if owner < OWNED_BY_INTERPRETER && code != 0 {
        let Ok(start) = start_of_copy(image, code, words[9]) else {
            return walk.torn();
        };
        walk.add(place, code, words[7].wrapping_sub(start) as u32);
    }
    walk.frame = previous;
    Next::More
}

/// What a frame's instructions are counted from: its code object. Where a thread runs a copy of them, its first instruction counts as
/// the code object's own.
#[inline(always)]
fn start_of_copy(image: &Image, code: u64, word: u64) -> Result<u64, Unreadable> {
    if image.code_copies == 0 {
        return Ok(code);
    }
    // _PyInterpreterFrame.tlbc_index is in this word; _PyCodeArray: size 0, entries 8 (Include/cpython/code.h, from 3.14 on).
    let index = word >> (8 * (image.frame_copy & 7)) & 0xffff_ffff;
    let copies = read::pointer(code + u64::from(image.code_copies))?;
    let copy = read::pointer(copies + 8 + 8 * index)?;
    Ok(copy.wrapping_sub(u64::from(image.code_adaptive)))
}

extern "C" fn walk_objects(_: u32, walk: &mut Walk<'_>) -> Next {
    let Some(place) = walk.place() else {
        return Next::Done;
    };
    let image = walk.hit.image;
    // PyFrameObject: f_back 24, f_code 32 (Include/cpython/frameobject.h of 3.9 and 3.10, Include/frameobject.h of 3.8).
    let (Ok([back, code]), Ok(lasti)) = (
        read::user::<[u64; 2]>(walk.frame + 24),
        read::user::<u32>(walk.frame + u64::from(image.frame_instr)),
    ) else {
        return walk.torn();
    };
    walk.add(place, code, lasti.wrapping_mul(image.lasti_unit));
    walk.frame = back;
    Next::More
}
