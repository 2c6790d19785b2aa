//! What a ContextVar is that was not seen before: found out by its name, kept by its address, told to the agent.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::BPF_NOEXIST, macros::uprobe, programs::ProbeContext};
use tracer_common::{
    MAX_NAME, MAX_SLOTS,
    config::{LOOKING, Name, NameKey, Target, Var, VarKey, name_flag, target_flag},
    record::{NO_SLOT, kind, marker},
    stats::Stage,
};

use crate::{
    atomic,
    emit::{self, Frames},
    maps::{Ask, NAMES, Scratch, VARS, Wanted},
    read::{self, Unreadable},
    repeat::{Next, repeat},
    state::Hit,
    str::Str,
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

/// Finds out what the variable is, which is the first argument, or waits for the thread that does: before that has told the agent,
/// nothing may be told of the variable.
#[uprobe]
pub fn look(ctx: ProbeContext) -> u32 {
    let Some((mut hit, scratch)) = Hit::again(&ctx) else {
        return 0;
    };
    let (Some(again), Some(var)) = (scratch.ask.then, ctx.arg::<u64>(0)) else {
        return 0;
    };
    let Ok(hash) = read::pointer(var + u64::from(hit.image.contextvar_hash)) else {
        lose(&hit);
        return 0;
    };
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    if !claim(key, hash) {
        if wait_for(key) {
            start(&ctx, &hit, again);
        } else {
            // Who looks is gone without having told: the next hit looks itself.
            let _ = VARS.remove(key);
            lose(&hit);
        }
        return 0;
    }
    let Ok((slot, news)) = look_at(&mut hit, var, hash) else {
        let _ = VARS.remove(key);
        lose(&hit);
        return 0;
    };
    // PyContextVar: var_name 16, var_default 24.
    let (kind, name, of) = match news {
        News::None => {
            keep(key, hash, slot);
            start(&ctx, &hit, again);
            return 0;
        }
        News::Slot(name) => (kind::VAR, name, 24),
        News::Other => (kind::OTHER_VAR, 0, 16),
    };
    if let Some((Scratch { record, ask, .. }, _)) = emit::begin(&mut hit, kind, Frames::Without) {
        record.head.object = var;
        record.head.slot = slot as u8;
        record.head.name = name;
        record.head.values = 1;
        ask.values[0] = match read::pointer(hit.member(var, of)) {
            Ok(0) => Wanted::UNSET,
            Ok(object) => Wanted::object(object),
            Err(Unreadable) => Wanted::UNREADABLE,
        };
        (ask.then, ask.hash, ask.slot) = (Some(again), hash, slot);
        emit::tell(&ctx, &hit);
    }
    // Only what cannot be told comes here.
    let _ = VARS.remove(key);
    0
}

/// Goes on when the agent was told of the variable.
#[inline(always)]
pub fn told(ctx: &ProbeContext, hit: &Hit, var: u64, ask: &Ask, again: Stage) {
    let key = VarKey {
        var,
        tgid: hit.tgid,
        pad: 0,
    };
    keep(key, ask.hash, ask.slot);
    start(ctx, hit, again);
}

/// Starts the program again that came upon the variable.
#[inline(always)]
fn start(ctx: &ProbeContext, hit: &Hit, again: Stage) {
    emit::uncount_hit(hit.probe);
    emit::go_on(ctx, hit, again);
}

/// Notes what the variable is.
#[inline(always)]
fn keep(key: VarKey, hash: u64, slot: u32) {
    // A failed update is one that is not found again.
    let _ = VARS.insert(key, Var { hash, slot, pad: 0 }, 0);
}

/// A variable that cannot be told: it may be a watched one.
#[inline(always)]
fn lose(hit: &Hit) {
    emit::count(hit.probe, |s| &raw mut s.unreadable);
    emit::mark_lost(hit.target);
}

/// Makes this thread the one that looks at the variable. False if another one does.
#[inline(always)]
fn claim(key: VarKey, hash: u64) -> bool {
    let known = VARS.get_ptr(key);
    // SAFETY: the entry lives as long as this program runs.
    if known.is_some_and(|known| unsafe { (*known).slot } != LOOKING) {
        // Of another variable, which had this address before.
        let _ = VARS.remove(key);
    }
    let looking = Var {
        hash,
        slot: LOOKING,
        pad: 0,
    };
    VARS.insert(key, looking, u64::from(BPF_NOEXIST)).is_ok()
}

/// Whether the thread that looks has come to an end.
#[inline(always)]
fn wait_for(key: VarKey) -> bool {
    let mut waiting = Waiting { key, over: false };
    repeat(MAX_WAIT, &mut waiting, wait);
    waiting.over
}

/// Looks at an entry that another thread is about to complete, some tens of nanoseconds each. It does so within microseconds, unless
/// something takes its processor away, a busy machine or a virtual machine's host: then that takes some milliseconds.
const MAX_WAIT: u32 = 1 << 20;

struct Waiting {
    key: VarKey,
    over: bool,
}

extern "C" fn wait(_: u32, waiting: &mut Waiting) -> Next {
    // SAFETY: the number is copied out at once.
    waiting.over = unsafe { VARS.get(waiting.key) }.is_none_or(|known| known.slot != LOOKING);
    if waiting.over { Next::Done } else { Next::More }
}

/// Compares the variable's name with the watched ones and gives it a slot.
#[inline(always)]
fn look_at(hit: &mut Hit, var: u64, hash: u64) -> Result<(u32, News), Unreadable> {
    let Some(name) = name_of(hit, var)? else {
        return Ok((u32::from(NO_SLOT), News::Other));
    };
    if name.marker != 0 {
        return Ok((marked(hit, name.marker), News::None));
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
        return Ok((taken as u32, News::None));
    }
    if free >= MAX_SLOTS {
        emit::count(hit.probe, |s| &raw mut s.lost_slot);
        emit::mark_lost(hit.target);
        return Ok((u32::from(NO_SLOT), News::None));
    }
    let target = hit.target_mut();
    let slot = &mut target.slots[free & (MAX_SLOTS - 1)];
    (slot.hash, slot.name, slot.steps) = (hash, name.number, name.steps);
    slot.flags = name.flags;
    if name.flags & name_flag::REQUEST != 0 && target.request_slot == u32::MAX {
        target.request_slot = free as u32;
    }
    Ok((free as u32, News::Slot(name.number)))
}

/// Notes what it means that a reserved variable is in use. What it is from here on.
#[inline(always)]
fn marked(hit: &mut Hit, marker: u32) -> u32 {
    if marker != u32::from(marker::CONTEXT_HANDED) {
        hit.target_mut().flags |= target_flag::EVERY_READ;
        // What was told before holds no more.
        // SAFETY: `target` comes from the map and lives as long as this program runs.
        unsafe { atomic::add(&raw mut (*hit.target).turn) };
    }
    if marker == u32::from(marker::CONTEXT_CARRIED) {
        u32::from(NO_SLOT)
    } else {
        marker
    }
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
