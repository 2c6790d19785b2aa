//! Threads that Python starts, interpreters that it brings up.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use aya_log_ebpf::debug;
use tracer_common::{record::kind, stats::Probe};

use crate::{
    emit::{self, Frames, Wake},
    ids,
    maps::{Fill, POINTS, Scratch, TARGETS},
    queue::first_argument,
    state::{Hit, forget, is_new},
};

/// `_thread.start_new_thread(function, ...)`, `start_joinable_thread(function, ...)`.
#[uprobe]
pub fn thread_start(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ThreadStart) else {
        return 0;
    };
    let callable = first_argument(&ctx, &hit).unwrap_or(0);
    let Some((Scratch { record, ask, .. }, _)) = emit::begin(&mut hit, kind::THREAD_START, Frames::With)
    else {
        return 0;
    };
    record.head.callable = callable;
    ask.fill = Fill::All;
    emit::tell(&ctx, &hit);
    0
}

/// `Py_InitializeFromConfig`: an interpreter comes up; nothing of an earlier one holds any more.
#[uprobe]
pub fn interpreter_start(ctx: ProbeContext) -> u32 {
    emit::count_hit(Probe::InterpreterStart);
    let (tgid, tid) = ids::current();
    let Some(target) = TARGETS.get_ptr_mut(tgid) else {
        emit::count_filtered(Probe::InterpreterStart);
        return 0;
    };
    // SAFETY: the context is the one that this program was called with.
    let cookie =
        unsafe { aya_ebpf::helpers::generated::bpf_get_attach_cookie(aya_ebpf::EbpfContext::as_ptr(&ctx)) };
    let Some(point) = POINTS.get(cookie as u32) else {
        return 0;
    };
    // SAFETY: the registers are those of this hit.
    if !is_new(target, point, unsafe { (*ctx.regs).rip }) {
        emit::count_filtered(Probe::InterpreterStart);
        return 0;
    }
    // SAFETY: the target's entry lives as long as this program runs.
    let target_ref = unsafe { &mut *target };
    forget(target_ref);
    debug!(
        &ctx,
        "interpreter of image {} comes up in process {}", target_ref.image, tgid
    );
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(&mut head, kind::INTERPRETER_START, tgid, tid);
    head.object = target_ref.bias;
    head.name = target_ref.image;
    head.lost = target_ref.lost;
    emit::send_head(Probe::InterpreterStart, Some(target), head, Wake::Now);
    0
}
