//! Completing a record and sending it: frames, values, paths, code objects. Every program ends here, so that it is verified once.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_SLOTS,
    record::{FullRecord, RawValue, VALUE_FOUND, found},
};

use crate::{
    code,
    emit::{self, Wake},
    look, lookup,
    maps::{Ask, Fill, Scratch, Source},
    path,
    read::Unreadable,
    repeat::{Next, repeat},
    stack,
    state::Hit,
    value,
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
    let state = emit::state(scratch);
    let Scratch { record, ask, .. } = scratch;
    if let Some(state) = &state
        && ask.frames
    {
        stack::walk(hit, state.tstate, record);
    }
    let vars = state.map(|state| state.vars);
    fill(hit, vars, record, ask);
    path::resolve(hit, record);
    if !emit::keep_scope(hit, record) {
        return;
    }
    let mut wake = Wake::Later;
    if record.head.frames > 0 && emit::is_new_stack(&record.head) {
        code::tell(hit, record.head.frames, &record.head.stack);
        wake = Wake::Now;
    }
    if ask.fill == Fill::Each {
        send_each(hit, record, wake);
    } else {
        emit::send_announced(hit, record, wake);
    }
}

/// Describes the values that are wanted.
#[inline(always)]
fn fill(hit: &Hit, vars: Option<u64>, record: &mut FullRecord, ask: &mut Ask) {
    let all = ask.fill != Fill::Given;
    let count = if all {
        MAX_SLOTS as u32
    } else {
        u32::from(record.head.values)
    };
    let mut filling = Filling {
        hit,
        readable: vars.is_some(),
        vars: vars.unwrap_or(0),
        all,
        record,
        ask,
    };
    repeat(count, &mut filling, fill_next);
}

struct Filling<'a> {
    hit: &'a Hit,
    readable: bool,
    vars: u64,
    all: bool,
    record: &'a mut FullRecord,
    ask: &'a mut Ask,
}

extern "C" fn fill_next(number: u32, filling: &mut Filling<'_>) -> Next {
    let Filling { hit, record, ask, .. } = filling;
    let number = number as usize & (MAX_SLOTS - 1);
    let (source, argument) = if filling.all {
        if hit.target().slots[number].var == 0 {
            return Next::Done;
        }
        record.head.values = number as u8 + 1;
        let source = if filling.readable {
            Source::Held
        } else {
            Source::Unreadable
        };
        (source, number as u64)
    } else {
        (ask.values[number].source, ask.values[number].number)
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
        Source::Object => ask.object = argument,
        Source::Held => {
            slot = argument as u32;
            match held(hit, filling.vars, slot) {
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
