//! Describing an object: its type, and of `str`, `bytes` and `int` the first bytes of its content.

use tracer_common::{
    MAX_TEXT,
    record::{RawValue, found, repr},
};

use crate::{
    read::{self, Unreadable},
    state::Hit,
    str::Str,
    zero::zero,
};

/// The minor version from which on an `int` has a tag.
const FIRST_WITH_LONG_TAG: u32 = 12;

/// Marks `value` as not readable.
#[inline(always)]
pub fn unreadable(value: &mut RawValue) {
    blank(value, found::UNREADABLE);
}

/// Marks `value` as not bound.
#[inline(always)]
pub fn unset(value: &mut RawValue) {
    blank(value, found::UNSET);
}

/// Describes the object at `object`.
#[inline(always)]
pub fn describe(hit: &Hit, object: u64, value: &mut RawValue) {
    blank(value, found::OBJECT);
    value.object = object;
    if fill(hit, object, value).is_err() {
        unreadable(value);
    }
}

#[inline(always)]
fn fill(hit: &Hit, object: u64, value: &mut RawValue) -> Result<(), Unreadable> {
    if object == hit.address(hit.image.none) {
        value.repr = repr::NONE;
        return Ok(());
    }
    value.type_object = read::pointer(hit.member(object, 8))?;
    let source = if value.type_object == hit.address(hit.image.str_type) {
        let str = Str::of(hit, object)?;
        if !str.compact {
            return Ok(());
        }
        value.len = str.len;
        value.repr = match str.width {
            1 => repr::STR1,
            2 => repr::STR2,
            4 => repr::STR4,
            _ => return Err(Unreadable),
        };
        value.text_len = str.width as u8;
        str.data
    } else if value.type_object == hit.address(hit.image.bytes_type) {
        // PyBytesObject: ob_size 16, ob_shash 24, ob_sval 32.
        value.len = read::pointer(hit.member(object, 16))?;
        value.repr = repr::BYTES;
        value.text_len = 1;
        hit.member(object, 32)
    } else if value.type_object == hit.address(hit.image.int_type) {
        // PyLongObject: ob_digit 24. At 16 up to 3.11 ob_size, which has the sign; then lv_tag (digits << 3 | sign, sign 2 is negative).
        let size = read::pointer(hit.member(object, 16))?;
        let (len, negative) = if hit.image.minor < FIRST_WITH_LONG_TAG {
            ((size as i64).unsigned_abs(), (size as i64) < 0)
        } else {
            (size >> 3, size & 3 == 2)
        };
        value.len = len;
        value.repr = if negative { repr::NEGATIVE_INT } else { repr::INT };
        value.text_len = 4;
        hit.member(object, 24)
    } else {
        // Where tuples, lists, dictionaries and sets count their items (ob_size, ma_used, fill); of any other type it says nothing.
        value.len = read::pointer(hit.member(object, 16)).unwrap_or(0);
        // PyTypeObject.tp_name is at 24. A class ends with its program, sooner than the agent can read its name; what cannot be read
        // here, such as the name of a built-in type in a process that was just forked, it can.
        let name = read::pointer(hit.member(value.type_object, 24)).unwrap_or(0);
        if read::user_text(value.text.as_mut_ptr(), MAX_TEXT as u32, name).is_err() {
            value.text[0] = 0;
        }
        return Ok(());
    };
    let bytes = content(value);
    read::user_into(value.text.as_mut_ptr(), bytes, source)?;
    value.text_len = bytes as u8;
    Ok(())
}

/// What is left of the `str` at `object` when so many values are full of it.
#[inline(always)]
pub fn rest(hit: &Hit, object: u64, values: u64, value: &mut RawValue) {
    unset(value);
    if read::pointer(hit.member(object, 8)) != Ok(hit.address(hit.image.str_type)) {
        return;
    }
    let Ok(str) = Str::of(hit, object) else { return };
    let before = values * MAX_TEXT as u64;
    let len = str.len.min(MAX_REST);
    let bytes = (len * (str.width & 7)).wrapping_sub(before);
    if !str.compact || bytes > MAX_REST {
        return;
    }
    let bytes = if bytes > MAX_TEXT as u64 {
        MAX_TEXT as u32
    } else {
        bytes as u32
    };
    if read::user_into(value.text.as_mut_ptr(), bytes, str.data + before).is_ok() {
        value.state = found::OBJECT;
        value.text_len = bytes as u8;
    }
}

/// More than all values of a record hold, so that lengths can be computed with.
const MAX_REST: u64 = 0xffff;

/// Bytes of content that travel, by `len` and by the width of a character or digit, which `text_len` holds so far.
///
/// Both are read back from memory: so the verifier knows nothing about them any more, and checks what follows once
/// instead of once for every type and width.
#[inline(always)]
fn content(value: &RawValue) -> u32 {
    // SAFETY: both are valid for reading.
    let (len, width) = unsafe {
        (
            (&raw const value.len).read_volatile(),
            u64::from((&raw const value.text_len).read_volatile()),
        )
    };
    let units = if len > MAX_TEXT as u64 {
        MAX_TEXT as u64
    } else {
        len
    };
    let bytes = units * width;
    if bytes > MAX_TEXT as u64 {
        MAX_TEXT as u32
    } else {
        bytes as u32
    }
}

/// Clears `value` but for its state.
#[inline(always)]
pub fn blank(value: &mut RawValue, state: u8) {
    zero(value);
    value.state = state;
}
