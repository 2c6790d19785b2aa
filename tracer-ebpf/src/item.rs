//! What is handed over: whether it is work, what it will call, and which context it brings along.

use core::mem::MaybeUninit;

use tracer_common::{
    config::attributes,
    record::{FullRecord, flag, work},
};

use crate::{
    read::{self, Unreadable},
    state::Hit,
};

/// Bytes of a type's name that are compared.
const NAME: usize = 24;
/// `functools.partial` in `functools.partial`: more is not looked through.
const MAX_PARTIALS: u32 = 3;

/// Describes the object that is put into a queue.
#[inline(always)]
pub fn describe(hit: &Hit, item: u64, record: &mut FullRecord) {
    record.head.work = work::DATA;
    record.head.object = item;
    match is_work_item(hit, item) {
        Ok(true) => record.head.work = work::WORK_ITEM,
        Ok(false) => return,
        Err(Unreadable) => {
            record.head.flags |= flag::UNREADABLE;
            return;
        }
    }
    match callable_of(hit, item).and_then(|callable| follow(hit, callable, record)) {
        Ok(()) => {}
        Err(Unreadable) => record.head.flags |= flag::OPAQUE_ITEM,
    }
}

/// Whether it is an executor's: an instance of a class that is written in Python. The name of any other is not even read.
#[inline(always)]
fn is_work_item(hit: &Hit, item: u64) -> Result<bool, Unreadable> {
    // PyTypeObject.tp_flags is at 168, Py_TPFLAGS_HEAPTYPE its bit 9 (Include/object.h).
    let flags = read::pointer(hit.member(read::pointer(hit.member(item, 8))?, 168))?;
    if flags & 1 << 9 == 0 {
        return Ok(false);
    }
    has_type(hit, item, b"_WorkItem")
}

/// The callable: the attribute `fn`, second in `_WorkItem.__init__` (Lib/concurrent/futures/thread.py), from 3.14 on the first item of
/// the tuple `task` in the same place.
#[inline(always)]
fn callable_of(hit: &Hit, item: u64) -> Result<u64, Unreadable> {
    let values = match hit.image.attributes {
        attributes::SPLIT_DICT => {
            // `_WorkItem` has its dictionary at 16; PyDictObject.ma_values 40 is null when the values are among the keys.
            let values = read::pointer(read::pointer(item + 16)? + 40)?;
            if values == 0 {
                return Err(Unreadable);
            }
            values
        }
        attributes::VALUES => {
            let values = read::pointer(item - 32)?;
            if values == 0 {
                return Err(Unreadable);
            }
            values
        }
        attributes::TAGGED_VALUES => {
            let tagged = read::pointer(item - 24)?;
            if tagged & 1 == 0 {
                return Err(Unreadable);
            }
            tagged + 1
        }
        attributes::INLINE_VALUES | attributes::INLINE_TASK => hit.member(item, 24),
        _ => return Err(Unreadable),
    };
    let mut callable = read::pointer(values + 8)?;
    if hit.image.attributes == attributes::INLINE_TASK && callable != 0 {
        callable = read::pointer(callable + u64::from(hit.image.tuple_items))?;
    }
    match callable {
        0 => Err(Unreadable),
        callable => Ok(callable),
    }
}

/// Looks through `functools.partial` for the `run` of a context.
#[inline(always)]
fn follow(hit: &Hit, mut callable: u64, record: &mut FullRecord) -> Result<(), Unreadable> {
    for _ in 0..MAX_PARTIALS {
        // What is usual is known without a look at its name: in a forked process, names are not mapped before the process itself
        // has read them.
        let kind = read::pointer(hit.member(callable, 8))?;
        let usual = kind == hit.address(hit.image.function_type)
            || kind == hit.address(hit.image.method_type)
            || kind == hit.address(hit.image.cfunction_type);
        if usual || !has_type(hit, callable, b"functools.partial")? {
            break;
        }
        // partialobject.fn is at 16 (Modules/_functoolsmodule.c).
        callable = read::pointer(hit.member(callable, 16))?;
    }
    record.head.callable = callable;
    if read::pointer(hit.member(callable, 8))? != hit.address(hit.image.cfunction_type) {
        return Ok(());
    }
    // PyCFunctionObject: m_ml 16, m_self 24 (Include/cpython/methodobject.h).
    let [method, owner] = read::user::<[u64; 2]>(hit.member(callable, 16))?;
    if owner == 0 || read::pointer(hit.member(owner, 8))? != hit.address(hit.image.context_type) {
        return Ok(());
    }
    if method == hit.address(hit.image.context_run) {
        record.head.brings = owner;
    }
    Ok(())
}

/// Whether the object's type has this name, as its `tp_name` says.
#[inline(always)]
fn has_type<const N: usize>(hit: &Hit, object: u64, name: &[u8; N]) -> Result<bool, Unreadable> {
    // PyTypeObject.tp_name is at 24.
    let start = read::pointer(hit.member(read::pointer(hit.member(object, 8))?, 24))?;
    let mut found = MaybeUninit::<[u8; NAME]>::uninit();
    // N + 1 bytes: the terminating zero tells a name from a longer one.
    read::user_into(found.as_mut_ptr(), N as u32 + 1, start)?;
    // SAFETY: nothing beyond those that were read is looked at, and any bytes are a value.
    let found = unsafe { found.assume_init_ref() };
    // One comparison at the end: the verifier would follow every early exit.
    let mut difference = found[N];
    for i in 0..N {
        difference |= found[i] ^ name[i];
    }
    Ok(difference == 0)
}
