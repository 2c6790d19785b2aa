//! Which ContextVars are watched: found by name on first sight, then known by address.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    MAX_NAME, MAX_SLOTS,
    config::{LOOKING, Name, NameKey, Target, Var, VarKey},
    record::{NO_SLOT, RawValue, SLOT_EVENT_VALUES, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST, kind},
    stats::Probe,
};

use crate::{
    atomic,
    emit::{self, Frames},
    lookup,
    maps::{NAMES, VARS},
    path,
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::{Hit, State},
    str::Str,
    value,
    zero::zero,
};

/// What a variable is to the agent.
#[derive(Clone, Copy)]
pub enum Watched {
    /// Nothing.
    No,
    /// One of the target's slots.
    Slot(u32),
    /// A reserved variable.
    Marker(u8),
}

impl Watched {
    #[inline(always)]
    fn of(slot: u32) -> Self {
        if slot < MAX_SLOTS as u32 {
            Self::Slot(slot)
        } else if slot == u32::from(NO_SLOT) || slot == LOOKING {
            Self::No
        } else {
            Self::Marker(slot as u8)
        }
    }
}

/// Says what the variable is.
///
/// The address of a dead variable can be reused: the answer that is kept counts only while `var_hash`, made from
/// address and name, is the same (CPython `Python/context.c`).
#[inline(always)]
pub fn watched(hit: &mut Hit, var: u64) -> Result<Watched, Unreadable> {
    let hash = read::pointer(var + u64::from(hit.image.contextvar_hash))?;
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    // SAFETY: the value is copied out at once; a torn one fails the comparison of hashes.
    let slot = match unsafe { VARS.get(key) } {
        Some(known) if known.hash == hash && known.slot != LOOKING && is_current(hit, var, known.slot) => {
            known.slot
        }
        _ => {
            first_sight(hit, key, hash)?;
            // Read back: so the verifier knows no slot by its number, and follows what comes next once and not for each of them.
            // SAFETY: as above.
            let Some(known) = (unsafe { VARS.get(key) }) else {
                emit::count(hit.probe, |s| &raw mut s.lost_map);
                emit::mark_lost(hit.target);
                return Err(Unreadable);
            };
            known.slot
        }
    };
    Ok(Watched::of(slot))
}

/// Looks at a variable, or waits for the thread that does: before it has told the agent, nothing may be told of the variable.
#[inline(always)]
fn first_sight(hit: &mut Hit, key: VarKey, hash: u64) -> Result<(), Unreadable> {
    let looking = Var {
        hash,
        slot: LOOKING,
        pad: 0,
    };
    let known = VARS.get_ptr(key);
    // SAFETY: the entry lives as long as this program runs.
    if known.is_some_and(|known| unsafe { (*known).slot } != LOOKING) {
        // Of another variable, which had this address before.
        let _ = VARS.remove(key);
    }
    if VARS.insert(key, looking, u64::from(BPF_NOEXIST)).is_err() {
        let mut waiting = Waiting { key, over: false };
        repeat(MAX_WAIT, &mut waiting, wait);
        return if waiting.over { Ok(()) } else { Err(Unreadable) };
    }
    match look_at(hit, key.var, hash) {
        Ok(slot) => {
            // A failed update is one that is not found again.
            let _ = VARS.insert(key, Var { hash, slot, pad: 0 }, 0);
            Ok(())
        }
        Err(Unreadable) => {
            let _ = VARS.remove(key);
            Err(Unreadable)
        }
    }
}

/// Looks at an entry that another thread is about to complete, some tens of nanoseconds each.
const MAX_WAIT: u32 = 8192;

struct Waiting {
    key: VarKey,
    over: bool,
}

extern "C" fn wait(_: u32, waiting: &mut Waiting) -> Next {
    // SAFETY: the number is copied out at once.
    waiting.over = unsafe { VARS.get(waiting.key) }.is_none_or(|known| known.slot != LOOKING);
    if waiting.over { Next::Done } else { Next::More }
}

