//! What the kernel side says happened: one [`Record`] per event, followed in memory by as many [`RawValue`]s as it announces.

use crate::{
    MAX_CODE_FILE, MAX_CODE_NAME, MAX_CODE_OWNER, MAX_CODE_TABLE, MAX_FRAMES, MAX_SLOTS, MAX_TEXT,
    MAX_USED_NAME, MAX_USED_NAMES, MAX_WIRE,
};

/// Kinds of record. The numbers are the wire format between the two halves of one build.
pub mod kind {
    /// A watched variable was seen for the first time in a target; `object` is the variable, `slot` the number it got, `text` its name,
    /// value 0 its default (unset when it has none).
    pub const VAR: u16 = 1;
    /// `PyContextVar_Get`, or a look-up in a copy of the current context: value 0 is what the current context holds, value 1 the call's default, value 2 the `request` slot;
    /// the last ones are left out when there is no default or no such slot.
    pub const READ: u16 = 2;
    /// `PyContextVar_Set`: value 0 is what is written; value 2 as for [`READ`].
    pub const BIND: u16 = 3;
    /// `PyContextVar_Reset` that will succeed: value 0 is what the slot holds afterwards; value 2 as for [`READ`].
    pub const UNBIND: u16 = 4;
    /// `SimpleQueue.put`: `object` is the item, `queue` the queue; values by slot.
    pub const PUT: u16 = 5;
    /// Entry of `SimpleQueue.get` or `get_nowait`: `queue`; values by slot.
    pub const TAKE_BEGIN: u16 = 6;
    /// Return of the same with an item: `object` is the item (never null); values by slot.
    pub const TAKE_END: u16 = 7;
    /// `_thread.start_new_thread` or `start_joinable_thread`: `callable` is what the thread will run; values by slot.
    pub const THREAD_START: u16 = 8;
    /// `os.urandom`: value 2 as for [`READ`], the others unset.
    pub const RANDOM: u16 = 9;
    /// A reserved variable (`bleedtrace.*`) was set: `slot` is its [`super::marker`], value 0 the payload, value 2 as for [`READ`]; of a
    /// `str` that is longer the others, from [`super::VALUE_REST`] on, are what follows, each with as many bytes as there is room for.
    pub const MARK: u16 = 10;
    /// A context object whose address appeared in an earlier record is being freed: `scope`.
    pub const SCOPE_END: u16 = 11;
    /// A thread of a target was created by `tid`: `child_tgid` equals `tgid`, `child_tid` is the new thread.
    pub const THREAD_CREATED: u16 = 12;
    /// A target forked: `child_tgid` is the new process, already a target.
    pub const FORKED: u16 = 13;
    /// A target, or where every exec is told any process, which is one from then on, replaced its image: `object` and `queue` are
    /// what it is called, 16 bytes. With `flag::HELD` it was stopped and waits for SIGCONT.
    pub const EXECED: u16 = 14;
    /// A thread of a target ended; with `flag::LAST` it was the process's last.
    pub const EXITED: u16 = 15;
    /// An interpreter is about to be initialised in a target: `object` is its load bias, `name` its image.
    pub const INTERPRETER_START: u16 = 16;
    /// A variable that is not watched was seen for the first time: value 0 is its name.
    pub const OTHER_VAR: u16 = 17;
    /// A code object that has not been told before: a [`super::CodeHead`] instead of a record, and its line table.
    pub const CODE: u16 = 18;
    /// A context was copied for a piece of work ([`super::marker::CONTEXT_HANDED`]): `brings` is the copy, `scope` what it was
    /// copied from; values by slot.
    pub const CONTEXT_HANDED: u16 = 19;
    /// Uses are counted, and a variable was used for the first time, or a value of another type than before was bound to it: `object` is
    /// the variable, `queue` its `var_hash`, value 0 its name, value 1 what is bound, if it is bound.
    pub const USED: u16 = 20;
    /// Bytes that were received or are about to be sent: a [`super::WireHead`] instead of a record, and the bytes.
    pub const WIRE: u16 = 21;
    /// Under which context the bytes are sent that the thread's [`WIRE`]s since its last record have told: values by slot.
    pub const SENDING: u16 = 22;
    /// A stream that was told of is closed: a [`super::WireHead`] without bytes.
    pub const WIRE_CLOSED: u16 = 23;
    /// `Task.__init__`: `object` is the task, `scope` whoever creates it.
    pub const TASK_SPAWNED: u16 = 24;
    /// The context of the task that this thread created last, told before the next record of the thread: `object` is the task,
    /// `brings` its context.
    pub const TASK_CONTEXT: u16 = 25;
    /// `Future.set_result`: `object` is the future.
    pub const FUTURE_SET: u16 = 26;
    /// A task is woken by a future that it waited for, in its own context: `object` is the future.
    pub const TASK_WOKEN: u16 = 27;
    /// A coroutine or a generator is made, whose function is not known to mint nothing: `object` is its code, `callable` a digest of what
    /// that is, the innermost frame its own.
    pub const COROUTINE: u16 = 28;
    /// What the thread has told to find in `slot` was found again: `object` is how often since the READ whose time is `queue`.
    pub const AGREED: u16 = 30;
    /// The agent's own function was called: `object` is the number that it was called with.
    pub const SELFTEST: u16 = 29;
}

