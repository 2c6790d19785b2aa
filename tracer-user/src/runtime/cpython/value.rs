//! Values of variables: as the kernel side ships them, and as the agent reads them itself.

use std::{ffi::CStr, sync::Arc};

use tracer_common::{
    MAX_TEXT,
    record::{RawValue, found, repr},
};

use super::{
    core::Core,
    memory::{Memory, MemoryError, c_string, characters, str_shape},
};
use crate::correlate::value::{Content, Found, Prefix, Value};

/// Bytes of a type's name that are read.
const MAX_TYPE_NAME: usize = 256;
/// Digits of an `int` hold this many bits.
const DIGIT_BITS: u32 = 30;

/// The name of the type at `type_object`, as its author wrote it (a static type's includes the module).
pub fn type_name(memory: &impl Memory, core: &Core, type_object: u64) -> Result<String, MemoryError> {
    c_string(
        memory,
        memory.u64(type_object, core.layout.type_name)?,
        MAX_TYPE_NAME,
    )
}

/// What the engine is told about a raw value. `type_name` looks a type's name up by its address.
pub fn found(raw: &RawValue, type_name: impl FnOnce(u64) -> Option<Arc<str>>) -> Found {
    match raw.state {
        found::UNSET => Found::Unset,
        found::UNRESOLVED => Found::Unresolved,
        found::OBJECT => content(raw).map_or(Found::Unreadable, |content| {
            let (object, type_object) = (raw.object, raw.type_object);
            let type_name = told_name(raw).or_else(|| type_name(type_object));
            // The types that keep the number of their items where it was read.
            let counts = matches!(
                type_name.as_deref(),
                Some("dict" | "list" | "tuple" | "set" | "frozenset")
            );
            Found::Value(Value {
                object,
                type_object,
                items: (counts && content == Content::Opaque).then_some(raw.len),
                type_name,
                root: if raw.root == 0 { object } else { raw.root },
                content,
            })
        }),
        _ => Found::Unreadable,
    }
}

/// The name of its type that came with a value, if that is the whole of it.
fn told_name(raw: &RawValue) -> Option<Arc<str>> {
    if raw.repr != repr::OPAQUE {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&raw.text).ok()?.to_str().ok()?;
    (1..raw.text.len() - 1)
        .contains(&name.len())
        .then(|| Arc::from(name))
}

fn content(raw: &RawValue) -> Option<Content> {
    let text = raw.text.get(..usize::from(raw.text_len))?;
    Some(match raw.repr {
        repr::NONE => Content::None,
        repr::STR1 => string(raw, text, 1),
        repr::STR2 => string(raw, text, 2),
        repr::STR4 => string(raw, text, 4),
        repr::BYTES => Content::Bytes(prefix(Arc::from(text), text.len(), raw.len)),
        repr::INT | repr::NEGATIVE_INT => {
            let digits: Arc<[u32]> = characters(text, 4).collect();
            let count = digits.len();
            Content::Int {
                negative: raw.repr == repr::NEGATIVE_INT,
                digits: prefix(digits, count, raw.len),
            }
        }
        _ => Content::Opaque,
    })
}

// A lone surrogate is a Python character but no Rust one: such a text is known by its address only, rather than by a wrong one.
fn string(raw: &RawValue, text: &[u8], width: usize) -> Content {
    let Some(shown) = characters(text, width)
        .map(char::from_u32)
        .collect::<Option<String>>()
    else {
        return Content::Opaque;
    };
    Content::Str(prefix(Arc::from(shown), text.len() / width, raw.len))
}

fn prefix<T: ?Sized>(shown: Arc<T>, count: usize, len: u64) -> Prefix<T> {
    Prefix {
        shown,
        len,
        whole: count as u64 == len,
    }
}

