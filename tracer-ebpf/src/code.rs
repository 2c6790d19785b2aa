//! Telling code objects: their name, file and line table, while they are certain to be alive.
//!
//! A module's code is freed as soon as the module has run, and all of it when the program ends: sooner than the agent can read it.

use tracer_common::{
    MAX_CODE_FILE, MAX_CODE_NAME, MAX_CODE_OWNER, MAX_CODE_TABLE, MAX_FRAMES, MAX_USED_NAME, MAX_USED_NAMES,
    config::{CodeKey, Image},
    record::{CodeHead, FullCode, RawFrame, RawStr, kind},
};

use crate::{
    emit::{self, Wake},
    maps::{BLANK_CODE, CODE_SCRATCH, CODES},
    read::{self, Unreadable},
    repeat::{Next, repeat},
    scratch,
    state::Hit,
    str::Str,
};

/// What is on its way from one frame to the next.
struct Telling<'a> {
    hit: &'a Hit,
    frames: u8,
    stack: &'a [RawFrame; MAX_FRAMES],
    /// The frame object, where frames are objects; else 0.
    object: u64,
    code: &'a mut FullCode,
}

/// Tells those code objects of a stack that were not told before.
#[inline(always)]
pub fn tell(hit: &Hit, frames: u8, stack: &[RawFrame; MAX_FRAMES]) {
    let Some(code) = scratch::of(&CODE_SCRATCH, &BLANK_CODE, hit.tid) else {
        return;
    };
    code.head.code = if hit.image.lasti_unit == 0 {
        0
    } else {
        hit.top_frame().unwrap_or(0)
    };
    // Through memory, so that the verifier follows what comes next once for both.
    let object = emit::read_back(&code.head.code);
    let mut telling = Telling {
        hit,
        frames,
        stack,
        object,
        code,
    };
    repeat(MAX_FRAMES as u32, &mut telling, tell_next);
}

extern "C" fn tell_next(number: u32, telling: &mut Telling<'_>) -> Next {
    if number >= u32::from(telling.frames) {
        return Next::Done;
    }
    let code = telling.stack[number as usize & (MAX_FRAMES - 1)].code;
    // The agent reads what cannot be read here by itself, if it still can.
    let _ = tell_one(telling.hit, code, telling.object, telling.code);
    if telling.object != 0 {
        // PyFrameObject.f_back is at 24.
        telling.object = read::pointer(telling.object + 24).unwrap_or(0);
    }
    Next::More
}

#[inline(always)]
fn tell_one(hit: &Hit, address: u64, frame: u64, code: &mut FullCode) -> Result<(), Unreadable> {
    let image = hit.image;
    let head = &mut code.head;
    head.kind = kind::CODE;
    head.tgid = hit.tgid;
    head.code = address;
    head.name.object = read::pointer(address + u64::from(image.code_name))?;
    head.file.object = read::pointer(address + u64::from(image.code_filename))?;
    head.table = read::pointer(address + u64::from(image.code_line_table))?;
    head.first_line = read::user::<u32>(address + u64::from(image.code_first_line))?;
    let key = CodeKey {
        code: address,
        tgid: hit.tgid,
        pad: 0,
    };
    let digest = digest(head.first_line, [head.name.object, head.file.object, head.table]);
    if CODES.get_ptr(key).is_some_and(|known| {
        // SAFETY: the entry lives as long as this program runs.
        unsafe { *known == digest }
    }) {
        return Ok(());
    }
    text(
        hit,
        &mut head.name,
        head.name_text.as_mut_ptr(),
        MAX_CODE_NAME as u32 - 1,
    )?;
    text(
        hit,
        &mut head.file,
        head.file_text.as_mut_ptr(),
        MAX_CODE_FILE as u32 - 1,
    )?;
    used_names(hit, head)?;
    head.owner[0] = 0;
    if frame != 0 && owner(hit, address, frame, head.owner.as_mut_ptr()).is_err() {
        head.owner[0] = 0;
    }
    // PyBytesObject: ob_size 16, ob_sval 32.
    head.table_len = read::pointer(hit.member(head.table, 16))?;
    head.table_bytes = at_most(head.table_len, MAX_CODE_TABLE as u32 - 1);
    let bytes = emit::read_back(&head.table_bytes) & (MAX_CODE_TABLE as u32 - 1);
    read::user_into(code.table.as_mut_ptr(), bytes, hit.member(head.table, 32))?;
    let size = size_of::<CodeHead>() as u64 + u64::from(bytes);
    if emit::output(
        hit.probe,
        Some(hit.target),
        (&raw mut *code).cast(),
        size,
        Wake::Later,
    ) {
        // A failed insert only means that it is told again.
        let _ = CODES.insert(key, digest, 0);
    }
    Ok(())
}

