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
    record::{VALUE_CALL_DEFAULT, VALUE_FOUND, flag, kind},
    stats::Probe,
};

use crate::{
    emit::{self, Frames},
    maps::{Fill, Scratch, Wanted},
    queue::first_argument,
    read,
    state::Hit,
    vars::{self, Watched},
};

/// `Context.get(var, ...)`, `items()`, `values()`, and the `mp_subscript` of contexts.
#[uprobe]
pub fn context_lookup(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextLookup).filter(vars::wants_reads) else {
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
    let Some((Scratch { record, ask, .. }, Some(_))) = emit::begin(&mut hit, kind::READ, Frames::With) else {
        return 0;
    };
    record.head.flags |= flag::IN_COPY;
    if all {
        ask.fill = Fill::Each;
    } else {
        record.head.object = hit.target().slots[slot as usize & (MAX_SLOTS - 1)].var;
        record.head.slot = slot as u8;
        record.head.values = vars::values_of_event(&hit, false);
        ask.values[VALUE_FOUND] = Wanted::held(slot);
        ask.values[VALUE_CALL_DEFAULT] = Wanted::UNSET;
        vars::want_request(&hit, &mut ask.values);
    }
    emit::tell(&ctx, &hit);
    0
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
