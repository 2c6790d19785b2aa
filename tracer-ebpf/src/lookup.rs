//! The interpreter's own hash trie: what a context holds for a variable.
//!
//! Layout and algorithm: CPython `Python/hamt.c`, the same from 3.8 to 3.15.

use crate::{
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
};

/// Depth of the deepest trie: seven levels of five bits and a collision node.
const MAX_DEPTH: u32 = 8;
/// Entries of a collision node that are looked at.
const MAX_COLLISIONS: u32 = 8;

/// Address of the value that `vars` binds to `var`; none when it binds none.
#[inline(always)]
pub fn find(hit: &Hit, vars: u64, var: u64, var_hash: u64) -> Result<Option<u64>, Unreadable> {
    let mut hash = (var_hash as u32) ^ ((var_hash >> 32) as u32);
    if hash == u32::MAX {
        hash = u32::MAX - 1;
    }
    let mut search = Search {
        hit,
        var,
        hash,
        node: read::pointer(hit.member(vars, 16))?,
        pairs: 0,
        ended: false,
        value: 0,
    };
    repeat(MAX_DEPTH, &mut search, descend);
    // Searched after the trie, so that the verifier walks it once and not at every depth.
    if !search.ended && search.pairs != 0 {
        repeat(MAX_COLLISIONS, &mut search, compare);
    }
    if search.ended {
        Ok((search.value != 0).then_some(search.value))
    } else {
        Err(Unreadable)
    }
}

struct Search<'a> {
    hit: &'a Hit,
    var: u64,
    hash: u32,
    node: u64,
    /// Two for each pair of a collision node; 0 as long as there is none.
    pairs: u64,
    /// It is decided: `value` is what was found, or 0.
    ended: bool,
    value: u64,
}

impl Search<'_> {
    #[inline(always)]
    fn end(&mut self, value: u64) -> Next {
        self.ended = true;
        self.value = value;
        Next::Done
    }
}

extern "C" fn descend(level: u32, search: &mut Search<'_>) -> Next {
    let hit = search.hit;
    // ob_type 8, ob_size 16, b_bitmap 24 of a bitmap node.
    let Ok([kind, size, bitmap]) = read::user::<[u64; 3]>(hit.member(search.node, 8)) else {
        return Next::Done;
    };
    let index = (search.hash >> (level * 5 & 31)) & 31;
    if kind == hit.address(hit.image.hamt_bitmap_type) {
        let bit = 1u32 << index;
        let bitmap = bitmap as u32;
        if bitmap & bit == 0 {
            return search.end(0);
        }
        let pair = hit.member(search.node, 32) + 16 * u64::from(ones(bitmap & (bit - 1)));
        match read::user::<[u64; 2]>(pair) {
            Ok([0, child]) => search.node = child,
            Ok([key, value]) if key == search.var => return search.end(value),
            Ok(_) => return search.end(0),
            Err(Unreadable) => return Next::Done,
        }
    } else if kind == hit.address(hit.image.hamt_array_type) {
        match read::pointer(hit.member(search.node, 16) + 8 * u64::from(index)) {
            Ok(0) => return search.end(0),
            Ok(child) => search.node = child,
            Err(Unreadable) => return Next::Done,
        }
    } else {
        if kind == hit.address(hit.image.hamt_collision_type) {
            search.pairs = size;
        }
        return Next::Done;
    }
    Next::More
}

/// Searches a collision node: keys whose hashes agree in full.
extern "C" fn compare(number: u32, search: &mut Search<'_>) -> Next {
    if u64::from(number) * 2 >= search.pairs {
        return search.end(0);
    }
    match read::user::<[u64; 2]>(search.hit.member(search.node, 32) + 16 * u64::from(number)) {
        Ok([key, value]) if key == search.var => search.end(value),
        Ok(_) => Next::More,
        Err(Unreadable) => Next::Done,
    }
}

/// Bits that are set; BPF has no instruction for it.
#[inline(always)]
fn ones(bits: u32) -> u32 {
    let pairs = bits - ((bits >> 1) & 0x5555_5555);
    let nibbles = (pairs & 0x3333_3333) + ((pairs >> 2) & 0x3333_3333);
    (((nibbles + (nibbles >> 4)) & 0x0f0f_0f0f).wrapping_mul(0x0101_0101)) >> 24
}