/// Reads the object at `object` (0: there is none) as the kernel side would, the object itself, no path followed.
pub fn read_raw(memory: &impl Memory, core: &Core, bias: u64, object: u64) -> Result<RawValue, MemoryError> {
    let mut raw = RawValue {
        object,
        type_object: 0,
        len: 0,
        root: 0,
        state: found::UNSET,
        repr: repr::OPAQUE,
        text_len: 0,
        pad: [0; 5],
        text: [0; MAX_TEXT],
    };
    if object == 0 {
        return Ok(raw);
    }
    let (layout, image) = (core.layout, &core.image);
    raw.state = found::OBJECT;
    raw.type_object = memory.u64(object, layout.object_type)?;
    if object == bias.wrapping_add(image.none) {
        raw.repr = repr::NONE;
        return Ok(raw);
    }
    let is = |link_time: u64| raw.type_object == bias.wrapping_add(link_time);
    let (width, data);
    if is(image.str_type) {
        let shape = str_shape(memory, layout, object)?;
        raw.repr = match shape.width {
            1 => repr::STR1,
            2 => repr::STR2,
            _ => repr::STR4,
        };
        raw.len = shape.len;
        (width, data) = (shape.width, shape.data);
    } else if is(image.bytes_type) {
        raw.repr = repr::BYTES;
        raw.len = memory.u64(object, layout.var_size)?;
        (width, data) = (1, layout.bytes_data);
    } else if is(image.int_type) {
        let negative;
        if let Some(at) = layout.long_tag {
            // The low bits of the tag are the sign (0 positive, 1 zero, 2 negative), the rest counts digits.
            let tag = memory.u64(object, at)?;
            (raw.len, negative) = (tag >> 3, tag & 3 == 2);
        } else {
            let size = memory.u64(object, layout.var_size)? as i64;
            (raw.len, negative) = (size.unsigned_abs(), size < 0);
        }
        raw.repr = if negative { repr::NEGATIVE_INT } else { repr::INT };
        (width, data) = (4, layout.long_digits);
    } else {
        raw.len = memory.u64(object, layout.var_size).unwrap_or(0);
        return Ok(raw);
    }
    let len = (raw.len.min(MAX_TEXT as u64 / width) * width) as usize;
    raw.text_len = len as u8;
    raw.text[..len].copy_from_slice(&memory.bytes(object, data, len)?);
    if matches!(raw.repr, repr::INT | repr::NEGATIVE_INT)
        && characters(&raw.text[..len], 4).any(|digit| digit >> DIGIT_BITS != 0)
    {
        return Err(MemoryError::invalid("int", object));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(repr: u8, text: &[u8], len: u64) -> RawValue {
        let mut bytes = [0; MAX_TEXT];
        bytes[..text.len()].copy_from_slice(text);
        RawValue {
            object: 1,
            type_object: 2,
            len,
            root: 0,
            state: found::OBJECT,
            repr,
            text_len: text.len() as u8,
            pad: [0; 5],
            text: bytes,
        }
    }

    fn content_of(raw: &RawValue) -> Content {
        match found(raw, |address| Some(Arc::from(format!("type {address}")))) {
            Found::Value(value) => {
                assert_eq!(value.type_name.as_deref(), Some("type 2"));
                value.content
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn strings_of_every_width_keep_their_characters() {
        for (repr, text, expected) in [
            (repr::STR1, &b"t\xe9nant"[..], "ténant"),
            (repr::STR2, &[0x42, 0x30, 0x44, 0x30], "あい"),
            (repr::STR4, &[0x00, 0xf6, 0x01, 0x00], "😀"),
        ] {
            let Content::Str(shown) = content_of(&raw(repr, text, expected.chars().count() as u64)) else {
                panic!("no str")
            };
            assert_eq!((&*shown.shown, shown.whole), (expected, true));
        }
    }

    #[test]
    fn a_cut_value_is_not_whole() {
        let Content::Str(shown) = content_of(&raw(repr::STR1, b"abc", 80)) else {
            panic!("no str")
        };
        assert_eq!((shown.len, shown.whole), (80, false));
    }

    #[test]
    fn an_int_keeps_sign_and_digits() {
        let Content::Int { negative, digits } =
            content_of(&raw(repr::NEGATIVE_INT, &[7, 0, 0, 0, 1, 0, 0, 0], 2))
        else {
            panic!("no int")
        };
        assert_eq!(
            (negative, &*digits.shown, digits.whole),
            (true, &[7, 1][..], true)
        );
    }

    #[test]
    fn lone_surrogates_are_known_by_address_only() {
        assert_eq!(content_of(&raw(repr::STR2, &[0x00, 0xd8], 1)), Content::Opaque);
    }

    #[test]
    fn impossible_values_are_unreadable() {
        let mut value = raw(repr::STR1, b"", 0);
        value.text_len = 255;
        assert_eq!(found(&value, |_| None), Found::Unreadable);
        value.state = 99;
        assert_eq!(found(&value, |_| None), Found::Unreadable);
    }
}
