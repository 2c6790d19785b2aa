//! What the agent tells the kernel side: which processes, which interpreter images, which variables, where the probes sit.

use crate::{MAX_NAME, MAX_SLOTS};

/// Offsets and distances inside one interpreter image. Addresses are link-time virtual addresses; the load bias is added per process.
///
/// Layout facts come from the tables of the agent's `runtime::cpython::layout`, one per CPython minor version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Image {
    /// Address of a pointer to the current thread state, when it is a constant of the image (up to 3.11); else 0.
    pub tstate_current: u64,
    /// Address of the pointer to the main interpreter (`_PyRuntime.interpreters.main`), from 3.12 on.
    pub interpreter_main: u64,
    /// `_Py_NoneStruct`.
    pub none: u64,
    /// `PyUnicode_Type`.
    pub str_type: u64,
    /// `PyLong_Type`.
    pub int_type: u64,
    /// `PyBytes_Type`.
    pub bytes_type: u64,
    /// `PyByteArray_Type`.
    pub bytearray_type: u64,
    /// `PyMemoryView_Type`.
    pub memoryview_type: u64,
    /// `PyContext_Type`.
    pub context_type: u64,
    /// `PyCFunction_Type`.
    pub cfunction_type: u64,
    /// `PyFunction_Type`.
    pub function_type: u64,
    /// `PyTuple_Type`.
    pub tuple_type: u64,
    /// `PyMethod_Type`.
    pub method_type: u64,
    /// The `PyMethodDef` of `Context.run`.
    pub context_run: u64,
    /// `_PyHamt_BitmapNode_Type`.
    pub hamt_bitmap_type: u64,
    /// `_PyHamt_ArrayNode_Type`.
    pub hamt_array_type: u64,
    /// `_PyHamt_CollisionNode_Type`.
    pub hamt_collision_type: u64,
    /// `PyInterpreterState.ceval.gil` (a pointer), from 3.12 on.
    pub interp_gil: u32,
    /// `_gil_runtime_state.last_holder`, from 3.12 on.
    pub gil_last_holder: u32,
    /// `PyThreadState.thread_id`.
    pub tstate_thread_id: u32,
    /// `PyThreadState.context`.
    pub tstate_context: u32,
    /// `PyThreadState.frame` (up to 3.10), `cframe` (3.11, 3.12) or `current_frame` (3.13+).
    pub tstate_frame: u32,
    /// `_PyCFrame.current_frame` when `tstate_frame` is a `cframe`; else `u32::MAX`.
    pub cframe_current: u32,
    /// `PyFrameObject.f_code` (up to 3.10) or `_PyInterpreterFrame`: the code object.
    pub frame_code: u32,
    /// `PyFrameObject.f_lasti` or `_PyInterpreterFrame.prev_instr` or `instr_ptr`.
    pub frame_instr: u32,
    /// `_PyInterpreterFrame.owner`, from 3.11 on.
    pub frame_owner: u32,
    /// Bytes of bytecode that one step of `f_lasti` counts, where frames are objects (up to 3.10); else 0.
    pub lasti_unit: u32,
    /// `PyFrameObject.f_localsplus`, where frames are objects.
    pub frame_locals: u32,
    /// `PyCodeObject.co_varnames`, where frames are objects.
    pub code_varnames: u32,
    /// First item of a tuple.
    pub tuple_items: u32,
    /// `PyCodeObject.co_qualname`, or `co_name` where there is none.
    pub code_name: u32,
    /// `PyCodeObject.co_filename`.
    pub code_filename: u32,
    /// `PyCodeObject.co_linetable` or `co_lnotab`.
    pub code_line_table: u32,
    /// `PyCodeObject.co_names`.
    pub code_names: u32,
    /// `PyCodeObject.co_firstlineno`.
    pub code_first_line: u32,
    /// First character of a compact ASCII `str`.
    pub ascii_data: u32,
    /// First character of a compact non-ASCII `str`.
    pub compact_data: u32,
    /// How a `_WorkItem`'s attributes are stored; one of [`attributes`].
    pub attributes: u32,
    /// CPython's minor version (12 for 3.12).
    pub minor: u32,
    /// Bytes by which a `PyObject` is longer than in builds with a GIL: what follows it is that much further on.
    pub longer: u32,
    /// `PyContextVar.var_hash`.
    pub contextvar_hash: u32,
    /// The first bit of `kind` in `PyASCIIObject.state`; `compact` is 3 bits further on, `ascii` 4.
    pub unicode_kind: u32,
    /// Bytes before an object where the pointer to its dictionary is, from 3.12 on where the interpreter manages that.
    pub managed_dict: u32,
    /// `PyThreadState.state` where there is no GIL; else 0.
    pub tstate_state: u32,
    /// `PyThreadState.next`.
    pub tstate_next: u32,
    /// `PyInterpreterState.threads.head`.
    pub interp_threads: u32,
    /// `PyCodeObject.co_code_adaptive`, where threads run copies of a code object's instructions.
    pub code_adaptive: u32,
    /// `PyCodeObject.co_tlbc`, the array of those copies; 0 where there are none.
    pub code_copies: u32,
    /// `_PyInterpreterFrame.tlbc_index`: which of them a frame runs.
    pub frame_copy: u32,
    /// `TaskObj.task_context`.
    pub task_context: u32,
    /// Always 0.
    pub pad: u32,
}

