//! Where CPython's structures keep their members: one row per minor version ([`versions`]), measured with `offsetof` against the
//! headers of a release of each (x86-64). Other versions are supported by adding a row. Free-threaded builds have rows of their own
//! ([`free_threaded`]).

mod free_threaded;
mod versions;

use tracer_common::config::Image;

use free_threaded::FREE_THREADED;
use versions::LAYOUTS;

/// Offsets in bytes of one minor version. The path in each description is the header, below `Include/`, that declares the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// CPython's minor version.
    pub minor: u32,
    /// It is that of builds without a GIL (`Py_GIL_DISABLED`).
    pub free_threaded: bool,
    /// `_PyRuntimeState.interpreters.head` (`internal/pycore_runtime.h`).
    pub interpreters_head: u64,
    /// `_PyRuntimeState.interpreters.main` (`internal/pycore_runtime.h`).
    pub interpreters_main: u64,
    /// `PyInterpreterState.next` (`internal/pycore_interp.h`).
    pub interp_next: u64,
    /// `PyInterpreterState.id` (`internal/pycore_interp.h`).
    pub interp_id: u64,
    /// `PyInterpreterState.threads.head` (`internal/pycore_interp.h`).
    pub interp_threads_head: u64,
    /// `_PyRuntimeState.gilstate.tstate_current` (`internal/pycore_runtime.h`), up to 3.11.
    pub tstate_current: Option<u64>,
    /// `PyInterpreterState.ceval.gil` (`internal/pycore_interp.h`), from 3.12 on; else 0.
    pub interp_gil: u64,
    /// `PyInterpreterState.modules` (up to 3.11) or `imports.modules` (`internal/pycore_interp.h`).
    pub interp_modules: u64,
    /// `_gil_runtime_state.last_holder` (`internal/pycore_gil.h`), from 3.12 on; else 0.
    pub gil_last_holder: u64,
    /// `PyThreadState.next` (`cpython/pystate.h`).
    pub tstate_next: u64,
    /// `PyThreadState.interp` (`cpython/pystate.h`).
    pub tstate_interp: u64,
    /// `PyThreadState.thread_id` (`cpython/pystate.h`).
    pub tstate_thread_id: u64,
    /// `PyThreadState.native_thread_id` (`cpython/pystate.h`), from 3.11 on.
    pub tstate_native_thread_id: Option<u64>,
    /// `PyThreadState.context` (`cpython/pystate.h`).
    pub tstate_context: u64,
    /// `PyThreadState.state` (`cpython/pystate.h`), which says whether its thread is attached; where there is no GIL.
    pub tstate_state: Option<u64>,
    /// `PyThreadState.frame` (up to 3.10), `cframe` (3.11, 3.12) or `current_frame` (from 3.13 on) (`cpython/pystate.h`).
    pub tstate_frame: u64,
    /// `_PyCFrame.current_frame` (`cpython/pystate.h`), where `tstate_frame` is a `cframe`.
    pub cframe_current: Option<u64>,
    /// `PyFrameObject.f_code` (up to 3.10, `cpython/frameobject.h`), `_PyInterpreterFrame.f_code` (3.11, 3.12) or `f_executable`
    /// (`internal/pycore_frame.h`; from 3.14 on `internal/pycore_interpframe_structs.h`, with the low bits in use for a tag).
    pub frame_code: u64,
    /// `PyFrameObject.f_back` or `_PyInterpreterFrame.previous` (as above).
    pub frame_previous: u64,
    /// `PyFrameObject.f_lasti`, `_PyInterpreterFrame.prev_instr` (3.11, 3.12) or `instr_ptr` (as above).
    pub frame_instr: u64,
    /// `PyFrameObject.f_localsplus` (`cpython/frameobject.h`), up to 3.10; else 0.
    pub frame_locals: u64,
    /// Bytes of bytecode that one step of `f_lasti` counts, up to 3.10.
    pub frame_lasti_unit: Option<u32>,
    /// `_PyInterpreterFrame.owner` (as above), from 3.11 on; else 0.
    pub frame_owner: u64,
    /// `PyCodeObject.co_firstlineno` (`cpython/code.h`).
    pub code_first_line: u64,
    /// `PyCodeObject.co_filename` (`cpython/code.h`).
    pub code_filename: u64,
    /// `PyCodeObject.co_name` (`cpython/code.h`).
    pub code_name: u64,
    /// `PyCodeObject.co_qualname` (`cpython/code.h`), from 3.11 on.
    pub code_qualname: Option<u64>,
    /// `PyCodeObject.co_varnames` (`cpython/code.h`), up to 3.10; else 0.
    pub code_varnames: u64,
    /// `PyCodeObject.co_names` (`cpython/code.h`).
    pub code_names: u64,
    /// `PyCodeObject.co_lnotab` (3.8, 3.9) or `co_linetable` (`cpython/code.h`).
    pub code_line_table: u64,
    /// How that table is written.
    pub line_table: LineTable,
    /// `PyCodeObject.co_code_adaptive` (`cpython/code.h`), where instructions begin, from 3.11 on; else 0.
    pub code_adaptive: u64,
    /// The copies of a code object's instructions that threads run, in free-threaded builds from 3.14 on.
    pub code_copies: Option<CodeCopies>,
    /// `PyCode_Type.tp_basicsize` (`Objects/codeobject.c`).
    pub code_size: u64,
    /// `PyObject.ob_type` (`object.h`).
    pub object_type: u64,
    /// `PyVarObject.ob_size` (`object.h`).
    pub var_size: u64,
    /// `PyTypeObject.tp_name` (`cpython/object.h`).
    pub type_name: u64,
    /// `PyTypeObject.tp_basicsize` (`cpython/object.h`).
    pub type_basic_size: u64,
    /// `PyTypeObject.tp_dealloc` (`cpython/object.h`).
    pub type_dealloc: u64,
    /// `PyTypeObject.tp_as_mapping` (`cpython/object.h`).
    pub type_mapping: u64,
    /// `PyTypeObject.tp_flags` (`cpython/object.h`).
    pub type_flags: u64,
    /// `PyTypeObject.tp_members` (`cpython/object.h`).
    pub type_members: u64,
    /// `PyASCIIObject.length` (`cpython/unicodeobject.h`).
    pub unicode_length: u64,
    /// `PyASCIIObject.state` (`cpython/unicodeobject.h`).
    pub unicode_state: u64,
    /// The first bit of `state.kind` (`cpython/unicodeobject.h`); `compact` is 3 bits further on, `ascii` 4.
    pub unicode_kind: u32,
    /// Size of `PyASCIIObject`: the first character of a compact ASCII `str` (`cpython/unicodeobject.h`).
    pub ascii_data: u64,
    /// Size of `PyCompactUnicodeObject`: the first character of any other compact `str` (`cpython/unicodeobject.h`).
    pub compact_data: u64,
    /// `PyBytesObject.ob_sval` (`cpython/bytesobject.h`).
    pub bytes_data: u64,
    /// `PyLongObject.long_value.lv_tag` (`cpython/longintrepr.h`), from 3.12 on; before, `ob_size` has the sign.
    pub long_tag: Option<u64>,
    /// `PyLongObject.ob_digit` or `long_value.ob_digit` (`longintrepr.h`, later `cpython/longintrepr.h`).
    pub long_digits: u64,
    /// `PyTupleObject.ob_item` (`cpython/tupleobject.h`).
    pub tuple_items: u64,
    /// `PyContext.ctx_vars` (`internal/pycore_context.h`).
    pub context_vars: u64,
    /// `PyContext.ctx_entered` (`internal/pycore_context.h`).
    pub context_entered: u64,
    /// Size of `PyContext` (`internal/pycore_context.h`).
    pub context_size: u64,
    /// `PyContextVar.var_name` (`internal/pycore_context.h`).
    pub contextvar_name: u64,
    /// `PyContextVar.var_default` (`internal/pycore_context.h`).
    pub contextvar_default: u64,
    /// `PyContextVar.var_hash` (`internal/pycore_context.h`).
    pub contextvar_hash: u64,
    /// `TaskObj.task_context` (`Modules/_asynciomodule.c`), in builds with a GIL; measured with debuggers and `Task.get_context`.
    pub task_context: u64,
    /// Size of `PyContextVar` (`internal/pycore_context.h`).
    pub contextvar_size: u64,
    /// `PyHamtObject.h_root` (`internal/pycore_hamt.h`).
    pub hamt_root: u64,
    /// `PyHamtObject.h_count` (`internal/pycore_hamt.h`).
    pub hamt_count: u64,
    /// `PyHamtNode_Bitmap.b_bitmap` (`internal/pycore_hamt.h`).
    pub hamt_bitmap: u64,
    /// `PyHamtNode_Bitmap.b_array` (`internal/pycore_hamt.h`).
    pub hamt_bitmap_array: u64,
    /// `PyHamtNode_Array.a_array` (`Python/hamt.c`).
    pub hamt_array: u64,
    /// `PyHamtNode_Collision.c_array` (`Python/hamt.c`).
    pub hamt_collision_array: u64,
    /// `PyModuleObject.md_dict` (`Objects/moduleobject.c`, later `internal/pycore_moduleobject.h`).
    pub module_dict: u64,
    /// `PyDictObject.ma_keys` (`cpython/dictobject.h`).
    pub dict_keys: u64,
    /// `PyDictObject.ma_values` (`cpython/dictobject.h`).
    pub dict_values: u64,
    /// Bytes before an object where the pointer to its dictionary is: `-MANAGED_DICT_OFFSET` (`internal/pycore_object.h`), from 3.12 on.
    pub managed_dict: u64,
    /// What tells how wide a dictionary's indices and entries are.
    pub keys_form: KeysForm,
    /// `PyDictKeysObject.dk_nentries` (`Objects/dict-common.h`, later `internal/pycore_dict.h`).
    pub keys_entries_used: u64,
    /// `PyDictKeysObject.dk_indices` (as above).
    pub keys_indices: u64,
    /// `PyDictValues.values` (`internal/pycore_dict.h`); 0 where `ma_values` is a plain array.
    pub dict_values_data: u64,
    /// How a `_WorkItem`'s attributes are stored; one of [`attributes`].
    pub attributes: u32,
    /// Where `_Py_DebugOffsets` has the numbers of [`DEBUG_MEMBERS`], in that order; empty where there is no such structure.
    debug_offsets: &'static [u64],
}

