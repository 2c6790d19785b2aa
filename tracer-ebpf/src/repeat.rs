//! Loops whose body the verifier walks once, and not once for every time that it may run.

use aya_ebpf::helpers::generated::bpf_loop;

/// Runs `step` with what it works on, at most `times` times, until it says that it is done.
#[inline(always)]
pub fn repeat<T>(times: u32, work: &mut T, step: extern "C" fn(u32, &mut T) -> Next) {
    // SAFETY: the helper calls `step` with a number and what it is given here, which outlives the call.
    unsafe { bpf_loop(times, step as *mut _, (&raw mut *work).cast(), 0) };
}

/// Whether to go on, as the helper knows it.
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    More = 0,
    Done = 1,
}