/// How instances of ordinary Python classes keep their attributes ([`Image::attributes`]).
pub mod attributes {
    /// 3.8 to 3.10: a dictionary whose values are an array of their own.
    pub const SPLIT_DICT: u32 = 3;
    /// 3.11: a pointer to an array of values 32 bytes before the object.
    pub const VALUES: u32 = 4;
    /// 3.12: a tagged pointer 24 bytes before the object; odd means an array of values one byte further on.
    pub const TAGGED_VALUES: u32 = 1;
    /// 3.13: inline, 8 bytes after the type's basic size.
    pub const INLINE_VALUES: u32 = 2;
    /// 3.14+: the same; the callable is the first item of the tuple that comes second.
    pub const INLINE_TASK: u32 = 5;
}

/// A watched variable that was found in a target.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct SlotVar {
    /// Address of the ContextVar; 0 when the slot is free.
    pub var: u64,
    /// Its `var_hash`.
    pub hash: u64,
    /// Number of the watched name.
    pub name: u32,
    /// Steps of the path into its value.
    pub steps: u32,
    /// Bits of [`name_flag`].
    pub flags: u32,
    /// Always 0.
    pub pad: u32,
}

/// One traced process, keyed by its tgid.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Target {
    /// Load bias of the image: what is added to a link-time address.
    pub bias: u64,
    /// Address of the pointer to the current thread state; found on the first hit, 0 before.
    pub tstate_slot: u64,
    /// Records that could not be sent so far.
    pub lost: u64,
    /// Counts whatever is told of the process, and whatever is lost of it: as long as it stays, nothing was.
    pub turn: u64,
    /// Index of the image; [`NO_IMAGE`] until an interpreter is known.
    pub image: u32,
    /// Number of the set of names that is watched in this process.
    pub names: u32,
    /// Bits of [`target_flag`].
    pub flags: u32,
    /// Slot whose name has the role `request`, as found so far; else `u32::MAX`.
    pub request_slot: u32,
    /// The variables found so far.
    pub slots: [SlotVar; MAX_SLOTS],
    /// The extension module that was hit last, as one word: its load bias 16 bits up, and its [`Point::file`]; 0 before one was hit.
    pub module: u64,
}

/// [`Target::image`] before an interpreter is known.
pub const NO_IMAGE: u32 = u32::MAX;

/// Bits of [`Target::flags`].
pub mod target_flag {
    /// Stop the process and its descendants at exec until the agent lets them go on.
    pub const HOLD_AT_EXEC: u32 = 1 << 0;
    /// Read what the process receives and sends.
    pub const WIRE: u32 = 1 << 1;
    /// Follow its asyncio tasks.
    pub const TASKS: u32 = 1 << 2;
    /// Pass over what it reads: its files are armed for the reads of another process.
    pub const NO_READS: u32 = 1 << 3;
    /// Tell every read of it: it matters where each is made. The kernel side sets it.
    pub const EVERY_READ: u32 = 1 << 4;
}

/// Key of the names map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct NameKey {
    /// The set that the name belongs to.
    pub set: u32,
    /// Its whole length in bytes.
    pub len: u32,
    /// Its first bytes; the rest is 0.
    pub bytes: [u8; MAX_NAME],
}

/// Value of the names map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Name {
    /// Number of the name within its set.
    pub number: u32,
    /// Bits of [`name_flag`].
    pub flags: u32,
    /// Steps of the path into its value; 0 when the value itself is meant.
    pub steps: u32,
    /// A [`crate::record::marker`] when the name is a reserved one, else 0.
    pub marker: u32,
}

