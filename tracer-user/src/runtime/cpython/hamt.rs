//! The hash trie that holds a context's bindings (`Python/hamt.c`), walked from outside.

use super::{
    core::Core,
    memory::{Memory, MemoryError},
};

/// Levels of a trie over a 32-bit hash in steps of 5 bits, and a collision node below.
const MAX_DEPTH: usize = 8;
/// Nodes and bindings of one context that are read; a cycle or a forged trie ends here.
const MAX_WORK: usize = 1 << 16;
const ARRAY_WIDTH: usize = 32;

/// All `(variable, value)` pairs of the trie object at `hamt`.
pub fn entries(
    memory: &impl Memory,
    core: &Core,
    bias: u64,
    hamt: u64,
) -> Result<Vec<(u64, u64)>, MemoryError> {
    let layout = core.layout;
    let is = |node_type: u64, link_time: u64| node_type == bias.wrapping_add(link_time);
    let mut entries = Vec::new();
    let mut work = 0;
    let mut open = vec![(memory.u64(hamt, layout.hamt_root)?, 1)];
    while let Some((node, depth)) = open.pop() {
        let node_type = memory.u64(node, layout.object_type)?;
        let (pairs, children) = if is(node_type, core.image.hamt_array_type) {
            (Vec::new(), memory.words(node, layout.hamt_array, ARRAY_WIDTH)?)
        } else {
            let at = if is(node_type, core.image.hamt_bitmap_type) {
                layout.hamt_bitmap_array
            } else if is(node_type, core.image.hamt_collision_type) {
                layout.hamt_collision_array
            } else {
                return Err(MemoryError::invalid("hash trie node", node));
            };
            let len = memory.u64(node, layout.var_size)?;
            if len > MAX_WORK as u64 || len % 2 != 0 {
                return Err(MemoryError::invalid("hash trie node", node));
            }
            (memory.words(node, at, len as usize)?, Vec::new())
        };
        work += 1 + pairs.len() + children.len();
        if depth > MAX_DEPTH || work > MAX_WORK {
            return Err(MemoryError::invalid("hash trie", hamt));
        }
        for pair in pairs.chunks_exact(2) {
            // A pair without a key holds a node below.
            match (pair[0], pair[1]) {
                (0, below) => open.push((below, depth + 1)),
                binding => entries.push(binding),
            }
        }
        open.extend(
            children
                .into_iter()
                .filter(|child| *child != 0)
                .map(|child| (child, depth + 1)),
        );
    }
    if memory.u64(hamt, layout.hamt_count)? == entries.len() as u64 {
        Ok(entries)
    } else {
        Err(MemoryError::invalid("hash trie", hamt))
    }
}
