//! The interpreter's own hash trie: what a context holds for a variable.
//!
//! Layout and algorithm: CPython `Python/hamt.c`, the same from 3.8 to 3.15.

use crate::{
    read::{self, Unreadable},
    state::Hit,
};

/// Depth of the deepest trie: seven levels of five bits and a collision node.
const MAX_DEPTH: u32 = 8;
/// Entries of a collision node that are looked at.
const MAX_COLLISIONS: u32 = 8;

/// Address of the value that `vars` binds to `var`; none when it binds none.
#[inline(always)]
pub fn find(hit: &Hit, vars: u64, var: u64, var_hash: u64) -> Result<Option<u64>, Unreadable> {
    let bitmap_type = hit.address(hit.image.hamt_bitmap_type);
    let array_type = hit.address(hit.image.hamt_array_type);
    let collision_type = hit.address(hit.image.hamt_collision_type);
    let mut hash = (var_hash as u32) ^ ((var_hash >> 32) as u32);
    if hash == u32::MAX {
        hash = u32::MAX - 1;
    }
    let mut node = read::pointer(vars + 16)?;
    let mut shift = 0;
    let mut colliding = false;
    for _ in 0..MAX_DEPTH {
        // ob_type 8, ob_size 16, b_bitmap 24 of a bitmap node.
        let [kind, _, bitmap] = read::user::<[u64; 3]>(node + 8)?;
        let index = (hash >> (shift & 31)) & 31;
        if kind == bitmap_type {
            let bit = 1u32 << index;
            let bitmap = bitmap as u32;
            if bitmap & bit == 0 {
                return Ok(None);
            }
            let [key, value] = read::user::<[u64; 2]>(node + 32 + 16 * u64::from(ones(bitmap & (bit - 1))))?;
            if key != 0 {
                return Ok((key == var).then_some(value));
            }
            node = value;
        } else if kind == array_type {
            node = read::pointer(node + 16 + 8 * u64::from(index))?;
            if node == 0 {
                return Ok(None);
            }
        } else if kind == collision_type {
            colliding = true;
            break;
        } else {
            return Err(Unreadable);
        }
        shift += 5;
    }
    // Searched outside the loop, so that the verifier walks it once and not at every depth.
    if colliding {
        find_among(node, var)
    } else {
        Err(Unreadable)
    }
}

/// Searches a collision node: keys whose hashes agree in full.
#[inline(always)]
fn find_among(node: u64, var: u64) -> Result<Option<u64>, Unreadable> {
    let size = read::pointer(node + 16)?;
    for pair in 0..MAX_COLLISIONS {
        if u64::from(pair) * 2 >= size {
            return Ok(None);
        }
        let [key, value] = read::user::<[u64; 2]>(node + 32 + 16 * u64::from(pair))?;
        if key == var {
            return Ok(Some(value));
        }
    }
    Err(Unreadable)
}

/// Bits that are set; BPF has no instruction for it.
#[inline(always)]
fn ones(bits: u32) -> u32 {
    let pairs = bits - ((bits >> 1) & 0x5555_5555);
    let nibbles = (pairs & 0x3333_3333) + ((pairs >> 2) & 0x3333_3333);
    (((nibbles + (nibbles >> 4)) & 0x0f0f_0f0f).wrapping_mul(0x0101_0101)) >> 24
}