/// Bits of [`Name::flags`].
pub mod name_flag {
    /// Its role is `request`.
    pub const REQUEST: u32 = 1 << 0;
    /// Its role is `identity`.
    pub const IDENTITY: u32 = 1 << 1;
    /// What it holds says by itself whether that counts as nothing: no path leads on from it, and no value was named that does.
    pub const PLAIN: u32 = 1 << 2;
}

/// Key of the recipes map: one step of a path, taken from an object of one type.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RecipeKey {
    /// Address of the type.
    pub type_object: u64,
    /// Process.
    pub tgid: u32,
    /// The step: see [`step`].
    pub step: u32,
}

/// The number of a step: the watched name's number and the step's place in its path.
pub const fn step(name: u32, at: u32) -> u32 {
    name << 8 | at
}

/// How to take one step of a path from an object of one type.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Recipe {
    /// `tp_name` of the type, a pointer: another one means that the type's address was reused.
    pub tp_name: u64,
    /// `tp_basicsize`, likewise.
    pub basic_size: u64,
    /// Hash of the attribute's name, as this process makes it.
    pub hash: u64,
    /// The class attribute that stands in where the object has none; 0 when there is none.
    pub fallback: u64,
    /// `tp_version_tag` that `fallback` belongs to.
    pub version: u64,
    /// Address of the keys that the type's objects share; 0 when they do not.
    pub keys: u64,
    /// Entries of `keys`, when the name was not among them.
    pub entries: u64,
    /// Where in the object the value, the values or the dictionary is; may be negative.
    pub offset: i64,
    /// Index of the value among values, or of a tuple's item; [`NO_INDEX`] when the name is not among `keys`.
    pub index: u32,
    /// One of [`recipe`].
    pub kind: u32,
    /// Characters of the name.
    pub len: u32,
    /// Bits of [`recipe_flag`].
    pub flags: u32,
}

/// [`Recipe::index`] of a name that objects of the type have not had so far.
pub const NO_INDEX: u32 = u32::MAX;

/// Kinds of [`Recipe`].
pub mod recipe {
    /// The step cannot be taken without running code of the target, or is not understood.
    pub const IMPOSSIBLE: u32 = 0;
    /// A pointer in the object (`__slots__`).
    pub const FIELD: u32 = 1;
    /// An item of a tuple.
    pub const ITEM: u32 = 2;
    /// The object is a dictionary.
    pub const MAPPING: u32 = 3;
    /// The object points to its dictionary.
    pub const DICT: u32 = 4;
    /// 3.11: a pointer to values; where it is null, the next word points to a dictionary.
    pub const VALUES: u32 = 5;
    /// 3.12: a tagged pointer: odd means values one byte further on, else it points to a dictionary.
    pub const TAGGED: u32 = 6;
    /// 3.13+: values in the object, which say whether they are in force; where not, a dictionary before the object ([`Image::managed_dict`]).
    pub const INLINE: u32 = 7;
    /// The class attribute only.
    pub const CLASS: u32 = 8;
}

/// Bits of [`Recipe::flags`].
pub mod recipe_flag {
    /// Dictionaries are those of 3.10 and before.
    pub const OLD_KEYS: u32 = 1 << 0;
    /// A split dictionary's values begin 8 bytes further on (3.13+).
    pub const VALUES_HEADER: u32 = 1 << 1;
    /// Where the object has no such attribute, code of the target makes one.
    pub const COMPUTED: u32 = 1 << 2;
}

/// Key of the variables map: what is known about a ContextVar's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct VarKey {
    /// Address of the ContextVar.
    pub var: u64,
    /// Process.
    pub tgid: u32,
    /// Always 0.
    pub pad: u32,
}

/// Value of the variables map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Var {
    /// `var_hash` when it was looked at: another one means that the address was reused.
    pub hash: u64,
    /// Its slot, a marker, or [`crate::record::NO_SLOT`] when it is not watched; [`LOOKING`] while a thread finds that out.
    pub slot: u32,
    /// Always 0.
    pub pad: u32,
}

/// [`Var::slot`] of a variable that another thread is looking at for the first time.
pub const LOOKING: u32 = u32::MAX;

