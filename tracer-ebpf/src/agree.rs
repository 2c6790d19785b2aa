//! Reads that say nothing new: they are counted, not told.
//!
//! A thread that has told what it found in a context finds the same again as long as nothing else was told of its process, since every
//! bind and every reset is told, and every end of a context. What it then finds in other slots of that context changes nothing either,
//! unless both say who it works for: then the order matters.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tracer_common::{
    MAX_SLOTS,
    config::{CodeKey, Target, name_flag, target_flag},
    record::{RawValue, Record, VALUE_CALL_DEFAULT, VALUE_FOUND, flag, found, kind, repr},
    stats::Probe,
    told::ToldRead,
};

use crate::{
    emit::{self, Wake},
    maps::{BLANK_TOLD, EPOCHS, Fill, READERS, Scratch, TOLD},
    read::{self, Unreadable},
    scratch,
    state::{Hit, State},
    str::Str,
};

/// Ticks of the kernel's clock after which a read is told again, whatever it says: a quarter of a second to two and a half.
const AGAIN_AFTER: u64 = 250;

/// Whether this read says what the thread has told; then it is counted.
#[inline(always)]
pub fn agrees(hit: &Hit, slot: u32, state: &State, default: u64) -> bool {
    let Some(told) = TOLD.get_ptr_mut(hit.tid) else {
        return false;
    };
    // SAFETY: the entry belongs to this thread alone and is removed when the thread ends.
    let told = unsafe { &mut *told };
    let unchanged = told.turn == emit::read_back(&hit.target().turn)
        && told.scope == state.context
        && told.vars == state.vars
        && told.tstate == state.tstate
        && told.tgid == hit.tgid
        && told.entered == u32::from(state.entered);
    // SAFETY: the number is copied out at once.
    if !unchanged || unsafe { EPOCHS.get(hit.tgid) }.copied() != Some(told.epoch) {
        return false;
    }
    let read = &mut told.reads[slot as usize & (MAX_SLOTS - 1)];
    if read.default != default || read.until < ticks() {
        return false;
    }
    read.again += 1;
    emit::count(hit.probe, |s| &raw mut s.agreed);
    true
}

/// Whether the record is one that others may be held against.
#[inline(always)]
pub fn is_read(hit: &Hit, scratch: &Scratch) -> bool {
    hit.probe == Probe::ContextGet
        && scratch.record.head.kind == kind::READ
        && scratch.ask.fill == Fill::Given
}

/// Tells how often the thread's last read of the slot was made again, before the next one is told.
///
/// The record that it puts together takes its room on the stack only as long as it runs.
#[inline(never)]
pub fn settle(hit: &Hit, slot: u8) {
    let Some(told) = TOLD.get_ptr_mut(hit.tid) else {
        return;
    };
    // SAFETY: as above.
    let told = unsafe { &mut *told };
    let read = &mut told.reads[slot as usize & (MAX_SLOTS - 1)];
    if read.again == 0 || told.tgid != hit.tgid {
        return;
    }
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(&mut head, kind::AGREED, hit.tgid, hit.tid);
    tell(hit.probe, hit.target, head, slot, read);
}

/// Tells the same of every slot when a thread ends, and forgets it. Leaves `head` as it was.
#[inline(always)]
pub fn end(probe: Probe, target: *mut Target, head: &mut Record) {
    let Some(told) = TOLD.get_ptr_mut(head.tid) else {
        return;
    };
    // SAFETY: as above.
    let told = unsafe { &mut *told };
    let (kind, slot) = (head.kind, head.slot);
    if told.tgid == head.tgid {
        head.kind = kind::AGREED;
        for number in 0..MAX_SLOTS {
            let read = &mut told.reads[number];
            if read.again > 0 {
                tell(probe, target, head, number as u8, read);
            }
        }
    }
    (head.kind, head.slot, head.object, head.queue) = (kind, slot, 0, 0);
    let _ = TOLD.remove(head.tid);
}

/// It says nothing of the process that the next read could not be held against.
#[inline(always)]
fn tell(probe: Probe, target: *mut Target, head: &mut Record, slot: u8, read: &mut ToldRead) {
    (head.slot, head.object, head.queue) = (slot, read.again, read.time);
    // SAFETY: `target` comes from the map and lives as long as this program runs.
    head.lost = unsafe { (*target).lost };
    read.again = 0;
    if !emit::send_head(probe, None, head, Wake::Later) {
        emit::mark_lost(target);
    }
}

