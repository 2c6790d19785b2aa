//! Which kernel thread a `pthread_t` is, where the interpreter does not say: up to CPython 3.10.

#![expect(unsafe_code, reason = "get_robust_list(2), which rustix does not offer")]

use std::ptr;

/// Bytes from a `pthread_t` within which glibc keeps the thread's list of robust futexes; its `struct pthread` is smaller.
const NEAR: u64 = 4096;

/// Address of the list of robust futexes that a thread has registered with the kernel. glibc does so for every thread, in the thread's
/// own `struct pthread`, to which its `pthread_t` points.
pub fn robust_list(tid: u32) -> Option<u64> {
    let tid = i32::try_from(tid).ok().filter(|tid| *tid > 0)?;
    let mut head = ptr::null_mut::<libc::c_void>();
    let mut len: libc::size_t = 0;
    // SAFETY: both pointers are valid for one write each; the list itself, which is another process's, is not touched.
    let code = unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) };
    (code == 0 && !head.is_null()).then_some(head as u64)
}

/// Whether a thread with this list has this `pthread_t`.
pub fn belongs(robust_list: u64, pthread: u64) -> bool {
    robust_list
        .checked_sub(pthread)
        .is_some_and(|distance| distance < NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_by_its_robust_list() {
        // SAFETY: no arguments.
        let (tid, this) = unsafe { (libc::gettid() as u32, libc::pthread_self()) };
        let list = robust_list(tid).expect("glibc registers one for every thread");
        assert!(belongs(list, this));
        let (other, list_of_other) = std::thread::spawn(|| {
            // SAFETY: no arguments.
            let (tid, other) = unsafe { (libc::gettid() as u32, libc::pthread_self()) };
            (other, robust_list(tid))
        })
        .join()
        .expect("the thread ends");
        let list_of_other = list_of_other.expect("a list");
        assert!(belongs(list_of_other, other) && !belongs(list_of_other, this) && !belongs(list, other));
        assert_eq!(robust_list(0), None);
    }
}
