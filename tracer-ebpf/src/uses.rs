//! How often each ContextVar is used, watched or not, when that is asked for.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    config::{UseKey, Uses},
    record::kind,
};

use crate::{
    atomic,
    emit::{self, Frames},
    maps::{Scratch, USES, count_uses},
    read::{self, Unreadable},
    state::Hit,
    value,
};

/// Types that are told of one variable: one that keeps changing must not flood the ring.
const TYPES: u64 = 4;

/// Counts a read.
#[inline(always)]
pub fn read(hit: &mut Hit, var: u64) {
    if count_uses() {
        // A variable that cannot be read is lost by its own record.
        let _ = count(hit, var, 0);
    }
}

/// Counts a bind.
#[inline(always)]
pub fn bind(hit: &mut Hit, var: u64, new: u64) {
    if count_uses() {
        // As above.
        let _ = count(hit, var, new);
    }
}

/// Counts a use; `bound` is 0 for a read.
#[inline(never)]
fn count(hit: &mut Hit, var: u64, bound: u64) -> Result<(), Unreadable> {
    let hash = read::pointer(var + u64::from(hit.image.contextvar_hash))?;
    let key = UseKey {
        var,
        hash,
        tgid: hit.tgid,
        pad: 0,
    };
    let mut news = false;
    if USES.get_ptr(key).is_none() {
        let none = Uses {
            reads: 0,
            binds: 0,
            type_object: 0,
            types: 0,
        };
        // Another thread may just have made it.
        news = USES.insert(key, none, u64::from(BPF_NOEXIST)).is_ok();
    }
    let Some(uses) = USES.get_ptr_mut(key) else {
        emit::count(hit.probe, |s| &raw mut s.lost_map);
        emit::mark_lost(hit.target);
        return Ok(());
    };
    // SAFETY: nobody removes entries.
    let uses = unsafe { &mut *uses };
    if bound == 0 {
        // SAFETY: the entry lives as long as this program runs.
        unsafe { atomic::add(&raw mut uses.reads) };
    } else {
        // SAFETY: as above.
        unsafe { atomic::add(&raw mut uses.binds) };
        if bound != hit.address(hit.image.none) {
            let type_object = read::pointer(hit.member(bound, 8))?;
            if type_object != uses.type_object && uses.types < TYPES {
                uses.type_object = type_object;
                uses.types += 1;
                news = true;
            }
        }
    }
    if news {
        tell(hit, var, hash, bound);
    }
    Ok(())
}

/// Tells the agent, at once: it wants to read the type's name and the module while they are there.
#[inline(always)]
fn tell(hit: &mut Hit, var: u64, hash: u64, bound: u64) {
    let Some((Scratch { record, .. }, _)) = emit::begin(hit, kind::USED, Frames::Without) else {
        return;
    };
    record.head.object = var;
    record.head.queue = hash;
    record.head.values = 1;
    match read::pointer(hit.member(var, 16)) {
        Ok(name) => value::describe(hit, name, &mut record.values[0]),
        Err(Unreadable) => value::unreadable(&mut record.values[0]),
    }
    if bound != 0 {
        record.head.values = 2;
        value::describe(hit, bound, &mut record.values[1]);
    }
    emit::send_now(hit, record);
}
