//! Putting a record together and sending it; counting what was lost.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ktime_get_ns, generated::bpf_ringbuf_output},
};
use tracer_common::{
    MAX_SLOTS,
    config::{ScopeKey, Target},
    record::{FullRecord, NO_SLOT, RawValue, Record, flag},
    stats::{Probe, ProbeStats, Stage},
};

use crate::{
    atomic,
    maps::{BLANK, EVENTS, Fill, PROGRAMS, SCOPES, SCRATCH, STACKS, STATS, Scratch, wake_at},
    scratch,
    state::{Hit, NoState, State},
    zero::zero,
};

/// `BPF_RB_AVAIL_DATA`.
const PENDING: u64 = 0;

/// Whether the Python stack travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    With,
    Without,
}

/// Takes this thread's record and fills in what every record has. The rest is asked for: [`tell`].
#[inline(always)]
pub fn begin(hit: &mut Hit, kind: u16, frames: Frames) -> Option<(&'static mut Scratch, Option<State>)> {
    let state = hit.state();
    begin_in(hit, kind, frames, state)
}

/// The same where the interpreter's state was looked at already.
#[inline(always)]
pub fn begin_in(
    hit: &Hit,
    kind: u16,
    frames: Frames,
    state: Result<State, NoState>,
) -> Option<(&'static mut Scratch, Option<State>)> {
    let Some(scratch) = scratch(hit.tid) else {
        lose_for_want_of_room(hit);
        return None;
    };
    // SAFETY: `MaybeUninit` has the layout of what it may hold, and is left holding it.
    let place = unsafe { &mut *(&raw mut scratch.record.head).cast::<MaybeUninit<Record>>() };
    let head = blank(place, kind, hit.tgid, hit.tid);
    head.lost = hit.target().lost;
    scratch.ask.probe = hit.probe;
    scratch.ask.then = None;
    scratch.ask.frames = frames == Frames::With;
    scratch.ask.fill = Fill::Given;
    scratch.state = match state {
        Ok(state) => [
            state.tstate,
            state.context,
            state.previous,
            state.vars,
            u64::from(state.entered),
        ],
        Err(reason) => {
            head.flags |= flag::UNREADABLE;
            if let NoState::Elsewhere = reason {
                // Nothing of the main interpreter's is missing.
                head.flags |= flag::OTHER_INTERPRETER;
            } else {
                count(hit.probe, |s| &raw mut s.unreadable);
            }
            [0; 5]
        }
    };
    let state = self::state(scratch);
    if let Some(state) = &state {
        head.tstate = state.tstate;
        head.scope = state.context;
        if state.entered {
            head.flags |= flag::ENTERED;
        }
    }
    Some((scratch, state))
}

/// The state that was found when the record was begun.
#[inline(always)]
pub fn state(scratch: &Scratch) -> Option<State> {
    let [tstate, context, previous, vars, entered] = read_back(&scratch.state);
    // A thread that runs Python code has a thread state.
    (tstate != 0).then_some(State {
        tstate,
        context,
        previous,
        vars,
        entered: entered != 0,
    })
}

/// Has the record completed and sent, by the program that does so for all. Nothing comes after it.
#[inline(always)]
pub fn tell<C: EbpfContext>(ctx: &C, hit: &Hit) {
    go_on(ctx, hit, Stage::Tell);
}

/// Goes on with another program. Nothing comes after it.
#[inline(always)]
pub fn go_on<C: EbpfContext>(ctx: &C, hit: &Hit, stage: Stage) {
    // SAFETY: nothing waits to be dropped.
    unsafe { PROGRAMS.tail_call(ctx, stage as u32) };
    // There were too many already: variables are forgotten faster than they are found out about.
    lose_for_want_of_room(hit);
}

/// A map that the record needs is full.
#[inline(always)]
pub fn lose_for_want_of_room(hit: &Hit) {
    count(hit.probe, |s| &raw mut s.lost_map);
    mark_lost(hit.target);
}

/// Reads a field of a record that this program has written. Memory is all that the verifier forgets: it follows what comes next once,
/// not for every value that the field was given.
#[inline(always)]
pub fn read_back<T: Copy>(field: &T) -> T {
    // SAFETY: a reference can be read.
    unsafe { (&raw const *field).read_volatile() }
}

/// Sends a record that has no stack and no values that paths lead on from, and wakes the agent.
#[inline(always)]
pub fn send_now(hit: &Hit, record: &mut FullRecord) {
    if keep_scope(hit, record) {
        send_announced(hit, record, Wake::Now);
    }
}

/// Sees to it that the end of a record's scope is told. If it cannot be, the record is lost.
#[inline(always)]
pub fn keep_scope(hit: &Hit, record: &FullRecord) -> bool {
    let kept = record.head.scope == 0 || remember_scope(hit.tgid, record.head.scope);
    if !kept {
        lose_for_want_of_room(hit);
    }
    kept
}

/// Sends a record whose values are final; whether it was sent.
#[inline(always)]
pub fn send_announced(hit: &Hit, record: &mut FullRecord, wake: Wake) -> bool {
    record.head.time = now();
    let values = u64::from(record.head.values).min(MAX_SLOTS as u64);
    let size = (size_of::<Record>() as u64) + values * (size_of::<RawValue>() as u64);
    output(hit.probe, Some(hit.target), (&raw mut *record).cast(), size, wake)
}

