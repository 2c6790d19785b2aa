//! Reading the target's and the kernel's memory.

use aya_ebpf::helpers::generated::{bpf_copy_from_user, bpf_probe_read_kernel, bpf_probe_read_user};

/// The memory could not be read.
pub struct Unreadable;

/// Copies `len` bytes from the current process.
///
/// The sleepable copy brings in pages that are not resident; it is the second choice because a target can make it slow.
#[inline(always)]
pub fn user_into<T>(dst: *mut T, len: u32, src: u64) -> Result<(), Unreadable> {
    // SAFETY: callers pass a destination of at least `len` bytes; the verifier checks it again. The source is checked by the helper.
    unsafe {
        if bpf_probe_read_user(dst.cast(), len, src as *const _) == 0
            || bpf_copy_from_user(dst.cast(), len, src as *const _) == 0
        {
            Ok(())
        } else {
            Err(Unreadable)
        }
    }
}

/// Reads a plain value from the current process.
#[inline(always)]
pub fn user<T: Copy + Default>(src: u64) -> Result<T, Unreadable> {
    let mut value = T::default();
    user_into(&raw mut value, size_of::<T>() as u32, src)?;
    Ok(value)
}

/// Reads an address from the current process.
#[inline(always)]
pub fn pointer(src: u64) -> Result<u64, Unreadable> {
    user::<u64>(src)
}

/// Reads a plain value from the kernel.
#[inline(always)]
pub fn kernel<T: Copy + Default>(src: u64) -> Result<T, Unreadable> {
    let mut value = T::default();
    // SAFETY: the destination is a `T` of this size; the source is checked by the helper.
    let code =
        unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, src as *const _) };
    if code == 0 { Ok(value) } else { Err(Unreadable) }
}