/// How a code object's line table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTable {
    /// `co_lnotab` of 3.8 and 3.9 (`Objects/lnotab_notes.txt`).
    Increments,
    /// `co_linetable` of 3.10 (`Objects/lnotab_notes.txt`).
    Ranges,
    /// `co_linetable` from 3.11 on (`Objects/locations.md`).
    Locations,
}

/// Where the copies of a code object's instructions are, and which of them a frame runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeCopies {
    /// `PyCodeObject.co_tlbc` (`cpython/code.h`).
    pub code: u64,
    /// `_PyCodeArray.entries` (`cpython/code.h`); its size comes first.
    pub entries: u64,
    /// `_PyInterpreterFrame.tlbc_index` (`internal/pycore_interpframe_structs.h`).
    pub frame: u64,
}

/// What `PyDictKeysObject` says of the shape of its indices and entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysForm {
    /// Up to 3.10: `dk_size` at this offset, from which the width of an index follows (`Objects/dict-common.h`).
    Size(u64),
    /// From 3.11 on (`internal/pycore_dict.h`).
    Log2 {
        /// `dk_log2_index_bytes`.
        index_bytes: u64,
        /// `dk_kind`.
        kind: u64,
    },
}

/// One number of `_Py_DebugOffsets` (`internal/pycore_runtime.h`, from 3.14 on `internal/pycore_debug_offsets.h`).
#[derive(Clone, Copy, Debug)]
pub struct DebugOffset {
    /// Where it is in that structure.
    pub at: u64,
    /// What it describes.
    pub member: &'static str,
    /// What it must be.
    pub expected: u64,
}