/// Bits of [`Record::flags`].
pub mod flag {
    /// The interpreter's state could not be read: `scope` and all values mean nothing.
    pub const UNREADABLE: u16 = 1 << 0;
    /// `scope` is inside `Context.run` (`ctx_entered` is not 0), and is not the context that `threading` runs the whole thread in (3.14+).
    pub const ENTERED: u16 = 1 << 1;
    /// The stack goes on beyond the last frame that travelled.
    pub const MORE_FRAMES: u16 = 1 << 2;
    /// A frame could not be read; the stack ends before it.
    pub const TORN_STACK: u16 = 1 << 3;
    /// EXECED: the process is stopped until the agent lets it go on.
    pub const HELD: u16 = 1 << 4;
    /// EXITED: no thread of the process is left.
    pub const LAST: u16 = 1 << 5;
    /// The callable of an item could not be read: what it brings along is unknown.
    pub const OPAQUE_ITEM: u16 = 1 << 6;
    /// READ: the caller passed a default, value 1.
    pub const HAS_DEFAULT: u16 = 1 << 7;
    /// The thread runs another interpreter of the process than the main one: its state is not where it is looked for.
    pub const OTHER_INTERPRETER: u16 = 1 << 8;
    /// READ: it was looked up in a copy of the current context. Nothing is held against it.
    pub const IN_COPY: u16 = 1 << 9;
}

/// What kind of work a PUT hands over ([`Record::work`]).
pub mod work {
    /// An object that is not work: never judged.
    pub const DATA: u8 = 0;
    /// A `concurrent.futures.thread._WorkItem`.
    pub const WORK_ITEM: u8 = 1;
    /// A tuple of as many members as a `multiprocessing.pool.ThreadPool` hands over; the stack tells whether it is one's.
    pub const POOL_TUPLE: u8 = 2;
}

/// Variables that tell something by being set, as `slot` of a MARK.
pub mod marker {
    /// `bleedtrace.task_minted`.
    pub const TASK_MINTED: u8 = 16;
    /// sniffio's variable: anyio sets it to `None` in each context that it copies for a worker thread.
    pub const CONTEXT_HANDED: u8 = 17;
    /// `bleedtrace.task_served`.
    pub const TASK_SERVED: u8 = 18;
    /// `bleedtrace.policy_check`.
    pub const POLICY_CHECK: u8 = 19;
    /// `bleedtrace.digest_pinned`.
    pub const DIGEST_PINNED: u8 = 20;
    /// `bleedtrace.digest_verified`.
    pub const DIGEST_VERIFIED: u8 = 21;
    /// A variable of asgiref's own, which carries contexts over from thread to thread and reads what is in them for that.
    pub const CONTEXT_CARRIED: u8 = 22;
}

/// [`Record::slot`] when the record is about no slot.
pub const NO_SLOT: u8 = 0xff;

/// States of a [`RawValue`].
pub mod found {
    /// The memory could not be read.
    pub const UNREADABLE: u8 = 0;
    /// The context has no binding for the variable.
    pub const UNSET: u8 = 1;
    /// There is an object.
    pub const OBJECT: u8 = 2;
    /// There is an object, and a path that leads on from it, of which a step is not known yet: `object` and `type_object` are what
    /// the step starts from, `len` is its number ([`crate::config::step`]).
    pub const UNRESOLVED: u8 = 3;
}