/// The same where a variable that was never read nor bound does not matter: nothing is announced, which is what makes a program
/// long to verify.
#[inline(always)]
pub fn known(hit: &Hit, var: u64) -> Result<Watched, Unreadable> {
    let hash = read::pointer(var + u64::from(hit.image.contextvar_hash))?;
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    // SAFETY: as above.
    match unsafe { VARS.get(key) } {
        Some(known) if known.hash == hash && is_current(hit, var, known.slot) => Ok(Watched::of(known.slot)),
        _ => {
            // It was pushed out by younger ones.
            if hit.target().slots.iter().any(|slot| slot.var == var) {
                emit::count(hit.probe, |s| &raw mut s.lost_map);
                emit::mark_lost(hit.target);
            }
            Ok(Watched::No)
        }
    }
}

/// Whether a slot is still the variable's: an exec or a new interpreter empties all slots.
#[inline(always)]
fn is_current(hit: &Hit, var: u64, slot: u32) -> bool {
    hit.target()
        .slots
        .get(slot as usize)
        .is_none_or(|known| known.var == var)
}

/// Compares the variable's name with the watched ones and gives it a slot.
#[inline(never)]
fn look_at(hit: &mut Hit, var: u64, hash: u64) -> Result<u32, Unreadable> {
    let Some(name) = name_of(hit, var)? else {
        announce_other(hit, var);
        return Ok(u32::from(NO_SLOT));
    };
    if name.marker != 0 {
        return Ok(name.marker);
    }
    let mut place = Place {
        target: hit.target,
        var,
        hash,
        free: MAX_SLOTS,
        taken: MAX_SLOTS,
    };
    repeat(MAX_SLOTS as u32, &mut place, look_for);
    let Place { free, taken, .. } = place;
    if taken < MAX_SLOTS {
        return Ok(taken as u32);
    }
    if free >= MAX_SLOTS {
        emit::count(hit.probe, |s| &raw mut s.lost_slot);
        emit::mark_lost(hit.target);
        return Ok(u32::from(NO_SLOT));
    }
    let target = hit.target_mut();
    let slot = &mut target.slots[free & (MAX_SLOTS - 1)];
    (slot.hash, slot.name, slot.steps) = (hash, name.number, name.steps);
    if name.request != 0 && target.request_slot == u32::MAX {
        target.request_slot = free as u32;
    }
    announce(hit, var, free as u32, name.number);
    Ok(free as u32)
}

struct Place {
    target: *mut Target,
    var: u64,
    hash: u64,
    /// The first slot that was free; it is the variable's now.
    free: usize,
    /// The one that the variable has already.
    taken: usize,
}

extern "C" fn look_for(number: u32, place: &mut Place) -> Next {
    let number = number as usize & (MAX_SLOTS - 1);
    // SAFETY: the target's entry lives as long as this program runs.
    let slot = unsafe { &mut (*place.target).slots[number] };
    if slot.var == place.var && slot.hash == place.hash {
        place.taken = number;
        return Next::Done;
    }
    // SAFETY: as above. Another thread may be giving a slot to another variable.
    if slot.var == 0 && unsafe { atomic::claim(&raw mut slot.var, place.var) } {
        place.free = number;
        return Next::Done;
    }
    Next::More
}

/// Tells the agent about a slot, before the first event that uses it.
#[inline(always)]
fn announce(hit: &mut Hit, var: u64, slot: u32, name: u32) {
    let Some((record, _)) = emit::begin(hit, kind::VAR, Frames::Without) else {
        return;
    };
    record.head.object = var;
    record.head.slot = slot as u8;
    record.head.name = name;
    record.head.values = 1;
    match read::pointer(hit.member(var, 24)) {
        Ok(0) => value::unset(&mut record.values[0]),
        Ok(default) => path::describe(hit, slot, default, &mut record.values[0]),
        Err(Unreadable) => value::unreadable(&mut record.values[0]),
    }
    emit::send_without_stack(hit, record);
}

