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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tracer_common::config::Image;

    use super::*;

    const BITMAP: u64 = 0x100;
    const ARRAY: u64 = 0x200;
    const COLLISION: u64 = 0x300;

    /// Memory made of words; what is not there cannot be read.
    #[derive(Default)]
    struct Words(HashMap<u64, u64>);

    impl Words {
        fn put(&mut self, at: u64, words: &[u64]) {
            for (at, word) in (at..).step_by(8).zip(words) {
                self.0.insert(at, *word);
            }
        }
    }

    impl Memory for Words {
        fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
            for (at, chunk) in (address..).step_by(8).zip(buf.chunks_mut(8)) {
                let word = self.0.get(&at).ok_or(MemoryError::Unreadable {
                    address,
                    len: chunk.len(),
                })?;
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    fn core() -> Core {
        let image = Image {
            hamt_bitmap_type: BITMAP,
            hamt_array_type: ARRAY,
            hamt_collision_type: COLLISION,
            ..Image::default()
        };
        Core {
            image,
            ..Core::bare()
        }
    }

    /// A trie at 0x1000 of `count` bindings whose root is at 0x2000.
    fn trie(count: u64) -> Words {
        let mut memory = Words::default();
        memory.put(0x1000, &[1, 0, 0x2000, 0, count]);
        memory
    }

    fn read(memory: &Words) -> Result<Vec<(u64, u64)>, MemoryError> {
        entries(memory, &core(), 0, 0x1000)
    }

    #[test]
    fn all_kinds_of_node_are_walked() {
        let mut memory = trie(3);
        let mut array = [0; 34];
        array[1] = ARRAY;
        array[2 + 7] = 0x3000;
        memory.put(0x2000, &array);
        memory.put(0x3000, &[1, BITMAP, 4, 0b11, 10, 11, 0, 0x4000]);
        memory.put(0x4000, &[1, COLLISION, 4, 99, 20, 21, 30, 31]);
        assert_eq!(read(&memory), Ok(vec![(10, 11), (20, 21), (30, 31)]));
    }

    #[test]
    fn a_cycle_ends_as_an_error() {
        let mut memory = trie(1);
        memory.put(0x2000, &[1, BITMAP, 4, 0b11, 0, 0x2000, 0, 0x2000]);
        assert_eq!(read(&memory), Err(MemoryError::invalid("hash trie", 0x1000)));
    }

    #[test]
    fn a_missing_binding_and_a_foreign_node_are_errors() {
        let mut memory = trie(2);
        memory.put(0x2000, &[1, BITMAP, 2, 1, 10, 11]);
        assert_eq!(read(&memory), Err(MemoryError::invalid("hash trie", 0x1000)));
        memory.put(0x2000, &[1, 0x999]);
        assert_eq!(read(&memory), Err(MemoryError::invalid("hash trie node", 0x2000)));
    }
}
