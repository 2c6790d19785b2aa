//! What a ContextVar is that was not seen before: found out by its name, kept by its address, told to the agent.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_NAME, MAX_SLOTS,
    config::{Name, NameKey, SlotVar, Var, VarKey},
    record::{NO_SLOT, kind},
    stats::Stage,
};

use crate::{
    emit::{self, Frames},
    maps::{NAMES, VARS, Wanted},
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
    zero::zero,
};

/// What the agent has to know before the first event about a variable.
enum News {
    None,
    /// It is one of those that are watched: the number of its name.
    Slot(u32),
    /// It is in use: what to offer when no watched one is.
    Other,
}

/// Finds out what the variable is that a program was called with, and starts that program again.
#[inline(always)]
pub fn go(ctx: &ProbeContext, hit: &Hit, again: Stage) {
    let Some(scratch) = emit::scratch(hit.tid) else {
        emit::lose_for_want_of_room(hit);
        return;
    };
    scratch.ask.probe = hit.probe;
    scratch.ask.then = Some(again);
    emit::go_on(ctx, hit, Stage::Look);
}

/// Finds out what the variable is, which is the first argument.
#[uprobe]
pub fn look(ctx: ProbeContext) -> u32 {
    let Some((mut hit, scratch)) = Hit::again(&ctx) else {
        return 0;
    };
    let (Some(again), Some(var)) = (scratch.ask.then, ctx.arg::<u64>(0)) else {
        return 0;
    };
    // PyContextVar.var_hash is at 56 in every GIL build from 3.8 to 3.15.
    let looked = read::pointer(var + 56).and_then(|hash| Ok((hash, look_at(&mut hit, var, hash)?)));
    let Ok((hash, (slot, news))) = looked else {
        // It may be a watched one.
        emit::count(hit.probe, |s| &raw mut s.unreadable);
        emit::mark_lost(hit.target);
        return 0;
    };
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    if VARS.insert(key, Var { hash, slot, pad: 0 }, 0).is_err() {
        emit::lose_for_want_of_room(&hit);
        return 0;
    }
    let (kind, name, of) = match news {
        News::None => {
            emit::uncount_hit(hit.probe);
            emit::go_on(&ctx, &hit, again);
            return 0;
        }
        // PyContextVar: var_name 16, var_default 24.
        News::Slot(name) => (kind::VAR, name, 24),
        News::Other => (kind::OTHER_VAR, 0, 16),
    };
    let Some((scratch, _)) = emit::begin(&mut hit, kind, Frames::Without) else {
        return 0;
    };
    let head = &mut scratch.record.head;
    head.object = var;
    head.slot = slot as u8;
    head.name = name;
    head.values = 1;
    scratch.ask.values[0] = match read::pointer(var + of) {
        Ok(0) => Wanted::UNSET,
        Ok(object) => Wanted::object(object),
        Err(Unreadable) => Wanted::UNREADABLE,
    };
    scratch.ask.then = Some(again);
    emit::tell(&ctx, &hit);
    0
}

/// Compares the variable's name with the watched ones and gives it a slot.
#[inline(always)]
fn look_at(hit: &mut Hit, var: u64, hash: u64) -> Result<(u32, News), Unreadable> {
    let Some(name) = name_of(hit, var)? else {
        return Ok((u32::from(NO_SLOT), News::Other));
    };
    if name.marker != 0 {
        return Ok((name.marker, News::None));
    }
    let mut place = Place {
        slots: &hit.target().slots,
        var,
        hash,
        free: MAX_SLOTS,
        taken: MAX_SLOTS,
    };
    repeat(MAX_SLOTS as u32, &mut place, look_for);
    let Place { free, taken, .. } = place;
    if taken < MAX_SLOTS {
        return Ok((taken as u32, News::None));
    }
    if free >= MAX_SLOTS {
        emit::count(hit.probe, |s| &raw mut s.lost_slot);
        emit::mark_lost(hit.target);
        return Ok((u32::from(NO_SLOT), News::None));
    }
    let target = hit.target_mut();
    target.slots[free & (MAX_SLOTS - 1)] = SlotVar {
        var,
        hash,
        name: name.number,
        steps: name.steps,
    };
    if name.request != 0 && target.request_slot == u32::MAX {
        target.request_slot = free as u32;
    }
    Ok((free as u32, News::Slot(name.number)))
}

struct Place<'a> {
    slots: &'a [SlotVar; MAX_SLOTS],
    var: u64,
    hash: u64,
    /// The first slot that is free.
    free: usize,
    /// The one that the variable has already.
    taken: usize,
}

extern "C" fn look_for(number: u32, place: &mut Place<'_>) -> Next {
    let number = number as usize & (MAX_SLOTS - 1);
    let slot = &place.slots[number];
    if slot.var == place.var && slot.hash == place.hash {
        place.taken = number;
    }
    if slot.var == 0 {
        place.free = number;
        return Next::Done;
    }
    Next::More
}

/// A key that can be cleared by words.
#[repr(C, align(8))]
struct AlignedKey(NameKey);

#[inline(always)]
fn name_of(hit: &Hit, var: u64) -> Result<Option<Name>, Unreadable> {
    let name = read::pointer(var + 16)?;
    let [len, _, state] = read::user::<[u64; 3]>(name + 16)?;
    // Watched names are ASCII; so is every compact string that can match one.
    if state & 0x60 != 0x60 || len == 0 || len > u64::from(u16::MAX) {
        return Ok(None);
    }
    let mut key = MaybeUninit::<AlignedKey>::uninit();
    zero(key.as_mut_ptr());
    // SAFETY: all of it is zero now, which is a key.
    let AlignedKey(key) = unsafe { key.assume_init_mut() };
    key.set = hit.target().names;
    key.len = len as u32;
    let bytes = if len > MAX_NAME as u64 {
        MAX_NAME as u32
    } else {
        len as u32
    };
    read::user_into(
        key.bytes.as_mut_ptr(),
        bytes & 0x3f,
        name + u64::from(hit.image.ascii_data),
    )?;
    // SAFETY: names are written by the agent before any probe is attached.
    Ok(unsafe { NAMES.get(&*key) }.copied())
}
