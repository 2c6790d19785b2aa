//! Completing a record and sending it: frames, values, paths, code objects. Every program ends here, so that it is verified once.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_SLOTS,
    record::{FullRecord, RawValue, VALUE_FOUND, VALUE_REST, found},
};

use crate::{
    agree, code,
    emit::{self, Wake},
    look, lookup,
    maps::{Fill, Scratch, Source, tasks},
    path,
    read::Unreadable,
    repeat::{Next, repeat},
    stack,
    state::Hit,
    task, value,
};

/// Does what is left to be done for the record that this thread has begun.
#[uprobe]
pub fn tell(ctx: ProbeContext) -> u32 {
    let Some((hit, scratch)) = Hit::again(&ctx) else {
        return 0;
    };
    complete(&hit, scratch);
    let Scratch { record, ask, .. } = scratch;
    if let Some(again) = ask.then {
        look::told(&ctx, &hit, record.head.object, ask, again);
    }
    0
}

#[inline(always)]
fn complete(hit: &Hit, scratch: &mut Scratch) {
    let tstate = emit::read_back(&scratch.state)[0];
    if tstate != 0 && scratch.ask.frames {
        stack::walk(hit, tstate, &mut scratch.record);
    }
    let mut filling = Filling { hit, scratch };
    repeat(MAX_SLOTS as u32, &mut filling, fill_next);
    let Scratch { record, ask, .. } = scratch;
    path::resolve(hit, record);
    if !emit::keep_scope(hit, record) {
        return;
    }
    if tasks() {
        task::tell_context(hit, &record.head);
    }
    let mut wake = Wake::Later;
    if record.head.frames > 0 && emit::is_new_stack(&record.head) {
        code::tell(hit, record.head.frames, &record.head.stack);
        wake = Wake::Now;
    }
    if ask.fill == Fill::Each {
        send_each(hit, record, wake);
        return;
    }
    let is_read = agree::is_read(hit, scratch);
    if is_read {
        agree::settle(hit, scratch.record.head.slot);
    }
    // Where somebody else tells something at the same time, it is another one afterwards.
    let turn = emit::read_back(&hit.target().turn);
    let sent = emit::send_announced(hit, &mut scratch.record, wake);
    if sent && is_read {
        agree::told(hit, scratch, turn);
    }
}

/// Describing the values that are wanted. All that it depends on is in memory, so that the verifier walks it once for all that can be
/// asked for.
struct Filling<'a> {
    hit: &'a Hit,
    scratch: &'a mut Scratch,
}

extern "C" fn fill_next(number: u32, filling: &mut Filling<'_>) -> Next {
    let hit = filling.hit;
    let Scratch { record, state, ask } = &mut *filling.scratch;
    let number = number as usize & (MAX_SLOTS - 1);
    let [tstate, _, _, vars, _] = emit::read_back(state);
    let (source, argument) = if ask.fill == Fill::Given {
        if number >= record.head.values as usize {
            return Next::Done;
        }
        (ask.values[number].source, ask.values[number].number)
    } else {
        if hit.target().slots[number].var == 0 {
            return Next::Done;
        }
        record.head.values = number as u8 + 1;
        let source = if tstate == 0 {
            Source::Unreadable
        } else {
            Source::Held
        };
        (source, number as u64)
    };
    let into = &mut record.values[number];
    let mut slot = u32::from(record.head.slot);
    match source {
        Source::Unset => {
            value::unset(into);
            return Next::More;
        }
        Source::Unreadable => {
            value::unreadable(into);
            return Next::More;
        }
        Source::Rest => {
            let values = (number as u64).wrapping_sub(VALUE_REST as u64) + 1;
            value::rest(hit, argument, values, into);
            return Next::More;
        }
        Source::Object => ask.object = argument,
        Source::Held => {
            slot = argument as u32;
            match held(hit, vars, slot) {
                Ok(Some(object)) => ask.object = object,
                Ok(None) => {
                    value::unset(into);
                    return Next::More;
                }
                Err(Unreadable) => {
                    value::unreadable(into);
                    return Next::More;
                }
            }
        }
    }
    path::describe(hit, slot, emit::read_back(&ask.object), into);
    Next::More
}

/// What the current context holds for a slot.
#[inline(always)]
fn held(hit: &Hit, vars: u64, slot: u32) -> Result<Option<u64>, Unreadable> {
    match hit.target().slots.get(slot as usize) {
        Some(var) if vars != 0 && var.var != 0 => lookup::find(hit, vars, var.var, var.hash),
        _ => Ok(None),
    }
}

/// Sends each value as a record of its own, where it takes the place of the first.
#[inline(always)]
fn send_each(hit: &Hit, record: &mut FullRecord, wake: Wake) {
    record.head.values = VALUE_FOUND as u8 + 1;
    let mut sending = Sending { hit, record, wake };
    repeat(MAX_SLOTS as u32, &mut sending, send_next);
}

struct Sending<'a> {
    hit: &'a Hit,
    record: &'a mut FullRecord,
    wake: Wake,
}

extern "C" fn send_next(number: u32, sending: &mut Sending<'_>) -> Next {
    let slot = number as usize & (MAX_SLOTS - 1);
    let record = &mut *sending.record;
    if slot != VALUE_FOUND {
        record.values[VALUE_FOUND] = record.values[slot];
    }
    // Who lists a context does not ask for what is not in it.
    let var = sending.hit.target().slots[slot].var;
    let value: &RawValue = &record.values[VALUE_FOUND];
    if var != 0 && value.state != found::UNSET {
        record.head.object = var;
        record.head.slot = slot as u8;
        emit::send_announced(sending.hit, record, sending.wake);
    }
    Next::More
}
