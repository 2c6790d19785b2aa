//! What several threads of a target write at once: the interpreter's lock keeps them apart only where there is one.

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg, atomic_xadd};

/// Puts `new` where there is 0; whether it did.
///
/// # Safety
/// `at` is aligned and valid for reading and writing.
#[inline(always)]
pub unsafe fn claim(at: *mut u64, new: u64) -> bool {
    // SAFETY: the caller's.
    unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(at, 0, new) }.1
}

/// Adds one.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn add(at: *mut u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { SeqCst }>(at, 1) };
}
