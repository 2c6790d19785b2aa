//! Reads through a context object: `ctx[var]`, `ctx.get(var)`, `ctx.items()`, `ctx.values()`.
//!
//! They count when the object holds exactly what the current context does: then it is a copy of it, and what is found in it is
//! what the current context would have said. A copy shares its trie with the context that it was made from until either is
//! bound anew (CPython Python/context.c), so that comparing two pointers decides. What any other context holds was put there
//! on purpose, and is not judged.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_SLOTS,
    config::arguments,
    record::{FullRecord, NO_SLOT, VALUE_CALL_DEFAULT, VALUE_FOUND, found, kind},
    stats::Probe,
};

use crate::{
    emit::{self, Frames, Wake},
    path,
    queue::first_argument,
    read,
    repeat::{Next, repeat},
    state::Hit,
    value,
    vars::{self, Watched},
};

/// `Context.get(var, ...)`, `items()`, `values()`, and the `mp_subscript` of contexts.
#[uprobe]
pub fn context_lookup(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextLookup) else {
        return 0;
    };
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    let all = hit.point.arguments == arguments::NONE;
    let mut slot = MAX_SLOTS as u32;
    if !all {
        let Some(var) = first_argument(&ctx, &hit) else {
            return 0;
        };
        // What cannot be told is no variable: such a look-up raises.
        if let Ok(Watched::Slot(watched)) = vars::known(&hit, var) {
            slot = watched;
        }
        if slot >= MAX_SLOTS as u32 {
            emit::count_filtered(hit.probe);
            return 0;
        }
    }
    if !is_copy(&mut hit, object) {
        emit::count_filtered(hit.probe);
        return 0;
    }
    let Some((record, Some(state))) = emit::begin(&mut hit, kind::READ, Frames::With) else {
        return 0;
    };
    // All at once, and then each as a record of its own, where it takes the place of the first.
    if all {
        record.head.values = vars::fill_all(&hit, Some(&state), &mut record.values);
    } else {
        record.head.object = hit.target().slots[slot as usize & (MAX_SLOTS - 1)].var;
        record.head.slot = slot as u8;
        record.head.values = vars::values_of_event(&hit, false);
        if record.head.values > 1 {
            value::unset(&mut record.values[VALUE_CALL_DEFAULT]);
            vars::fill_request(&hit, &state, &mut record.values);
        }
        vars::fill(&hit, &state, slot, &mut record.values[VALUE_FOUND]);
    }
    path::resolve(&hit, record);
    let Some(wake) = emit::announce(&hit, record) else {
        return 0;
    };
    if emit::read_back(&record.head.slot) != NO_SLOT {
        emit::send_announced(&hit, record, wake);
        return 0;
    }
    record.head.values = VALUE_FOUND as u8 + 1;
    let mut telling = Telling {
        hit: &hit,
        record,
        wake,
    };
    repeat(MAX_SLOTS as u32, &mut telling, tell_next);
    0
}

struct Telling<'a> {
    hit: &'a Hit,
    record: &'a mut FullRecord,
    wake: Wake,
}

extern "C" fn tell_next(number: u32, telling: &mut Telling<'_>) -> Next {
    let slot = number as usize & (MAX_SLOTS - 1);
    let record = &mut *telling.record;
    if slot != VALUE_FOUND {
        record.values[VALUE_FOUND] = record.values[slot];
    }
    // Who lists a context does not ask for what is not in it.
    let var = telling.hit.target().slots[slot].var;
    if var != 0 && record.values[VALUE_FOUND].state != found::UNSET {
        record.head.object = var;
        record.head.slot = slot as u8;
        emit::send_announced(telling.hit, record, telling.wake);
    }
    Next::More
}

/// Whether the context holds exactly what the current one does, and that is something: all empty contexts share one trie.
#[inline(always)]
fn is_copy(hit: &mut Hit, object: u64) -> bool {
    let Ok(state) = hit.state() else { return false };
    // PyContext.ctx_vars 24; PyHamtObject.h_count 32.
    match read::pointer(hit.member(object, 24)) {
        Ok(vars) if vars != 0 && vars == state.vars => {
            read::pointer(hit.member(vars, 32)).is_ok_and(|count| count != 0)
        }
        _ => false,
    }
}
