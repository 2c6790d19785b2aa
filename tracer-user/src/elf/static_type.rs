//! Static type objects (`PyTypeObject`) of CPython, found by their name.

use super::{file::Elf, slots::Pointer};

/// `PyTypeObject.tp_basicsize` and `tp_itemsize` follow `tp_name` (`Include/cpython/object.h`).
const BASIC_SIZE: u64 = 8;
const ITEM_SIZE: u64 = 16;
/// What a type's instances may plausibly occupy.
const SIZES: std::ops::RangeInclusive<u64> = 16..=4096;
const MAX_ITEM_SIZE: u64 = 64;

/// A name that does not single out one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} static types named {name}, not 1")]
pub struct TypeError {
    /// The name.
    pub name: &'static str,
    /// How many types have it.
    pub count: usize,
}

/// Address of the one static type whose `tp_name`, at that offset, is `name`.
pub fn static_type(file: &Elf<'_>, tp_name: u64, name: &'static str) -> Result<u64, TypeError> {
    let mut found = file.pointers().iter().filter_map(|(at, pointer)| {
        let Pointer::To(target) = *pointer else {
            return None;
        };
        let bytes = file.bytes(target, name.len() + 1)?;
        if bytes[..name.len()] != *name.as_bytes() || bytes[name.len()] != 0 {
            return None;
        }
        let basic_size = file.word(at.checked_add(BASIC_SIZE)?)?;
        let item_size = file.word(at.checked_add(ITEM_SIZE)?)?;
        (SIZES.contains(&basic_size) && item_size <= MAX_ITEM_SIZE).then(|| at.checked_sub(tp_name))?
    });
    match (found.next(), found.count()) {
        (Some(address), 0) => Ok(address),
        (first, more) => Err(TypeError {
            name,
            count: usize::from(first.is_some()) + more,
        }),
    }
}