/// Key of the codes map: a code object that was told.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct CodeKey {
    /// Address of the code object.
    pub code: u64,
    /// Process.
    pub tgid: u32,
    /// Always 0.
    pub pad: u32,
}

/// Key of the map of uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct UseKey {
    /// Address of the ContextVar.
    pub var: u64,
    /// Its `var_hash`: another variable at the same address has another one.
    pub hash: u64,
    /// Process.
    pub tgid: u32,
    /// Always 0.
    pub pad: u32,
}

/// How often a ContextVar was used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Uses {
    /// Calls of `get`.
    pub reads: u64,
    /// Calls of `set`.
    pub binds: u64,
    /// Type of the value that was bound last, `None` aside.
    pub type_object: u64,
    /// How often that changed, as far as it is told.
    pub types: u64,
}

/// Key of the scopes map: a context object that a record has named.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ScopeKey {
    /// Address of the context object.
    pub scope: u64,
    /// Process.
    pub tgid: u32,
    /// Always 0.
    pub pad: u32,
}

/// One probe point; the attach cookie is its index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Point {
    /// Link-time address of the probed instruction.
    pub vaddr: u64,
    /// Image that it belongs to, or [`NO_IMAGE`] for a point in an extension module.
    pub image: u32,
    /// Convention of a method's arguments; one of [`arguments`].
    pub arguments: u32,
    /// Number of the file that was armed, from 1.
    pub file: u32,
    /// Of a point of the wire: what is tapped there, one of [`tap`]; else 0.
    pub tap: u32,
}

/// What a point of the wire taps: whose bytes they are, and where its arguments are.
pub mod tap {
    /// A method of an object that begins with its descriptor: `_socket.socket`, `_io.FileIO`. The data or the buffer is its first argument.
    pub const OBJECT: u32 = 1;
    /// A method of `_ssl._SSLSocket`, by whose address the connection is known. The data is its first argument, the buffer its second.
    pub const TLS: u32 = 2;
    /// A function whose first argument is a descriptor, the data its second: `posix.read`, `posix.write`.
    pub const DESCRIPTOR: u32 = 3;
    /// A method like [`OBJECT`] that sends bytes which are not looked for.
    pub const UNTOLD: u32 = 4;
    /// A function like [`DESCRIPTOR`] that sends bytes which are not looked for.
    pub const UNTOLD_DESCRIPTOR: u32 = 5;
    /// It returns a tuple that begins with a new descriptor: `_socket.socket._accept`.
    pub const ACCEPT: u32 = 6;
    /// `write(fd, data, length)` of the C library.
    pub const C_SEND: u32 = 7;
    /// `writev(fd, vector, count)`.
    pub const C_VECTOR: u32 = 8;
    /// `sendmsg(fd, message, flags)`.
    pub const C_MESSAGE: u32 = 9;
    /// `read(fd, buffer, length)`, which returns how many bytes it read.
    pub const C_RECEIVE: u32 = 10;
    /// `accept4`, which returns a new descriptor.
    pub const C_ACCEPT: u32 = 11;
    /// `syscall(number, ...)`: of interest is `close`.
    pub const C_SYSCALL: u32 = 12;
    /// A method like [`OBJECT`] whose first argument is a sequence of data: `socket.sendmsg`.
    pub const PARTS: u32 = 13;
    /// A function like [`DESCRIPTOR`] whose second argument is a sequence of data: `posix.writev`.
    pub const DESCRIPTOR_PARTS: u32 = 14;
    /// A method like [`OBJECT`] that receives bytes which are not looked for.
    pub const UNTOLD_IN: u32 = 15;
    /// A function like [`DESCRIPTOR`] that receives bytes which are not looked for.
    pub const UNTOLD_DESCRIPTOR_IN: u32 = 16;
}

/// Key of the map of streams.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct WireKey {
    /// Descriptor, or address of the TLS connection.
    pub handle: u64,
    /// Process.
    pub tgid: u32,
    /// 1 for a TLS connection.
    pub tls: u32,
}

/// What is known of a stream that began like a message.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct WireState {
    /// Tells it from earlier streams of this handle.
    pub generation: u32,
    /// Bits of [`wire_flag`].
    pub flags: u32,
}

/// Bits of [`WireState::flags`].
pub mod wire_flag {
    /// Something that was received was not told.
    pub const LOST_IN: u32 = 1 << 0;
    /// Something that was sent was not told.
    pub const LOST_OUT: u32 = 1 << 1;
    /// The process asks here: nothing is told.
    pub const CLIENT: u32 = 1 << 2;
    /// It carries JSON, a message a line.
    pub const LINES: u32 = 1 << 3;
}