/// How [`RawValue::text`] is to be read.
pub mod repr {
    /// Some object, known by its address only.
    pub const OPAQUE: u8 = 0;
    /// `None`.
    pub const NONE: u8 = 1;
    /// `str` of one-byte characters (ASCII or Latin-1); `len` counts characters.
    pub const STR1: u8 = 2;
    /// `str` of two-byte characters.
    pub const STR2: u8 = 3;
    /// `str` of four-byte characters.
    pub const STR4: u8 = 4;
    /// `bytes`.
    pub const BYTES: u8 = 5;
    /// Non-negative `int`: little-endian 32-bit digits of 30 bits each; `len` counts digits.
    pub const INT: u8 = 6;
    /// Negative `int`: the same, of the magnitude.
    pub const NEGATIVE_INT: u8 = 7;
}

/// One Python frame, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RawFrame {
    /// Address of the code object.
    pub code: u64,
    /// Distance from there to the instruction pointer (`prev_instr` in 3.11 and 3.12, `instr_ptr` from 3.13), which is inside it. Up to
    /// 3.10 bytecode is elsewhere: how far into it the frame is.
    pub instr: u32,
    /// Low half of the interpreter frame's address: tells two activations of one function apart while both are alive.
    pub frame: u32,
}

/// One value of a variable, as found in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RawValue {
    /// Address of the object.
    pub object: u64,
    /// Address of its type.
    pub type_object: u64,
    /// Characters, bytes or digits, by `repr`; of an opaque object the word where containers count their items.
    pub len: u64,
    /// Address of the object that the variable holds; 0 when that is `object` itself, since no path leads on from it.
    pub root: u64,
    /// One of [`found`].
    pub state: u8,
    /// One of [`repr`].
    pub repr: u8,
    /// Bytes of `text` that are in use.
    pub text_len: u8,
    /// Always 0.
    pub pad: [u8; 5],
    /// The value's first bytes; of an [`repr::OPAQUE`] one its type's name, as far as there is room. The rest is 0.
    pub text: [u8; MAX_TEXT],
}

/// The fixed part of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Record {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Slot that the record is about, a [`marker`], or [`NO_SLOT`].
    pub slot: u8,
    /// [`RawValue`]s that follow.
    pub values: u8,
    /// Frames in use.
    pub frames: u8,
    /// One of [`work`].
    pub work: u8,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Process, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// Thread, likewise.
    pub tid: u32,
    /// Records of this process that could not be sent so far, this one excluded.
    pub lost: u64,
    /// Address of the current context; 0 when the thread has none yet.
    pub scope: u64,
    /// Address of the thread state; 0 when it could not be read.
    pub tstate: u64,
    /// The object of the event; see [`kind`].
    pub object: u64,
    /// Address of the queue.
    pub queue: u64,
    /// Address of the innermost callable of an item or a thread (through `functools.partial`).
    pub callable: u64,
    /// Address of the context that an item runs in (its callable is that context's `run`); 0 when it brings none.
    pub brings: u64,
    /// Process of a new thread or child.
    pub child_tgid: u32,
    /// The new thread.
    pub child_tid: u32,
    /// VAR: length of the variable's name in bytes, which may exceed what `text` holds.
    pub text_len: u32,
    /// VAR: number of the watched name that matched.
    pub name: u32,
    /// The Python stack.
    pub stack: [RawFrame; MAX_FRAMES],
}

/// A record with room for all values that can follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FullRecord {
    /// The fixed part.
    pub head: Record,
    /// Values; `head.values` of them travel.
    pub values: [RawValue; MAX_SLOTS],
}

/// A `str` as it travels with a code object.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RawStr {
    /// Address of the object.
    pub object: u64,
    /// Characters, which may be more than travel.
    pub len: u64,
    /// Bytes of a character: 1, 2 or 4.
    pub width: u32,
    /// Bytes that travel.
    pub bytes: u32,
}

