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
    read,
    state::Hit,
    vars,
};

/// `PyFunctionObject.func_code` (Include/cpython/funcobject.h, 3.11 to 3.15).
const FUNCTION_CODE: u64 = 48;

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
    let called = read::pointer(hit.member(function, FUNCTION_CODE))
        .and_then(|code| Ok((code, code::digest_of(hit.image, code)?)));
    let Ok((code, digest)) = called else {
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
    if unsafe { MINTS_NOTHING.get(key) }.copied() == Some(digest) {
        emit::count_filtered(hit.probe);
        return 0;
    }
    if let Some(Scratch { record, .. }) = begin(&mut hit, kind::COROUTINE) {
        record.head.object = code;
        record.head.callable = digest;
        emit::tell(&ctx, &hit);
    }
    0
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
