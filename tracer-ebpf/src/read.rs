//! Reading the target's and the kernel's memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str};

/// The memory could not be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Copies `len` bytes from the current process.
///
/// Never with a helper that brings in pages: a target can make its memory wait for ever (userfaultfd, FUSE), and as long as a program
/// waits, no uprobe on the whole machine can be taken away. What is not resident is unreadable.
#[inline(always)]
pub fn user_into<T>(dst: *mut T, len: u32, src: u64) -> Result<(), Unreadable> {
    // SAFETY: callers pass a destination of at least `len` bytes; the verifier checks it again. The source is checked by the helper.
    let code = unsafe { bpf_probe_read_user(dst.cast(), len, src as *const _) };
    if code == 0 { Ok(()) } else { Err(Unreadable) }
}

/// Copies a C string from the current process, at most `len` bytes with the zero that ends it.
#[inline(always)]
pub fn user_text(dst: *mut u8, len: u32, src: u64) -> Result<(), Unreadable> {
    // SAFETY: callers pass a destination of at least `len` bytes; the verifier checks it again. The source is checked by the helper.
    let read = unsafe { bpf_probe_read_user_str(dst.cast(), len, src as *const _) };
    if read > 0 { Ok(()) } else { Err(Unreadable) }
}

/// A type of which any bytes are a value, and which has no padding.
///
/// # Safety
/// They are.
pub unsafe trait Plain: Copy {}
// SAFETY: plain integers.
unsafe impl Plain for u8 {}
// SAFETY: plain integers.
unsafe impl Plain for u32 {}
// SAFETY: plain integers.
unsafe impl Plain for u64 {}
// SAFETY: an array has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Reads a plain value from the current process. It is not cleared before, which would cost more than reading it.
#[inline(always)]
pub fn user<T: Plain>(src: u64) -> Result<T, Unreadable> {
    let mut value = MaybeUninit::<T>::uninit();
    user_into(value.as_mut_ptr(), size_of::<T>() as u32, src)?;
    // SAFETY: the helper has written all of it, and any bytes are a value.
    Ok(unsafe { value.assume_init() })
}

/// Reads an address from the current process.
#[inline(always)]
pub fn pointer(src: u64) -> Result<u64, Unreadable> {
    user::<u64>(src)
}

/// Reads a plain value from the kernel.
#[inline(always)]
pub fn kernel<T: Plain>(src: u64) -> Result<T, Unreadable> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is a `T` of this size; the source is checked by the helper.
    let code =
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, src as *const _) };
    if code == 0 {
        // SAFETY: the helper has written all of it, and any bytes are a value.
        Ok(unsafe { value.assume_init() })
    } else {
        Err(Unreadable)
    }
}