/// Whether the agent is woken for a record, or finds it when it looks next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    Now,
    Later,
}

/// Sends a record that has no values; whether it was sent.
#[inline(always)]
pub fn send_head(probe: Probe, target: Option<*mut Target>, head: &mut Record, wake: Wake) -> bool {
    head.time = now();
    output(
        probe,
        target,
        (&raw mut *head).cast(),
        size_of::<Record>() as u64,
        wake,
    )
}

/// Makes of `head` the fixed part of a record that is about nothing yet.
#[inline(always)]
pub fn blank(head: &mut MaybeUninit<Record>, kind: u16, tgid: u32, tid: u32) -> &mut Record {
    zero(head.as_mut_ptr());
    // SAFETY: all of it is zero now, and any bytes are a record.
    let head = unsafe { head.assume_init_mut() };
    head.kind = kind;
    head.slot = NO_SLOT;
    head.tgid = tgid;
    head.tid = tid;
    head
}

/// Sends a message of a process, or of none. Whether it was sent; if not, that is counted.
///
/// The process's turn goes on when the message is there: whoever looked at it before sending something and finds it as it was has
/// missed nothing that came later.
#[inline(always)]
pub fn output(
    probe: Probe,
    target: Option<*mut Target>,
    data: *mut core::ffi::c_void,
    size: u64,
    wake: Wake,
) -> bool {
    let flags = if wake == Wake::Now || is_time_to_wake(size) {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    // SAFETY: `data` points to at least `size` bytes, which the verifier checks again.
    let code = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            data,
            size,
            u64::from(flags),
        )
    };
    if let Some(target) = target {
        // SAFETY: `target` comes from the map and lives as long as this program runs.
        unsafe { atomic::add(&raw mut (*target).turn) };
    }
    if code == 0 {
        count(probe, |s| &raw mut s.sent);
        true
    } else {
        count(probe, |s| &raw mut s.lost_ring);
        if let Some(target) = target {
            mark_lost(target);
        }
        false
    }
}

/// Whether the bytes that wait for the agent have just reached a multiple of the amount at which it is woken.
///
/// Once for each such amount: a wake-up is an interrupt, which costs as much as a whole hit.
#[inline(always)]
fn is_time_to_wake(size: u64) -> bool {
    let (pending, amount) = (EVENTS.query(PENDING), wake_at());
    pending >= amount && pending & (amount - 1) < size
}

/// Notes in the target itself that a record of it is missing; its next record says so.
#[inline(always)]
pub fn mark_lost(target: *mut Target) {
    // SAFETY: `target` comes from the map and lives as long as this program runs.
    unsafe {
        atomic::add(&raw mut (*target).lost);
        atomic::add(&raw mut (*target).turn);
    }
}

/// Where this thread puts its record together.
#[inline(always)]
pub fn scratch(tid: u32) -> Option<&'static mut Scratch> {
    scratch::of(&SCRATCH, &BLANK, tid)
}

/// Notes that a record names this context, so that its end is told, too.
#[inline(always)]
pub fn remember_scope(tgid: u32, scope: u64) -> bool {
    let key = ScopeKey { scope, tgid, pad: 0 };
    SCOPES.get_ptr(key).is_some() || SCOPES.insert(key, 1, 0).is_ok()
}

/// Whether the code objects of a record's stack may have to be told.
#[inline(always)]
pub fn is_new_stack(head: &Record) -> bool {
    let mut hash = u64::from(head.tgid);
    for frame in &head.stack {
        hash = (hash ^ frame.code ^ (u64::from(frame.instr) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 31;
    }
    if STACKS.get_ptr(hash).is_some() {
        return false;
    }
    // A failed insert only means another wake-up.
    let _ = STACKS.insert(hash, 1, 0);
    true
}

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub fn count_hit(probe: Probe) {
    count(probe, |s| &raw mut s.hits);
}

/// Takes back a hit that is about to count once more.
#[inline(always)]
pub fn uncount_hit(probe: Probe) {
    if let Some(stats) = STATS.get_ptr_mut(probe as u32) {
        // SAFETY: the map's element lives for ever.
        unsafe { (*stats).hits = (*stats).hits.wrapping_sub(1) };
    }
}

#[inline(always)]
pub fn count_filtered(probe: Probe) {
    count(probe, |s| &raw mut s.filtered);
}

/// Counts one in a field of this program's statistics.
#[inline(always)]
pub fn count(probe: Probe, field: impl FnOnce(&mut ProbeStats) -> *mut u64) {
    if let Some(stats) = STATS.get_ptr_mut(probe as u32) {
        // SAFETY: the map's element lives for ever.
        add(field(unsafe { &mut *stats }));
    }
}

/// Not atomic, which costs more: the counters are each CPU's own. A program that is overtaken on its CPU may swallow a
/// count, but never the first one, so that "nothing was lost" stays true.
#[inline(always)]
fn add(counter: *mut u64) {
    // SAFETY: the counter is aligned and lives in a map.
    unsafe { counter.write_volatile(counter.read_volatile() + 1) };
}