/// Reads the names that the code refers to.
#[inline(always)]
fn used_names(hit: &Hit, head: &mut CodeHead) -> Result<(), Unreadable> {
    let names = read::pointer(head.code + u64::from(hit.image.code_names))?;
    // PyVarObject.ob_size is at 16.
    head.used = read::pointer(hit.member(names, 16))?;
    let mut using = Using {
        hit,
        items: names + u64::from(hit.image.tuple_items),
        head,
    };
    repeat(MAX_USED_NAMES as u32, &mut using, use_next);
    Ok(())
}

struct Using<'a> {
    hit: &'a Hit,
    items: u64,
    head: &'a mut CodeHead,
}

extern "C" fn use_next(number: u32, using: &mut Using<'_>) -> Next {
    if u64::from(number) >= using.head.used {
        return Next::Done;
    }
    let text = &mut using.head.used_names[number as usize & (MAX_USED_NAMES - 1)];
    // One that is not ASCII is none that anybody looks for.
    let read = read::pointer(using.items + 8 * u64::from(number)).and_then(|name| {
        read::user_text(
            text.as_mut_ptr(),
            MAX_USED_NAME as u32,
            name + u64::from(using.hit.image.ascii_data),
        )
    });
    if read.is_err() {
        text[0] = 0;
    }
    Next::More
}

/// Reads the name of the type whose method a frame runs: that of its first argument, if that is called as such arguments are.
#[inline(always)]
fn owner(hit: &Hit, code: u64, frame: u64, to: *mut u8) -> Result<(), Unreadable> {
    let image = hit.image;
    let names = read::pointer(code + u64::from(image.code_varnames))?;
    let name = read::pointer(names + u64::from(image.tuple_items))?;
    // PyASCIIObject.length is at 16.
    let len = read::pointer(name + 16)?;
    let text = read::user::<[u8; 4]>(name + u64::from(image.ascii_data))?;
    let first = read::pointer(frame + u64::from(image.frame_locals))?;
    let kind = if len == 4 && text == *b"self" {
        // PyObject.ob_type is at 8.
        read::pointer(first + 8)?
    } else if len == 3 && text == *b"cls\0" {
        first
    } else {
        return Ok(());
    };
    // PyTypeObject.tp_name is at 24.
    read::user_text(to, MAX_CODE_OWNER as u32, read::pointer(kind + 24)?)
}

/// Reads a compact `str`, up to `room` bytes of it, a power of two less one; one that is not compact is for the agent.
#[inline(always)]
fn text(hit: &Hit, text: &mut RawStr, to: *mut u8, room: u32) -> Result<(), Unreadable> {
    let str = Str::of(hit, text.object)?;
    if !str.compact {
        return Err(Unreadable);
    }
    text.len = str.len;
    text.width = str.width as u32;
    text.bytes = at_most(u64::from(at_most(str.len, room)) * str.width, room);
    let bytes = emit::read_back(&text.bytes) & room;
    read::user_into(to, bytes, str.data)
}

#[inline(always)]
const fn at_most(len: u64, room: u32) -> u32 {
    if len > room as u64 { room } else { len as u32 }
}

/// What differs between two code objects that follow one another at this address.
#[inline(always)]
pub fn digest_of(image: &Image, address: u64) -> Result<u64, Unreadable> {
    let objects = [
        read::pointer(address + u64::from(image.code_name))?,
        read::pointer(address + u64::from(image.code_filename))?,
        read::pointer(address + u64::from(image.code_line_table))?,
    ];
    let first_line = read::user::<u32>(address + u64::from(image.code_first_line))?;
    Ok(digest(first_line, objects))
}

#[inline(always)]
fn digest(first_line: u32, objects: [u64; 3]) -> u64 {
    let mut digest = u64::from(first_line);
    for word in objects {
        digest = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        digest ^= digest >> 29;
    }
    digest
}
