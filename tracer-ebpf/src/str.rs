//! The head of a `str`.

use crate::{
    read::{self, Unreadable},
    state::Hit,
};

/// What a `str` says of itself.
pub struct Str {
    /// Characters.
    pub len: u64,
    /// Bytes of each.
    pub width: u64,
    /// Its characters follow its head.
    pub compact: bool,
    /// All of them are ASCII.
    pub ascii: bool,
    /// Where they are, if it is compact.
    pub data: u64,
}

impl Str {
    #[inline(always)]
    pub fn of(hit: &Hit, object: u64) -> Result<Self, Unreadable> {
        let image = hit.image;
        // PyASCIIObject: length 16, hash 24, state 32; in state: kind, compact 3 bits further on, ascii 4 (Include/cpython/unicodeobject.h).
        let [len, _, state] = read::user::<[u64; 3]>(hit.member(object, 16))?;
        let state = state >> (image.unicode_kind & 0x1f);
        let (compact, ascii) = (state & 1 << 3 != 0, state & 1 << 4 != 0);
        // No branch: the verifier would follow both ways to the end of the program.
        let (long, short) = (u64::from(image.compact_data), u64::from(image.ascii_data));
        let data = long ^ (long ^ short) & 0u64.wrapping_sub(state >> 4 & 1);
        Ok(Self {
            len,
            width: state & 7,
            compact,
            ascii,
            data: object + data,
        })
    }
}
