//! What mints task handles: ids that are drawn, coroutines that are made.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    config::CodeKey,
    record::{SLOT_EVENT_VALUES, VALUE_CALL_DEFAULT, VALUE_FOUND, VALUE_REQUEST, kind},
    stats::Probe,
};

use crate::{
    code,
    emit::{self, Frames},
    maps::{MINTS_NOTHING, Scratch, Wanted},
    read::{self, Unreadable},
    state::Hit,
    vars,
};

/// `PyFunctionObject.func_code` (Include/cpython/funcobject.h, 3.11 to 3.15).
const FUNCTION_CODE: u64 = 48;
/// What `PyCodeObject.co_flags` comes after `co_names` (Include/cpython/code.h, 3.11 to 3.15).
const FLAGS_AFTER_NAMES: u64 = 16;
/// `CO_COROUTINE`, `CO_ITERABLE_COROUTINE`: generators are made, too.
const COROUTINE: u32 = 0x80 | 0x100;

/// `os.urandom(size)`, which `uuid.uuid4` and `secrets` draw from.
#[uprobe]
pub fn random(ctx: ProbeContext) -> u32 {
    let Some(mut hit) = Hit::new(&ctx, Probe::Random) else {
        return 0;
    };
    if begin(&mut hit, kind::RANDOM).is_some() {
        emit::tell(&ctx, &hit);
    }
    0
}

/// `_Py_MakeCoro(function)`, in the frame of the function itself.
#[uprobe]
pub fn coroutine(ctx: ProbeContext) -> u32 {
    let (Some(mut hit), Some(function)) = (Hit::new(&ctx, Probe::Coroutine), ctx.arg::<u64>(0)) else {
        return 0;
    };
    let Ok((code, digest)) = called(&hit, function) else {
        emit::count(hit.probe, |s| &raw mut s.unreadable);
        emit::mark_lost(hit.target);
        return 0;
    };
    let key = CodeKey {
        code,
        tgid: hit.tgid,
        pad: 0,
    };
    // SAFETY: the entry is copied at once.
    if digest.is_none() || unsafe { MINTS_NOTHING.get(key) }.copied() == digest {
        emit::count_filtered(hit.probe);
        return 0;
    }
    if let Some(Scratch { record, .. }) = begin(&mut hit, kind::COROUTINE) {
        record.head.object = code;
        record.head.callable = digest.unwrap_or(0);
        emit::tell(&ctx, &hit);
    }
    0
}

/// The code that is called; a digest of what it is, if it is a coroutine's.
#[inline(always)]
fn called(hit: &Hit, function: u64) -> Result<(u64, Option<u64>), Unreadable> {
    let code = read::pointer(hit.member(function, FUNCTION_CODE))?;
    let flags = read::user::<u32>(code + u64::from(hit.image.code_names) + FLAGS_AFTER_NAMES)?;
    if flags & COROUTINE == 0 {
        return Ok((code, None));
    }
    Ok((code, Some(code::digest_of(hit.image, code)?)))
}

/// Begins a record with a stack and the value of the `request` slot.
#[inline(always)]
fn begin(hit: &mut Hit, kind: u16) -> Option<&'static mut Scratch> {
    let (scratch, state) = emit::begin(hit, kind, Frames::With)?;
    let Scratch { record, ask, .. } = &mut *scratch;
    record.head.values = SLOT_EVENT_VALUES as u8;
    ask.values[VALUE_FOUND] = Wanted::UNSET;
    ask.values[VALUE_CALL_DEFAULT] = Wanted::UNSET;
    ask.values[VALUE_REQUEST] = Wanted::UNSET;
    if state.is_some() {
        vars::want_request(hit, &mut ask.values);
    } else {
        ask.values[VALUE_REQUEST] = Wanted::UNREADABLE;
    }
    Some(scratch)
}