/// `PyObject.ob_type` in every build with a GIL (`object.h`).
const OBJECT_TYPE: u64 = 8;

impl Layout {
    /// The layout of CPython `3.minor`.
    pub fn of(minor: u32, free_threaded: bool) -> Option<&'static Self> {
        let known = if free_threaded { FREE_THREADED } else { LAYOUTS };
        known.iter().find(|layout| layout.minor == minor)
    }

    /// Where a member of an object is that builds with a GIL have at `at`: a `PyObject` without one is longer.
    pub const fn member(&self, at: u64) -> u64 {
        at + self.longer()
    }

    /// Bytes by which a `PyObject` is longer than with a GIL.
    const fn longer(&self) -> u64 {
        self.object_type - OBJECT_TYPE
    }

    /// Fills in what the kernel side needs of it; addresses are left alone.
    pub fn fill(&self, image: &mut Image) {
        image.lasti_unit = self.frame_lasti_unit.unwrap_or(0);
        image.frame_locals = self.frame_locals as u32;
        image.code_varnames = self.code_varnames as u32;
        image.tuple_items = self.tuple_items as u32;
        image.interp_gil = self.interp_gil as u32;
        image.gil_last_holder = self.gil_last_holder as u32;
        image.tstate_thread_id = self.tstate_thread_id as u32;
        image.tstate_context = self.tstate_context as u32;
        image.tstate_frame = self.tstate_frame as u32;
        image.code_name = self.code_qualname.unwrap_or(self.code_name) as u32;
        image.code_filename = self.code_filename as u32;
        image.code_line_table = self.code_line_table as u32;
        image.code_names = self.code_names as u32;
        image.code_first_line = self.code_first_line as u32;
        image.cframe_current = self.cframe_current.map_or(u32::MAX, |offset| offset as u32);
        image.frame_code = self.frame_code as u32;
        image.frame_instr = self.frame_instr as u32;
        image.frame_owner = self.frame_owner as u32;
        image.ascii_data = self.ascii_data as u32;
        image.compact_data = self.compact_data as u32;
        image.attributes = self.attributes;
        image.minor = self.minor;
        image.longer = self.longer() as u32;
        image.contextvar_hash = self.contextvar_hash as u32;
        image.task_context = self.task_context as u32;
        image.unicode_kind = self.unicode_kind;
        image.managed_dict = self.managed_dict as u32;
        image.tstate_state = self.tstate_state.unwrap_or(0) as u32;
        image.tstate_next = self.tstate_next as u32;
        image.interp_threads = self.interp_threads_head as u32;
        if let Some(copies) = self.code_copies {
            image.code_adaptive = self.code_adaptive as u32;
            image.code_copies = copies.code as u32;
            image.frame_copy = copies.frame as u32;
        }
    }

    /// What the interpreter's own `_Py_DebugOffsets` must say; nothing where it has none.
    pub fn debug_offsets(&'static self) -> impl Iterator<Item = DebugOffset> {
        let described = self.debug_offsets.iter().zip(DEBUG_MEMBERS);
        described.map(|(at, (member, expected))| DebugOffset {
            at: *at,
            member,
            expected: expected(self),
        })
    }
}

