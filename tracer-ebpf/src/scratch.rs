//! Memory that each thread has for itself. Per thread, not per CPU: a uprobe may be overtaken on its CPU.

use aya_ebpf::maps::{Array, HashMap};

/// The thread's entry, made from the blank one if there is none. None when the map is full.
#[inline(always)]
pub fn of<T>(
    entries: &'static HashMap<u32, T>,
    blank: &'static Array<T>,
    tid: u32,
) -> Option<&'static mut T> {
    let entry = entries.get_ptr_mut(tid).or_else(|| {
        entries.insert(tid, blank.get(0)?, 0).ok()?;
        entries.get_ptr_mut(tid)
    })?;
    // SAFETY: the entry belongs to this thread alone and is removed when the thread ends.
    Some(unsafe { &mut *entry })
}
