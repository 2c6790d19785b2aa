//! Reads, binds and resets of ContextVars, and the end of contexts.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    config::ScopeKey,
    record::{FullRecord, NO_SLOT, SLOT_EVENT_VALUES, VALUE_CALL_DEFAULT, VALUE_FOUND, flag, kind, marker},
    stats::Probe,
};

use crate::{
    emit::{self, Frames, Wake},
    maps::SCOPES,
    path,
    read::{self, Unreadable},
    state::{Hit, State},
    uses, value,
    vars::{self, Watched},
};

/// `PyContextVar_Get(var, default, out)`.
#[uprobe]
pub fn context_get(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextGet) else {
        return 0;
    };
    let (Some(var), Some(default)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    uses::read(&mut hit, var);
    let found = vars::watched(&mut hit, var);
    let Some(slot) = slot_of(&hit, found) else {
        return 0;
    };
    let Some((record, state)) = emit::begin(&mut hit, kind::READ, Frames::With) else {
        return 0;
    };
    record.head.object = var;
    record.head.slot = slot as u8;
    record.head.values = vars::values_of_event(&hit, default != 0);
    if record.head.values > 1 {
        value::unset(&mut record.values[VALUE_CALL_DEFAULT]);
    }
    match &state {
        Some(state) => {
            vars::fill(&hit, state, slot, &mut record.values[VALUE_FOUND]);
            vars::fill_request(&hit, state, &mut record.values);
            if default != 0 {
                record.head.flags |= flag::HAS_DEFAULT;
                path::describe(&hit, slot, default, &mut record.values[VALUE_CALL_DEFAULT]);
            }
        }
        None => all_unreadable(record),
    }
    emit::send(&hit, record);
    0
}

/// `PyContextVar_Set(var, value)`.
#[uprobe]
pub fn context_set(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextSet) else {
        return 0;
    };
    let (Some(var), Some(new)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    uses::bind(&mut hit, var, new);
    let (kind, slot) = match vars::watched(&mut hit, var) {
        Ok(Watched::Slot(slot)) => (kind::BIND, slot),
        Ok(Watched::Marker(marker::CONTEXT_HANDED)) => {
            if new != hit.address(hit.image.none) {
                vars::pass_over(hit.probe);
                return 0;
            }
            (kind::CONTEXT_HANDED, u32::from(NO_SLOT))
        }
        Ok(Watched::Marker(marker)) => (kind::MARK, u32::from(marker)),
        Ok(Watched::No) => {
            vars::pass_over(hit.probe);
            return 0;
        }
        Err(Unreadable) => {
            lose(&hit);
            return 0;
        }
    };
    let Some((record, state)) = emit::begin(&mut hit, kind, Frames::With) else {
        return 0;
    };
    record.head.slot = slot as u8;
    if emit::read_back(&record.head.kind) == kind::CONTEXT_HANDED {
        if !context_handed(&hit, record, state.as_ref()) {
            return 0;
        }
    } else {
        bind(&hit, record, state.as_ref(), var, slot, new);
    }
    emit::send(&hit, record);
    0
}

#[inline(always)]
fn bind(hit: &Hit, record: &mut FullRecord, state: Option<&State>, var: u64, slot: u32, new: u64) {
    record.head.object = var;
    record.head.values = vars::values_of_event(hit, false);
    path::describe(hit, slot, new, &mut record.values[VALUE_FOUND]);
    if record.head.values > 1 {
        value::unset(&mut record.values[VALUE_CALL_DEFAULT]);
    }
    match state {
        Some(state) => vars::fill_request(hit, state, &mut record.values),
        None => all_unreadable(record),
    }
}

/// A context was copied for a worker, and has just been entered for the first time, by whoever copied it.
#[inline(always)]
fn context_handed(hit: &Hit, record: &mut FullRecord, state: Option<&State>) -> bool {
    if let Some(state) = state {
        // Its end is to be told, too.
        if !emit::remember_scope(hit.tgid, state.context) {
            lose(hit);
            return false;
        }
        record.head.brings = state.context;
        record.head.scope = state.previous;
    }
    record.head.values = vars::fill_all(hit, state, &mut record.values);
    true
}

/// `PyContextVar_Reset(var, token)`.
#[uprobe]
pub fn context_reset(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextReset) else {
        return 0;
    };
    let (Some(var), Some(token)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    let Some(slot) = slot_of(&hit, vars::known(&hit, var)) else {
        return 0;
    };
    // PyContextToken: tok_ctx 16, tok_var 24, tok_oldval 32, tok_used 40 (Include/internal/pycore_context.h).
    let token = read::user::<[u64; 4]>(hit.member(token, 16));
    let Some((record, state)) = emit::begin(&mut hit, kind::UNBIND, Frames::With) else {
        return 0;
    };
    if let (Ok([context, of, _, used]), Some(state)) = (&token, &state)
        && (*context != state.context || *of != var || *used as u32 != 0)
    {
        // The reset will raise: a used token, or one of another variable or context. Nothing changes.
        vars::pass_over(hit.probe);
        return 0;
    }
    record.head.object = var;
    record.head.slot = slot as u8;
    record.head.values = vars::values_of_event(&hit, false);
    if record.head.values > 1 {
        value::unset(&mut record.values[VALUE_CALL_DEFAULT]);
    }
    match (&token, &state) {
        (Ok([_, _, old, _]), Some(state)) => {
            if *old == 0 {
                value::unset(&mut record.values[VALUE_FOUND]);
            } else {
                path::describe(&hit, slot, *old, &mut record.values[VALUE_FOUND]);
            }
            vars::fill_request(&hit, state, &mut record.values);
        }
        _ => all_unreadable(record),
    }
    emit::send(&hit, record);
    0
}

/// `tp_dealloc` of a Context. Its address is about to be reused.
#[uprobe]
pub fn context_free(ctx: ProbeContext) -> u32 {
    let Some(hit) = Hit::new(&ctx, Probe::ContextFree) else {
        return 0;
    };
    let Some(scope) = ctx.arg::<u64>(0) else { return 0 };
    let key = ScopeKey {
        scope,
        tgid: hit.tgid,
        pad: 0,
    };
    if SCOPES.get_ptr(key).is_none() {
        emit::count_filtered(hit.probe);
        return 0;
    }
    // Only a concurrent removal could make it fail, and that one tells the end as well.
    let _ = SCOPES.remove(key);
    let mut head = MaybeUninit::uninit();
    let head = emit::blank(&mut head, kind::SCOPE_END, hit.tgid, hit.tid);
    head.scope = scope;
    head.lost = hit.target().lost;
    emit::send_head(hit.probe, Some(hit.target), head, Wake::Later);
    0
}

/// The slot of a watched variable; counts what is passed over and what cannot be read.
#[inline(always)]
fn slot_of(hit: &Hit, found: Result<Watched, Unreadable>) -> Option<u32> {
    match found {
        Ok(Watched::Slot(slot)) => Some(slot),
        Ok(Watched::No | Watched::Marker(_)) => {
            vars::pass_over(hit.probe);
            None
        }
        Err(Unreadable) => {
            lose(hit);
            None
        }
    }
}

/// A variable that cannot be told: it may have been a watched one.
#[inline(always)]
fn lose(hit: &Hit) {
    emit::count(hit.probe, |s| &raw mut s.unreadable);
    emit::mark_lost(hit.target);
}

#[inline(always)]
fn all_unreadable(record: &mut FullRecord) {
    for i in 0..SLOT_EVENT_VALUES {
        value::unreadable(&mut record.values[i]);
    }
}