/// A code object. Its line table follows in memory, as many bytes of it as `table_bytes` says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct CodeHead {
    /// [`kind::CODE`].
    pub kind: u16,
    /// Always 0.
    pub pad: u16,
    /// Process.
    pub tgid: u32,
    /// Address of the code object.
    pub code: u64,
    /// `co_qualname`, or `co_name` where there is none.
    pub name: RawStr,
    /// `co_filename`.
    pub file: RawStr,
    /// Address of the `bytes` object that holds the line table.
    pub table: u64,
    /// Its length, which may be more than travels.
    pub table_len: u64,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// Bytes of the table that travel.
    pub table_bytes: u32,
    /// Characters of the name.
    pub name_text: [u8; MAX_CODE_NAME],
    /// Characters of the file's name.
    pub file_text: [u8; MAX_CODE_FILE],
    /// Where there are no qualified names: the name of the type whose method this is, by its `self` or `cls` when it was told. Ends
    /// with a zero; empty when there is no such type, or it was not read.
    pub owner: [u8; MAX_CODE_OWNER],
    /// How many names it refers to (`co_names`), which may be more than travel.
    pub used: u64,
    /// The beginnings of those names, each with a zero that ends it.
    pub used_names: [[u8; MAX_USED_NAME]; MAX_USED_NAMES],
}

/// A code object with room for all of the line table that can follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FullCode {
    /// The fixed part.
    pub head: CodeHead,
    /// The line table.
    pub table: [u8; MAX_CODE_TABLE],
}

/// Bytes of one call that receives or sends. They follow in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct WireHead {
    /// [`kind::WIRE`] or [`kind::WIRE_CLOSED`].
    pub kind: u16,
    /// Bits of [`wire`].
    pub flags: u16,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Which of the streams that had this handle.
    pub generation: u32,
    /// Descriptor, or address of the TLS connection.
    pub handle: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Where in the call's bytes these stand.
    pub offset: u64,
    /// Bytes that the call moved.
    pub total: u64,
    /// Bytes that travel.
    pub bytes: u32,
    /// Always 0.
    pub pad: u32,
}

/// Bits of [`WireHead::flags`].
pub mod wire {
    /// They are sent; else they were received.
    pub const OUT: u16 = 1 << 0;
    /// A TLS connection: `handle` is an address.
    pub const TLS: u16 = 1 << 1;
    /// JSON, a message a line; else HTTP.
    pub const LINES: u16 = 1 << 2;
    /// No more bytes of this call will come.
    pub const LAST: u16 = 1 << 3;
    /// Something on this stream, in this direction, was lost before.
    pub const LOST: u16 = 1 << 4;
    /// The context follows, as a [`super::kind::SENDING`] of this thread.
    pub const CONTEXT: u16 = 1 << 5;
}

/// A [`WireHead`] with room for all bytes that can follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FullWire {
    /// The fixed part.
    pub head: WireHead,
    /// The bytes.
    pub bytes: [u8; MAX_WIRE],
}

/// Index of the value that a READ, BIND or UNBIND is about.
pub const VALUE_FOUND: usize = 0;
/// Index of the default that a READ's caller passed.
pub const VALUE_CALL_DEFAULT: usize = 1;
/// Index of the `request` slot's value.
pub const VALUE_REQUEST: usize = 2;
/// Values that travel at most with a READ, BIND or UNBIND.
pub const SLOT_EVENT_VALUES: usize = 3;
/// Index of the first value of a MARK that holds more of its payload.
pub const VALUE_REST: usize = SLOT_EVENT_VALUES;

const _: () = {
    assert!(size_of::<RawFrame>() == 16);
    assert!(size_of::<RawValue>() == 104);
    assert!(size_of::<Record>() == 96 + 16 * MAX_FRAMES);
    assert!(size_of::<FullRecord>() == size_of::<Record>() + 104 * MAX_SLOTS);
    assert!(SLOT_EVENT_VALUES <= MAX_SLOTS);
    assert!(size_of::<RawStr>() == 24);
    assert!(
        size_of::<CodeHead>()
            == 96 + MAX_CODE_NAME + MAX_CODE_FILE + MAX_CODE_OWNER + MAX_USED_NAME * MAX_USED_NAMES
    );
    assert!(size_of::<WireHead>() == 56);
    assert!(size_of::<FullWire>() == 56 + MAX_WIRE);
    assert!(size_of::<FullCode>() == size_of::<CodeHead>() + MAX_CODE_TABLE);
};
