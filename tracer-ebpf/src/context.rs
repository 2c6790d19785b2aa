//! Reads, binds and resets of ContextVars, and the end of contexts.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_SLOTS,
    config::ScopeKey,
    record::{
        NO_SLOT, SLOT_EVENT_VALUES, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST, VALUE_REST, flag, kind,
        marker,
    },
    stats::{Probe, Stage},
};

use crate::{
    agree,
    emit::{self, Frames, Wake},
    look,
    maps::{Ask, Fill, SCOPES, Scratch, Wanted},
    read::{self, Unreadable},
    state::{Hit, State},
    uses,
    vars::{self, Watched},
};

/// `PyContextVar_Get(var, default, out)`.
#[uprobe]
pub fn context_get(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::ContextGet).filter(vars::wants_reads) else {
        return 0;
    };
    let (Some(var), Some(default)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    let found = vars::watched(&hit, var);
    if let Ok(Watched::New) = found {
        look::go(&ctx, &hit, Stage::ContextGet);
        return 0;
    }
    uses::read(&mut hit, var);
    let Some(slot) = slot_of(&hit, found) else {
        return 0;
    };
    let state = hit.state();
    if let Ok(state) = &state
        && agree::agrees(&hit, slot, state, default)
    {
        return 0;
    }
    let Some((Scratch { record, ask, .. }, state)) = emit::begin_in(&hit, kind::READ, Frames::With, state)
    else {
        return 0;
    };
    record.head.object = var;
    record.head.slot = slot as u8;
    record.head.values = vars::values_of_event(&hit, default != 0);
    if state.is_some() {
        ask.values[VALUE_FOUND] = Wanted::held(slot);
        ask.values[VALUE_CALL_DEFAULT] = Wanted::UNSET;
        vars::want_request(&hit, &mut ask.values);
        if default != 0 {
            record.head.flags |= flag::HAS_DEFAULT;
            ask.values[VALUE_CALL_DEFAULT] = Wanted::object(default);
        }
    } else {
        all_unreadable(ask);
    }
    emit::tell(&ctx, &hit);
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
    let found = vars::watched(&hit, var);
    if let Ok(Watched::New) = found {
        look::go(&ctx, &hit, Stage::ContextSet);
        return 0;
    }
    uses::bind(&mut hit, var, new);
    let (kind, slot) = match found {
        Ok(Watched::Slot(slot)) => (kind::BIND, slot),
        Ok(Watched::Marker(marker::CONTEXT_HANDED)) => {
            if new != hit.address(hit.image.none) {
                vars::pass_over(hit.probe);
                return 0;
            }
            (kind::CONTEXT_HANDED, u32::from(NO_SLOT))
        }
        Ok(Watched::Marker(marker)) => (kind::MARK, u32::from(marker)),
        Ok(Watched::No | Watched::New) => {
            vars::pass_over(hit.probe);
            return 0;
        }
        Err(Unreadable) => {
            lose(&hit);
            return 0;
        }
    };
    let Some((scratch, state)) = emit::begin(&mut hit, kind, Frames::With) else {
        return 0;
    };
    scratch.record.head.slot = slot as u8;
    if kind == kind::CONTEXT_HANDED {
        if !context_handed(&hit, scratch, state.as_ref()) {
            return 0;
        }
    } else {
        scratch.record.head.object = var;
        let announces = kind == kind::MARK && state.is_some();
        want(&hit, scratch, state.map(|_| Wanted::object(new)));
        if announces {
            want_all_of(scratch, new);
        }
    }
    emit::tell(&ctx, &hit);
    0
}

/// Wants as much of a payload as a record can hold.
#[inline(always)]
fn want_all_of(scratch: &mut Scratch, payload: u64) {
    if scratch.record.head.values as usize <= VALUE_REQUEST {
        scratch.ask.values[VALUE_REQUEST] = Wanted::UNSET;
    }
    for number in VALUE_REST..MAX_SLOTS {
        scratch.ask.values[number] = Wanted::rest(payload);
    }
    scratch.record.head.values = MAX_SLOTS as u8;
}

/// A context was copied for a worker, and has just been entered for the first time, by whoever copied it.
#[inline(always)]
fn context_handed(hit: &Hit, scratch: &mut Scratch, state: Option<&State>) -> bool {
    if let Some(state) = state {
        // Its end is to be told, too.
        if !emit::remember_scope(hit.tgid, state.context) {
            lose(hit);
            return false;
        }
        scratch.record.head.brings = state.context;
        scratch.record.head.scope = state.previous;
    }
    scratch.ask.fill = Fill::All;
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
    let Some((scratch, state)) = emit::begin(&mut hit, kind::UNBIND, Frames::With) else {
        return 0;
    };
    if let (Ok([context, of, _, used]), Some(state)) = (&token, &state)
        && (*context != state.context || *of != var || *used as u32 != 0)
    {
        // The reset will raise: a used token, or one of another variable or context. Nothing changes.
        vars::pass_over(hit.probe);
        return 0;
    }
    scratch.record.head.object = var;
    scratch.record.head.slot = slot as u8;
    let after = match (&token, &state) {
        (Ok([_, _, 0, _]), Some(_)) => Some(Wanted::UNSET),
        (Ok([_, _, old, _]), Some(_)) => Some(Wanted::object(*old)),
        _ => None,
    };
    want(&hit, scratch, after);
    emit::tell(&ctx, &hit);
    0
}

/// Wants the values of an event that changes what a slot holds; `after` is what it holds then, if that can be read.
#[inline(always)]
fn want(hit: &Hit, scratch: &mut Scratch, after: Option<Wanted>) {
    scratch.record.head.values = vars::values_of_event(hit, false);
    if let Some(after) = after {
        scratch.ask.values[VALUE_FOUND] = after;
        scratch.ask.values[VALUE_CALL_DEFAULT] = Wanted::UNSET;
        vars::want_request(hit, &mut scratch.ask.values);
    } else {
        all_unreadable(&mut scratch.ask);
    }
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
        Ok(Watched::No | Watched::New | Watched::Marker(_)) => {
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
fn all_unreadable(ask: &mut Ask) {
    for i in 0..SLOT_EVENT_VALUES {
        ask.values[i] = Wanted::UNREADABLE;
    }
}