/// Keeps what was just told, after this turn of the process, if other reads may be held against it.
///
/// A function of its own: what it needs of the stack, the caller's other callees need, too.
#[inline(never)]
pub fn told(hit: &Hit, scratch: &Scratch, turn: u64) {
    // SAFETY: the number is copied out at once.
    let Some(epoch) = unsafe { EPOCHS.get(hit.tgid) }.copied() else {
        return;
    };
    // Without an entry every read is told.
    let Some(told) = scratch::of(&TOLD, &BLANK_TOLD, hit.tid) else {
        return;
    };
    let Some(state) = emit::state(scratch) else {
        // No turn is this one again.
        told.turn = 0;
        return;
    };
    let head = &scratch.record.head;
    let slot = head.slot as usize & (MAX_SLOTS - 1);
    let slots = &hit.target().slots;
    let holds = hit.target().flags & target_flag::EVERY_READ == 0
        && is_plain(hit, scratch)
        && is_the_programs(hit, &scratch.record.head)
        && emit::read_back(&hit.target().lost) == head.lost;
    let identity = slots[slot].flags & name_flag::IDENTITY != 0;
    let goes_on = holds
        && told.turn == turn
        && told.epoch == epoch
        && told.scope == state.context
        && told.vars == state.vars
        && told.tstate == state.tstate
        && told.tgid == hit.tgid
        && told.entered == u32::from(state.entered);
    for number in 0..MAX_SLOTS {
        let read = &mut told.reads[number];
        if !goes_on || identity && slots[number].flags & name_flag::IDENTITY != 0 {
            read.until = 0;
        }
        if told.tgid != hit.tgid {
            // Of a thread that had this number before.
            read.again = 0;
        }
    }
    (told.turn, told.epoch) = (turn + 1, epoch);
    (told.tstate, told.scope, told.vars) = (state.tstate, state.context, state.vars);
    (told.tgid, told.entered) = (hit.tgid, u32::from(state.entered));
    let read = &mut told.reads[slot];
    // SAFETY: a reference can be written; in this order, for whoever reads it meanwhile.
    unsafe {
        (&raw mut read.again).write_volatile(0);
        (&raw mut read.time).write_volatile(head.time);
    }
    read.default = call_default(scratch);
    read.until = if holds { ticks() + AGAIN_AFTER } else { 0 };
}

/// Whether the agent has said of the code that reads that its reads are the program's own: a library's that carries contexts over are not.
#[inline(always)]
fn is_the_programs(hit: &Hit, head: &Record) -> bool {
    let key = CodeKey {
        code: head.stack[0].code,
        tgid: hit.tgid,
        pad: 0,
    };
    head.frames > 0 && READERS.get_ptr(key).is_some()
}

/// Whether it is sure that the read found something.
#[inline(always)]
fn is_plain(hit: &Hit, scratch: &Scratch) -> bool {
    let record = &scratch.record;
    let variable = &hit.target().slots[record.head.slot as usize & (MAX_SLOTS - 1)];
    let value = &record.values[VALUE_FOUND];
    if variable.flags & name_flag::PLAIN == 0
        || record.head.object != variable.var
        || value.state != found::OBJECT
        || value.repr == repr::NONE
    {
        return false;
    }
    // PyContextVar.var_default is at 24.
    let Ok(default) = read::pointer(hit.member(variable.var, 24)) else {
        return false;
    };
    differs(hit, value, default) == Ok(true) && differs(hit, value, call_default(scratch)) == Ok(true)
}

/// Address of the default that the call brought; 0 if it brought none.
#[inline(always)]
fn call_default(scratch: &Scratch) -> u64 {
    if scratch.record.head.flags & flag::HAS_DEFAULT == 0 {
        return 0;
    }
    scratch.ask.values[VALUE_CALL_DEFAULT].number
}

/// Whether a value is surely another than a default: of another type, or of another length.
#[inline(always)]
fn differs(hit: &Hit, value: &RawValue, default: u64) -> Result<bool, Unreadable> {
    if default == 0 || default == hit.address(hit.image.none) {
        return Ok(true);
    }
    if default == value.object {
        return Ok(false);
    }
    let is_text = value.type_object == hit.address(hit.image.str_type);
    Ok(read::pointer(hit.member(default, 8))? != value.type_object
        || value.repr == repr::OPAQUE && !is_text
        || is_text && Str::of(hit, default)?.len != value.len)
}

/// What the kernel's clock shows: to look at it costs next to nothing.
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}