/// Where a method finds its first argument, by its `ml_flags` (CPython `Include/methodobject.h`).
pub mod arguments {
    /// `METH_NOARGS`, or not a method.
    pub const NONE: u32 = 0;
    /// `METH_O`: the second register.
    pub const OBJECT: u32 = 1;
    /// `METH_FASTCALL`, with or without keywords: an array in the second register.
    pub const FAST: u32 = 2;
    /// `METH_METHOD | METH_FASTCALL | METH_KEYWORDS`: an array in the third register.
    pub const METHOD_FAST: u32 = 3;
    /// `METH_VARARGS`, with or without keywords: a tuple in the second register.
    pub const TUPLE: u32 = 4;
}

/// Values of the object's `.rodata`, set at load.
pub mod global {
    /// `u32`: pending bytes at which the agent is woken, a power of two.
    pub const WAKE_AT: &str = "WAKE_AT";
    /// `u32`: 1 when paths lead on from the values of some variables. Otherwise the verifier leaves out what follows them.
    pub const PATHS: &str = "PATHS";
    /// `u32`: 1 when the uses of all variables are counted.
    pub const COUNT_USES: &str = "COUNT_USES";
    /// `u32`: 1 when it is wanted where things are put into queues that are no work.
    pub const INVENTORY: &str = "INVENTORY";
    /// `u32`: 1 when asyncio tasks of some processes are followed.
    pub const TASKS: &str = "TASKS";
    /// `u32`: 1 when every exec on the machine is told.
    pub const EVERYONE: &str = "EVERYONE";
    /// `u32`: offset of `thread.fsbase` in `task_struct`, from the kernel's BTF.
    pub const FSBASE_OFFSET: &str = "FSBASE_OFFSET";
    /// `u32`: offset of `pid` in `task_struct`.
    pub const PID_OFFSET: &str = "PID_OFFSET";
    /// `u32`: offset of `tgid` in `task_struct`.
    pub const TGID_OFFSET: &str = "TGID_OFFSET";
    /// `u32`: offset of `signal` in `task_struct`.
    pub const SIGNAL_OFFSET: &str = "SIGNAL_OFFSET";
    /// `u32`: offset of `live` in `signal_struct`.
    pub const LIVE_OFFSET: &str = "LIVE_OFFSET";
    /// `u32`: inode of the PID namespace that the agent's `/proc` shows; 0 for the initial one, where the others do not matter.
    pub const NAMESPACE: &str = "NAMESPACE";
    /// `u32`: offset of `thread_pid` in `task_struct`.
    pub const THREAD_PID_OFFSET: &str = "THREAD_PID_OFFSET";
    /// `u32`: offset of `group_leader` in `task_struct`.
    pub const GROUP_LEADER_OFFSET: &str = "GROUP_LEADER_OFFSET";
    /// `u32`: offset of `level` in `pid`.
    pub const PID_LEVEL_OFFSET: &str = "PID_LEVEL_OFFSET";
    /// `u32`: offset of `numbers` in `pid`.
    pub const PID_NUMBERS_OFFSET: &str = "PID_NUMBERS_OFFSET";
    /// `u32`: offset of `ns.inum` in `pid_namespace`.
    pub const NAMESPACE_INUM_OFFSET: &str = "NAMESPACE_INUM_OFFSET";
}

const _: () = {
    assert!(size_of::<Image>() == 136 + 34 * 4);
    assert!(size_of::<SlotVar>() == 32);
    assert!(size_of::<Target>() == 56 + 32 * MAX_SLOTS);
    assert!(size_of::<NameKey>() == 64);
    assert!(size_of::<Name>() == 16);
    assert!(size_of::<RecipeKey>() == 16);
    assert!(size_of::<Recipe>() == 80);
    assert!(size_of::<VarKey>() == 16);
    assert!(size_of::<Var>() == 16);
    assert!(size_of::<CodeKey>() == 16);
    assert!(size_of::<UseKey>() == 24);
    assert!(size_of::<Uses>() == 32);
    assert!(size_of::<ScopeKey>() == 16);
    assert!(size_of::<Point>() == 24);
    assert!(size_of::<WireKey>() == 16);
    assert!(size_of::<WireState>() == 8);
};
