//! Numbers of processes and threads, as the agent's `/proc` shows them.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task};

use crate::{
    maps::{kernel, namespace},
    read::{self, Unreadable},
};

/// Namespaces of process numbers lie within each other at most this deep (`MAX_PID_NS_LEVEL`, `include/linux/pid_namespace.h`).
const MAX_LEVEL: u32 = 32;
/// `struct upid` (`include/linux/pid.h`): the number at 0, a pointer to its namespace at 8.
const UPID: u64 = 16;

/// The current process and thread. Zero, which no target has, when the agent's `/proc` does not show them.
#[inline(always)]
pub fn current() -> (u32, u32) {
    if namespace::number() == 0 {
        let id = bpf_get_current_pid_tgid();
        return ((id >> 32) as u32, id as u32);
    }
    // SAFETY: no arguments.
    of(unsafe { bpf_get_current_task() }).unwrap_or((0, 0))
}

/// Process and thread of a task.
#[inline(always)]
pub fn of(task: u64) -> Result<(u32, u32), Unreadable> {
    if namespace::number() == 0 {
        return Ok((
            read::kernel(task + kernel::tgid())?,
            read::kernel(task + kernel::pid())?,
        ));
    }
    let leader: u64 = read::kernel(task + namespace::group_leader())?;
    match (number(leader), number(task)) {
        (0, _) | (_, 0) => Err(Unreadable),
        numbers => Ok(numbers),
    }
}

/// A task's number in the agent's namespace; 0 when it has none there.
#[inline(never)]
fn number(task: u64) -> u32 {
    let find = || -> Result<u32, Unreadable> {
        let pid: u64 = read::kernel(task + namespace::thread_pid())?;
        let level: u32 = read::kernel(pid + namespace::level())?;
        for i in 0..=MAX_LEVEL {
            if i > level {
                break;
            }
            let upid = pid + namespace::numbers() + u64::from(i) * UPID;
            let of: u64 = read::kernel(upid + 8)?;
            if read::kernel::<u32>(of + namespace::inum())? == namespace::number() {
                return read::kernel(upid);
            }
        }
        Ok(0)
    };
    find().unwrap_or(0)
}