type Expected = fn(&Layout) -> u64;

/// What `_Py_DebugOffsets` describes that a [`Layout`] describes, too.
#[rustfmt::skip]
const DEBUG_MEMBERS: [(&str, Expected); 34] = [
    ("runtime_state.interpreters_head", |l| l.interpreters_head),
    ("interpreter_state.id", |l| l.interp_id),
    ("interpreter_state.next", |l| l.interp_next),
    ("interpreter_state.threads_head", |l| l.interp_threads_head),
    ("interpreter_state.imports_modules", |l| l.interp_modules),
    ("interpreter_state.ceval_gil", |l| l.interp_gil),
    ("thread_state.next", |l| l.tstate_next),
    ("thread_state.interp", |l| l.tstate_interp),
    ("thread_state.current_frame", |l| l.tstate_frame),
    ("thread_state.thread_id", |l| l.tstate_thread_id),
    ("thread_state.native_thread_id", |l| l.tstate_native_thread_id.unwrap_or_default()),
    ("interpreter_frame.previous", |l| l.frame_previous),
    ("interpreter_frame.executable", |l| l.frame_code),
    ("interpreter_frame.instr_ptr", |l| l.frame_instr),
    ("interpreter_frame.owner", |l| l.frame_owner),
    ("code_object.filename", |l| l.code_filename),
    ("code_object.name", |l| l.code_name),
    ("code_object.qualname", |l| l.code_qualname.unwrap_or_default()),
    ("code_object.linetable", |l| l.code_line_table),
    ("code_object.firstlineno", |l| l.code_first_line),
    ("code_object.co_code_adaptive", |l| l.code_adaptive),
    ("pyobject.ob_type", |l| l.object_type),
    ("type_object.tp_name", |l| l.type_name),
    ("type_object.tp_flags", |l| l.type_flags),
    ("dict_object.ma_keys", |l| l.dict_keys),
    ("dict_object.ma_values", |l| l.dict_values),
    ("long_object.lv_tag", |l| l.long_tag.unwrap_or_default()),
    ("long_object.ob_digit", |l| l.long_digits),
    ("bytes_object.ob_size", |l| l.var_size),
    ("bytes_object.ob_sval", |l| l.bytes_data),
    ("unicode_object.state", |l| l.unicode_state),
    ("unicode_object.length", |l| l.unicode_length),
    ("unicode_object.asciiobject_size", |l| l.ascii_data),
    ("tuple_object.ob_item", |l| l.tuple_items),
];
