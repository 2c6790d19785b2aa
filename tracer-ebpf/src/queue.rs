//! `_queue.SimpleQueue`: what executors hand work over with.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    config::arguments,
    record::{kind, work},
    stats::Probe,
};

use crate::{
    emit::{self, Frames},
    ids, item,
    maps::{Fill, IMAGES, POINTS, Scratch, TARGETS, inventory},
    pool, read,
    state::{Hit, is_told_twice, lose_for_want_of_image},
};

/// `SimpleQueue.put(item)`, `put_nowait(item)`.
#[uprobe]
pub fn queue_put(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::QueuePut) else {
        return 0;
    };
    let Some(queue) = ctx.arg::<u64>(0) else { return 0 };
    let Some(first) = first_argument(&ctx, &hit) else {
        emit::count(hit.probe, |s| &raw mut s.unreadable);
        emit::mark_lost(hit.target);
        return 0;
    };
    let Some((Scratch { record, ask, .. }, _)) = emit::begin(&mut hit, kind::PUT, Frames::With) else {
        return 0;
    };
    record.head.queue = queue;
    item::describe(&hit, first, record);
    if record.head.work == work::DATA && pool::is_tuple(&hit, first) {
        record.head.work = work::POOL_TUPLE;
    }
    if record.head.work == work::DATA {
        ask.frames = inventory();
    } else {
        ask.fill = Fill::All;
    }
    emit::tell(&ctx, &hit);
    0
}

/// Entry of `SimpleQueue.get`, `get_nowait`: the work before has ended.
#[uprobe]
pub fn queue_get(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::QueueGet) else {
        return 0;
    };
    let Some(queue) = ctx.arg::<u64>(0) else { return 0 };
    let Some((Scratch { record, ask, .. }, _)) = emit::begin(&mut hit, kind::TAKE_BEGIN, Frames::Without)
    else {
        return 0;
    };
    record.head.queue = queue;
    ask.fill = Fill::All;
    emit::tell(&ctx, &hit);
    0
}

/// Return of the same. Null means that there was nothing, or an exception.
#[uretprobe]
pub fn queue_got(ctx: RetProbeContext) -> u32 {
    emit::count_hit(Probe::QueueGot);
    let (tgid, tid) = ids::current();
    let taken: u64 = ctx.ret();
    let Some(target) = TARGETS.get_ptr_mut(tgid) else {
        emit::count_filtered(Probe::QueueGot);
        return 0;
    };
    if taken == 0 {
        emit::count_filtered(Probe::QueueGot);
        return 0;
    }
    // SAFETY: the context is the one that this program was called with.
    let Some(point) = POINTS.get(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32) else {
        return 0;
    };
    // SAFETY: as above; what is returned is the function that was entered.
    let function = unsafe { bpf_get_func_ip(ctx.as_ptr()) };
    // Its entry was hit before. SAFETY: `target` comes from the map and lives as long as this program runs.
    if is_told_twice(unsafe { &*target }, point, function.wrapping_sub(point.vaddr)) {
        emit::count_filtered(Probe::QueueGot);
        return 0;
    }
    // SAFETY: `target` comes from the map and lives as long as this program runs.
    let Some(image) = IMAGES.get(unsafe { (*target).image }) else {
        lose_for_want_of_image(Probe::QueueGot, target);
        return 0;
    };
    let mut hit = Hit {
        tgid,
        tid,
        probe: Probe::QueueGot,
        target,
        image,
        point,
    };
    let Some((Scratch { record, ask, .. }, _)) = emit::begin(&mut hit, kind::TAKE_END, Frames::Without)
    else {
        return 0;
    };
    record.head.object = taken;
    ask.fill = Fill::All;
    emit::tell(&ctx, &hit);
    0
}

/// A method's first argument, by its calling convention.
#[inline(always)]
pub fn first_argument(ctx: &ProbeContext, hit: &Hit) -> Option<u64> {
    let address = match hit.point.arguments {
        arguments::OBJECT => return ctx.arg(1),
        arguments::FAST => ctx.arg::<u64>(1)?,
        arguments::METHOD_FAST => ctx.arg::<u64>(2)?,
        arguments::TUPLE => ctx.arg::<u64>(1)? + u64::from(hit.image.tuple_items),
        _ => return None,
    };
    read::pointer(address).ok().filter(|object| *object != 0)
}
