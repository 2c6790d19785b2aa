//! asyncio tasks: who creates them, what they wait for, who ends that wait.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    config::target_flag,
    record::{Record, kind},
    stats::Probe,
};

use crate::{
    emit::{self, Frames, Wake},
    maps::SPAWNED,
    queue::first_argument,
    read::{self, Unreadable},
    state::Hit,
};

/// `Task.__init__(self, ...)`, the type's `tp_init`.
#[uprobe]
pub fn task_spawn(ctx: ProbeContext) -> u32 {
    let (Some(hit), Some(task)) = (hit(&ctx, Probe::TaskSpawn), ctx.arg::<u64>(0)) else {
        return 0;
    };
    tell(&ctx, hit, kind::TASK_SPAWNED, task)
}

/// `Future.set_result(self, result)`.
#[uprobe]
pub fn future_set(ctx: ProbeContext) -> u32 {
    let (Some(hit), Some(future)) = (hit(&ctx, Probe::FutureSet), ctx.arg::<u64>(0)) else {
        return 0;
    };
    tell(&ctx, hit, kind::FUTURE_SET, future)
}

/// `task_wakeup(task, future)`; in 3.8 a call of an object that holds the task.
#[uprobe]
pub fn task_wake(ctx: ProbeContext) -> u32 {
    let Some(hit) = hit(&ctx, Probe::TaskWake) else {
        return 0;
    };
    let Some(future) = first_argument(&ctx, &hit) else {
        emit::count(hit.probe, |s| &raw mut s.unreadable);
        emit::mark_lost(hit.target);
        return 0;
    };
    tell(&ctx, hit, kind::TASK_WOKEN, future)
}

/// A hit in a process whose tasks are followed.
#[inline(always)]
fn hit(ctx: &ProbeContext, probe: Probe) -> Option<Hit> {
    let hit = Hit::new(ctx, probe)?;
    if hit.target().flags & target_flag::TASKS == 0 {
        emit::count_filtered(probe);
        return None;
    }
    Some(hit)
}

#[inline(always)]
fn tell(ctx: &ProbeContext, mut hit: Hit, kind: u16, object: u64) -> u32 {
    let frames = if kind == kind::TASK_WOKEN {
        Frames::Without
    } else {
        Frames::With
    };
    if let Some((scratch, _)) = emit::begin(&mut hit, kind, frames) {
        scratch.record.head.object = object;
        emit::tell(ctx, &hit);
    }
    0
}

/// Tells the context of the task that this thread created last: it has one only when its creation is over. And remembers the task
/// that this record is about, if it is such a creation.
///
/// The record that it puts together takes its room on the stack only as long as it runs.
#[inline(never)]
pub fn tell_context(hit: &Hit, record: &Record) {
    // SAFETY: the entry belongs to this thread alone, and is copied at once.
    if let Some(task) = unsafe { SPAWNED.get(hit.tid) }.copied() {
        match context(hit, task) {
            // It is being created still.
            Ok(0) if record.kind != kind::TASK_SPAWNED => return,
            Ok(context) if context != 0 && emit::remember_scope(hit.tgid, context) => {
                let mut head = MaybeUninit::uninit();
                let head = emit::blank(&mut head, kind::TASK_CONTEXT, hit.tgid, hit.tid);
                (head.object, head.brings, head.lost) = (task, context, hit.target().lost);
                emit::send_head(hit.probe, Some(hit.target), head, Wake::Later);
            }
            // It has ended without having done anything, and its memory may be another's.
            Ok(0) | Err(Unreadable) => {}
            Ok(_) => emit::lose_for_want_of_room(hit),
        }
        // It was there just now, and nobody else removes it.
        let _ = SPAWNED.remove(hit.tid);
    }
    if record.kind == kind::TASK_SPAWNED && SPAWNED.insert(hit.tid, record.object, 0).is_err() {
        emit::lose_for_want_of_room(hit);
    }
}

/// The context of a task; 0 before it has one.
#[inline(always)]
fn context(hit: &Hit, task: u64) -> Result<u64, Unreadable> {
    let context = read::pointer(hit.member(task, u64::from(hit.image.task_context)))?;
    // PyObject.ob_type is at 8.
    if context != 0 && read::pointer(hit.member(context, 8))? != hit.address(hit.image.context_type) {
        return Err(Unreadable);
    }
    Ok(context)
}