/// Tells the agent that a variable is in use: what to offer when no watched one is.
#[inline(always)]
fn announce_other(hit: &mut Hit, var: u64) {
    let Some((record, _)) = emit::begin(hit, kind::OTHER_VAR, Frames::Without) else {
        return;
    };
    record.head.object = var;
    record.head.values = 1;
    match read::pointer(hit.member(var, 16)) {
        Ok(name) => value::describe(hit, name, &mut record.values[0]),
        Err(Unreadable) => value::unreadable(&mut record.values[0]),
    }
    emit::send_without_stack(hit, record);
}

/// A key that can be cleared by words.
#[repr(C, align(8))]
struct AlignedKey(NameKey);

#[inline(always)]
fn name_of(hit: &Hit, var: u64) -> Result<Option<Name>, Unreadable> {
    let name = Str::of(hit, read::pointer(hit.member(var, 16))?)?;
    let len = name.len;
    // Watched names are ASCII; so is every compact string that can match one.
    if !name.compact || !name.ascii || len == 0 || len > u64::from(u16::MAX) {
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
    read::user_into(key.bytes.as_mut_ptr(), bytes & 0x3f, name.data)?;
    // SAFETY: names are written by the agent before any probe is attached.
    Ok(unsafe { NAMES.get(&*key) }.copied())
}

/// Reads what the context holds for one slot.
#[inline(always)]
pub fn fill(hit: &Hit, state: &State, slot: u32, into: &mut RawValue) {
    let Some(var) = hit.target().slots.get(slot as usize) else {
        value::unset(into);
        return;
    };
    if state.vars == 0 || var.var == 0 {
        value::unset(into);
        return;
    }
    match lookup::find(hit, state.vars, var.var, var.hash) {
        Ok(Some(object)) => path::describe(hit, slot, object, into),
        Ok(None) => value::unset(into),
        Err(Unreadable) => value::unreadable(into),
    }
}

/// Values that travel with an event about one slot: the last ones are left out when there is nothing to say.
#[inline(always)]
pub fn values_of_event(hit: &Hit, default: bool) -> u8 {
    if hit.target().request_slot < MAX_SLOTS as u32 {
        SLOT_EVENT_VALUES as u8
    } else if default {
        VALUE_CALL_DEFAULT as u8 + 1
    } else {
        VALUE_FOUND as u8 + 1
    }
}

/// Reads what the context holds for the `request` slot, if there is one.
#[inline(always)]
pub fn fill_request(hit: &Hit, state: &State, values: &mut [RawValue; MAX_SLOTS]) {
    let slot = hit.target().request_slot;
    if slot < MAX_SLOTS as u32 {
        fill(hit, state, slot, &mut values[VALUE_REQUEST]);
    }
}

/// Reads what the context holds for every slot and returns how many there are.
#[inline(always)]
pub fn fill_all(hit: &Hit, state: Option<&State>, values: &mut [RawValue; MAX_SLOTS]) -> u8 {
    let mut filling = Filling {
        hit,
        state: state.copied(),
        values,
        used: 0,
    };
    repeat(MAX_SLOTS as u32, &mut filling, fill_next);
    filling.used
}

struct Filling<'a> {
    hit: &'a Hit,
    state: Option<State>,
    values: &'a mut [RawValue; MAX_SLOTS],
    used: u8,
}

extern "C" fn fill_next(number: u32, filling: &mut Filling<'_>) -> Next {
    let slot = number as usize & (MAX_SLOTS - 1);
    if filling.hit.target().slots[slot].var == 0 {
        return Next::Done;
    }
    match &filling.state {
        Some(state) => fill(filling.hit, state, slot as u32, &mut filling.values[slot]),
        None => value::unreadable(&mut filling.values[slot]),
    }
    filling.used = slot as u8 + 1;
    Next::More
}

/// Counts a hit on a variable that is not watched.
#[inline(always)]
pub fn pass_over(probe: Probe) {
    emit::count_filtered(probe);
}
