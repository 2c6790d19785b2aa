//! Whether a function takes work from a queue of pure Python: no probe sees that, but its code object names what it calls.

use tracer_common::record::CodeHead;

use super::{
    layout::Layout,
    memory::{Memory, MemoryError, text},
};
use crate::correlate::event::ByHand;

/// Names of one code object that are looked at.
const MAX_NAMES: u64 = 256;

/// How far a function looks like the loop of a worker that somebody wrote by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueUse {
    /// It calls a method `get`: as a caller of other functions it may take from a queue what they work on.
    pub gets: bool,
    /// It names a queue besides, or a method that only queues have.
    pub names_queue: bool,
    /// It calls a method `put`.
    pub puts: bool,
}

impl QueueUse {
    /// Reads the names that the code object at `code` refers to.
    pub fn read(memory: &impl Memory, layout: &Layout, code: u64) -> Result<Self, MemoryError> {
        let names = memory.u64(code, layout.code_names)?;
        let count = memory.u64(names, layout.var_size)?.min(MAX_NAMES);
        let mut found = Self::default();
        for name in memory.words(names, layout.tuple_items, count as usize)? {
            found.add(&text(memory, layout, name)?);
        }
        Ok(found)
    }

    /// The same of a code object that the kernel side told, unless it refers to more names than travel.
    pub fn told(head: &CodeHead) -> Option<Self> {
        let names = head.used_names.get(..usize::try_from(head.used).ok()?)?;
        let mut found = Self::default();
        for name in names {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            found.add(&String::from_utf8_lossy(&name[..end]));
        }
        Some(found)
    }

    fn add(&mut self, name: &str) {
        match name {
            "get" => self.gets = true,
            "put" | "put_nowait" => self.puts = true,
            // A `collections.deque` is a queue, too.
            "get_nowait" | "task_done" | "popleft" => {
                self.gets = true;
                self.names_queue = true;
            }
            _ => self.names_queue |= name.to_ascii_lowercase().contains("queue"),
        }
    }

    /// Whether it takes work by hand; `calls` says that it called what happens now, and is not where it happens.
    pub const fn takes(self, calls: bool) -> Option<ByHand> {
        // Where a variable is read, `get` may be that, and the queue one that is only filled.
        if self.gets && self.names_queue && (calls || !self.puts) {
            Some(ByHand::Named)
        } else if self.gets && calls {
            Some(ByHand::Caller)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ByHand, QueueUse};

    fn of(names: &[&str]) -> QueueUse {
        let mut found = QueueUse::default();
        for name in names {
            found.add(name);
        }
        found
    }

    #[test]
    fn a_loop_around_a_queue_takes_work() {
        assert_eq!(of(&["jobs", "get"]).takes(true), Some(ByHand::Caller));
        assert_eq!(of(&["queue", "get", "put"]).takes(true), Some(ByHand::Named));
        for names in [
            &["work_queue", "get", "tenant"][..],
            &["jobs", "get_nowait"],
            &["jobs", "get", "task_done"],
            &["jobs", "popleft"],
        ] {
            assert_eq!(of(names).takes(false), Some(ByHand::Named), "{names:?}");
        }
    }

    #[test]
    fn who_reads_a_variable_does_not() {
        assert_eq!(of(&["tenant", "get"]).takes(false), None);
        assert_eq!(of(&["queue", "put"]).takes(true), None);
        assert_eq!(of(&["queue", "put", "tenant", "get"]).takes(false), None);
        assert_eq!(of(&["read"]).takes(true), None);
    }
}
