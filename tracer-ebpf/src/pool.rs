//! What `multiprocessing.pool.ThreadPool` hands over: plain tuples.

use crate::{
    item::has_type,
    read::{self, Unreadable},
};

/// `(taskseq, set_length)`, what a pool's `_taskqueue` takes (Lib/multiprocessing/pool.py).
const BATCH: u64 = 2;
/// `(job, i, func, args, kwds)`, what its workers take.
const TASK: u64 = 5;

/// Whether the object can be one of those. Only the stack can tell whether it is.
#[inline(always)]
pub fn is_tuple(object: u64) -> bool {
    // PyVarObject.ob_size is at 16.
    let size = read::pointer(object + 16);
    matches!(size, Ok(BATCH | TASK)) && has_type(object, b"tuple").unwrap_or_else(|Unreadable| false)
}
