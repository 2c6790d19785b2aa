//! Lives of processes and threads.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{
        bpf_get_current_comm,
        generated::{bpf_get_current_task, bpf_send_signal},
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    config::{NO_IMAGE, Target, target_flag},
    record::{Record, flag, kind},
    stats::Probe,
};

use crate::{
    agree, atomic,
    emit::{self, Wake},
    ids,
    maps::{
        CODE_SCRATCH, EVENTS, RECEIVING, SCRATCH, SPAWNED, TARGETS, TSTATES, WIRE_SCRATCH, everyone, kernel,
    },
    read::{self, Unreadable},
    state::forget,
    zero::zero,
};

const SIGSTOP: u32 = 19;

/// `sched_process_fork(parent, child)`: runs in the parent, before the child does.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = ids::current();
    let Some(parent) = TARGETS.get_ptr_mut(tgid) else {
        return 0;
    };
    emit::count_hit(Probe::Fork);
    let Ok((child_tgid, child_tid)) = ids::of(ctx.arg(1)) else {
        emit::mark_lost(parent);
        return 0;
    };
    let thread = child_tgid == tgid;
    // SAFETY: `parent` comes from the map and lives as long as this program runs.
    if !thread && TARGETS.insert(child_tgid, unsafe { &*parent }, 0).is_err() {
        emit::count(Probe::Fork, |s| &raw mut s.lost_map);
        emit::mark_lost(parent);
        return 0;
    }
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(
        &mut head,
        if thread {
            kind::THREAD_CREATED
        } else {
            kind::FORKED
        },
        tgid,
        tid,
    );
    head.child_tgid = child_tgid;
    head.child_tid = child_tid;
    // SAFETY: as above.
    head.lost = unsafe { (*parent).lost };
    emit::send_head(
        Probe::Fork,
        Some(parent),
        head,
        if thread { Wake::Later } else { Wake::Now },
    );
    0
}

/// `sched_process_exec`: the old image is gone. A held process stops here, before its first instruction.
///
/// Where every exec is told, each process is a target from here on until the agent says otherwise: an interpreter whose files are armed
/// is followed from its start, however late the agent comes to look at it.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = ids::current();
    if everyone() && tgid != 0 && TARGETS.get_ptr_mut(tgid).is_none() {
        let mut blank = MaybeUninit::<Target>::uninit();
        zero(blank.as_mut_ptr());
        // SAFETY: all of it is zero now, which is a target.
        let blank = unsafe { blank.assume_init_mut() };
        blank.image = NO_IMAGE;
        blank.request_slot = u32::MAX;
        if TARGETS.insert(tgid, blank, 0).is_err() {
            emit::count(Probe::Exec, |s| &raw mut s.lost_map);
        }
    }
    let Some(target) = TARGETS.get_ptr_mut(tgid) else {
        return 0;
    };
    emit::count_hit(Probe::Exec);
    // SAFETY: the entry lives as long as this program runs; the process has one thread at this moment.
    let state = unsafe { &mut *target };
    state.image = NO_IMAGE;
    state.bias = 0;
    forget(state);
    // The agent lets go on what it is told of: without room for telling, nothing is stopped.
    let Some(mut entry) = EVENTS.reserve::<Record>(0) else {
        emit::count(Probe::Exec, |s| &raw mut s.lost_ring);
        emit::mark_lost(target);
        return 0;
    };
    let head = emit::blank(&mut entry, kind::EXECED, tgid, tid);
    head.lost = state.lost;
    if let Ok(name) = bpf_get_current_comm() {
        let [a, b, c, d, e, f, g, h, rest @ ..] = name;
        head.object = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        head.queue = u64::from_ne_bytes(rest);
    }
    // SAFETY: a plain helper call.
    if state.flags & target_flag::HOLD_AT_EXEC != 0 && unsafe { bpf_send_signal(SIGSTOP) } == 0 {
        head.flags |= flag::HELD;
    }
    let held = head.flags & flag::HELD != 0;
    head.time = emit::now();
    entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    // SAFETY: as above.
    unsafe { atomic::add(&raw mut state.turn) };
    emit::count(Probe::Exec, |s| &raw mut s.sent);
    debug!(
        &ctx,
        "process {} executes another program, held: {}",
        tgid,
        u32::from(held)
    );
    0
}

/// `sched_process_exit`: a thread ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    let (tgid, tid) = ids::current();
    let Some(target) = TARGETS.get_ptr_mut(tgid) else {
        return 0;
    };
    emit::count_hit(Probe::Exit);
    // Most threads of a target never had a record.
    let _ = SCRATCH.remove(tid);
    let _ = CODE_SCRATCH.remove(tid);
    let _ = WIRE_SCRATCH.remove(tid);
    let _ = RECEIVING.remove(tid);
    let _ = TSTATES.remove(tid);
    let _ = SPAWNED.remove(tid);
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(&mut head, kind::EXITED, tgid, tid);
    agree::end(Probe::Exit, target, head);
    // SAFETY: the entry lives as long as this program runs.
    head.lost = unsafe { (*target).lost };
    let last = is_last();
    if last {
        head.flags |= flag::LAST;
    }
    emit::send_head(
        Probe::Exit,
        Some(target),
        head,
        if last { Wake::Now } else { Wake::Later },
    );
    if last {
        // The number may be given to another process at once.
        let _ = TARGETS.remove(tgid);
    }
    0
}

/// Whether no thread of the process is left: `do_exit` has counted this one out before the tracepoint.
#[inline(always)]
fn is_last() -> bool {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let live = || -> Result<u32, Unreadable> {
        read::kernel::<u32>(read::kernel::<u64>(task + kernel::signal())? + kernel::live())
    };
    live().is_ok_and(|live| live == 0)
}
