//! What `multiprocessing.pool.ThreadPool` hands over: plain tuples.

use crate::{
    read::{self, Unreadable},
    state::Hit,
};

/// `(taskseq, set_length)`, what a pool's `_taskqueue` takes (Lib/multiprocessing/pool.py).
const BATCH: u64 = 2;
/// `(job, i, func, args, kwds)`, what its workers take.
const TASK: u64 = 5;

/// Whether the object can be one of those. Only the stack can tell whether it is.
#[inline(always)]
pub fn is_tuple(hit: &Hit, object: u64) -> bool {
    // PyObject.ob_type is at 8, PyVarObject.ob_size at 16.
    match read::user::<[u64; 2]>(hit.member(object, 8)) {
        Ok([kind, BATCH | TASK]) => kind == hit.address(hit.image.tuple_type),
        Ok(_) | Err(Unreadable) => false,
    }
}
