//! Which ContextVars are watched: found by name on first sight, then known by address.

use tracer_common::{
    MAX_SLOTS,
    config::{LOOKING, VarKey, target_flag},
    record::{NO_SLOT, SLOT_EVENT_VALUES, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST},
    stats::Probe,
};

use crate::{
    emit,
    maps::{VARS, Wanted},
    read::{self, Unreadable},
    state::Hit,
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
    /// Not known yet.
    New,
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
pub fn watched(hit: &Hit, var: u64) -> Result<Watched, Unreadable> {
    let hash = read::pointer(var + u64::from(hit.image.contextvar_hash))?;
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    // SAFETY: the value is copied out at once; a torn one fails the comparison of hashes.
    match unsafe { VARS.get(key) } {
        Some(known) if known.hash == hash && known.slot != LOOKING && is_current(hit, var, known.slot) => {
            Ok(Watched::of(known.slot))
        }
        _ => Ok(Watched::New),
    }
}

/// The same where a variable that was never read nor bound does not matter: it is none that is watched.
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

/// Wants what the context holds for the `request` slot, if there is one, as the last value of an event about one slot.
#[inline(always)]
pub fn want_request(hit: &Hit, wanted: &mut [Wanted; MAX_SLOTS]) {
    let slot = hit.target().request_slot;
    if slot < MAX_SLOTS as u32 {
        wanted[VALUE_REQUEST] = Wanted::held(slot);
    }
}

/// Whether a process's reads are watched; if not, that is counted.
#[inline(always)]
pub fn wants_reads(hit: &Hit) -> bool {
    let wanted = hit.target().flags & target_flag::NO_READS == 0;
    if !wanted {
        pass_over(hit.probe);
    }
    wanted
}

/// Counts a hit on a variable that is not watched.
#[inline(always)]
pub fn pass_over(probe: Probe) {
    emit::count_filtered(probe);
}
