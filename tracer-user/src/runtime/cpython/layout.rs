//! Where CPython's structures keep their members: one row per minor version, measured with `offsetof` against the headers of
//! 3.12.1 and 3.13.0 (x86-64, with a GIL). Other versions are supported by adding a row.

use tracer_common::config::{Image, attributes};

/// Offsets in bytes of one minor version. The path in each description is the header, below `Include/`, that declares the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// CPython's minor version.
    pub minor: u32,
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
    /// `PyInterpreterState.ceval.gil` (`internal/pycore_interp.h`).
    pub interp_gil: u64,
    /// `PyInterpreterState.imports.modules` (`internal/pycore_interp.h`).
    pub interp_modules: u64,
    /// `_gil_runtime_state.last_holder` (`internal/pycore_gil.h`).
    pub gil_last_holder: u64,
    /// `PyThreadState.next` (`cpython/pystate.h`).
    pub tstate_next: u64,
    /// `PyThreadState.interp` (`cpython/pystate.h`).
    pub tstate_interp: u64,
    /// `PyThreadState.thread_id` (`cpython/pystate.h`).
    pub tstate_thread_id: u64,
    /// `PyThreadState.native_thread_id` (`cpython/pystate.h`).
    pub tstate_native_thread_id: u64,
    /// `PyThreadState.context` (`cpython/pystate.h`).
    pub tstate_context: u64,
    /// `PyThreadState.cframe` (3.12) or `current_frame` (3.13) (`cpython/pystate.h`).
    pub tstate_frame: u64,
    /// `_PyCFrame.current_frame` (`cpython/pystate.h`), where `tstate_frame` is a `cframe`.
    pub cframe_current: Option<u64>,
    /// `_PyInterpreterFrame.f_code` (3.12) or `f_executable` (3.13) (`internal/pycore_frame.h`).
    pub frame_code: u64,
    /// `_PyInterpreterFrame.previous` (`internal/pycore_frame.h`).
    pub frame_previous: u64,
    /// `_PyInterpreterFrame.prev_instr` (3.12) or `instr_ptr` (3.13) (`internal/pycore_frame.h`).
    pub frame_instr: u64,
    /// `_PyInterpreterFrame.owner` (`internal/pycore_frame.h`).
    pub frame_owner: u64,
    /// `PyCodeObject.co_firstlineno` (`cpython/code.h`).
    pub code_first_line: u64,
    /// `PyCodeObject.co_filename` (`cpython/code.h`).
    pub code_filename: u64,
    /// `PyCodeObject.co_name` (`cpython/code.h`).
    pub code_name: u64,
    /// `PyCodeObject.co_qualname` (`cpython/code.h`).
    pub code_qualname: u64,
    /// `PyCodeObject.co_linetable` (`cpython/code.h`).
    pub code_line_table: u64,
    /// `PyCodeObject.co_code_adaptive` (`cpython/code.h`).
    pub code_adaptive: u64,
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
    /// `PyTypeObject.tp_flags` (`cpython/object.h`).
    pub type_flags: u64,
    /// `PyASCIIObject.length` (`cpython/unicodeobject.h`).
    pub unicode_length: u64,
    /// `PyASCIIObject.state` (`cpython/unicodeobject.h`).
    pub unicode_state: u64,
    /// Size of `PyASCIIObject`: the first character of a compact ASCII `str` (`cpython/unicodeobject.h`).
    pub ascii_data: u64,
    /// Size of `PyCompactUnicodeObject`: the first character of any other compact `str` (`cpython/unicodeobject.h`).
    pub compact_data: u64,
    /// `PyBytesObject.ob_sval` (`cpython/bytesobject.h`).
    pub bytes_data: u64,
    /// `PyLongObject.long_value.lv_tag` (`cpython/longintrepr.h`).
    pub long_tag: u64,
    /// `PyLongObject.long_value.ob_digit` (`cpython/longintrepr.h`).
    pub long_digits: u64,
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
    /// `PyModuleObject.md_dict` (`internal/pycore_moduleobject.h`).
    pub module_dict: u64,
    /// `PyDictObject.ma_keys` (`cpython/dictobject.h`).
    pub dict_keys: u64,
    /// `PyDictObject.ma_values` (`cpython/dictobject.h`).
    pub dict_values: u64,
    /// `PyDictKeysObject.dk_log2_index_bytes` (`internal/pycore_dict.h`).
    pub keys_log2_index_bytes: u64,
    /// `PyDictKeysObject.dk_kind` (`internal/pycore_dict.h`).
    pub keys_kind: u64,
    /// `PyDictKeysObject.dk_nentries` (`internal/pycore_dict.h`).
    pub keys_entries_used: u64,
    /// `PyDictKeysObject.dk_indices` (`internal/pycore_dict.h`).
    pub keys_indices: u64,
    /// `PyDictValues.values` (`internal/pycore_dict.h`).
    pub dict_values_data: u64,
    /// How a `_WorkItem`'s attributes are stored; one of [`attributes`].
    pub attributes: u32,
    /// What the interpreter's own `_Py_DebugOffsets` must say; empty where it has none.
    pub debug_offsets: &'static [DebugOffset],
}

/// One number of `_Py_DebugOffsets` (`internal/pycore_runtime.h`).
#[derive(Clone, Copy, Debug)]
pub struct DebugOffset {
    /// Where it is in that structure.
    pub at: u64,
    /// What it describes.
    pub member: &'static str,
    /// The same in a [`Layout`].
    pub expected: fn(&Layout) -> u64,
}

impl PartialEq for DebugOffset {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.member == other.member
    }
}

impl Eq for DebugOffset {}

impl Layout {
    /// The layout of CPython `3.minor`.
    pub fn of(minor: u32) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.minor == minor)
    }

    /// Fills in what the kernel side needs of it; addresses are left alone.
    pub fn fill(&self, image: &mut Image) {
        image.interp_gil = self.interp_gil as u32;
        image.gil_last_holder = self.gil_last_holder as u32;
        image.tstate_thread_id = self.tstate_thread_id as u32;
        image.tstate_context = self.tstate_context as u32;
        image.tstate_frame = self.tstate_frame as u32;
        image.code_name = self.code_qualname as u32;
        image.code_filename = self.code_filename as u32;
        image.code_line_table = self.code_line_table as u32;
        image.code_first_line = self.code_first_line as u32;
        image.cframe_current = self.cframe_current.map_or(u32::MAX, |offset| offset as u32);
        image.frame_code = self.frame_code as u32;
        image.frame_previous = self.frame_previous as u32;
        image.frame_instr = self.frame_instr as u32;
        image.frame_owner = self.frame_owner as u32;
        image.ascii_data = self.ascii_data as u32;
        image.compact_data = self.compact_data as u32;
        image.attributes = self.attributes;
        image.minor = self.minor;
    }
}

/// All versions that are supported.
pub const LAYOUTS: &[Layout] = &[V3_12, V3_13];

const V3_12: Layout = Layout {
    minor: 12,
    interpreters_head: 40,
    interpreters_main: 48,
    interp_next: 0,
    interp_id: 8,
    interp_threads_head: 72,
    interp_gil: 384,
    interp_modules: 944,
    gil_last_holder: 8,
    tstate_next: 8,
    tstate_interp: 16,
    tstate_thread_id: 136,
    tstate_native_thread_id: 144,
    tstate_context: 208,
    tstate_frame: 56,
    cframe_current: Some(0),
    frame_code: 0,
    frame_previous: 8,
    frame_instr: 56,
    frame_owner: 70,
    code_first_line: 68,
    code_filename: 112,
    code_name: 120,
    code_qualname: 128,
    code_line_table: 136,
    code_adaptive: 192,
    object_type: 8,
    var_size: 16,
    type_name: 24,
    type_basic_size: 32,
    type_dealloc: 48,
    type_flags: 168,
    unicode_length: 16,
    unicode_state: 32,
    ascii_data: 40,
    compact_data: 56,
    bytes_data: 32,
    long_tag: 16,
    long_digits: 24,
    context_vars: 24,
    context_entered: 40,
    context_size: 48,
    contextvar_name: 16,
    contextvar_default: 24,
    contextvar_hash: 56,
    contextvar_size: 64,
    hamt_root: 16,
    hamt_count: 32,
    hamt_bitmap: 24,
    hamt_bitmap_array: 32,
    hamt_array: 16,
    hamt_collision_array: 32,
    module_dict: 16,
    dict_keys: 32,
    dict_values: 40,
    keys_log2_index_bytes: 9,
    keys_kind: 10,
    keys_entries_used: 24,
    keys_indices: 32,
    dict_values_data: 0,
    attributes: attributes::TAGGED_VALUES,
    debug_offsets: &[],
};

const V3_13: Layout = Layout {
    minor: 13,
    interpreters_head: 632,
    interpreters_main: 640,
    interp_next: 7264,
    interp_id: 7272,
    interp_threads_head: 7344,
    interp_gil: 16,
    interp_modules: 7656,
    gil_last_holder: 8,
    tstate_next: 8,
    tstate_interp: 16,
    tstate_thread_id: 152,
    tstate_native_thread_id: 160,
    tstate_context: 208,
    tstate_frame: 72,
    cframe_current: None,
    frame_code: 0,
    frame_previous: 8,
    frame_instr: 56,
    frame_owner: 70,
    code_first_line: 68,
    code_filename: 112,
    code_name: 120,
    code_qualname: 128,
    code_line_table: 136,
    code_adaptive: 200,
    object_type: 8,
    var_size: 16,
    type_name: 24,
    type_basic_size: 32,
    type_dealloc: 48,
    type_flags: 168,
    unicode_length: 16,
    unicode_state: 32,
    ascii_data: 40,
    compact_data: 56,
    bytes_data: 32,
    long_tag: 16,
    long_digits: 24,
    context_vars: 24,
    context_entered: 40,
    context_size: 48,
    contextvar_name: 16,
    contextvar_default: 24,
    contextvar_hash: 56,
    contextvar_size: 64,
    hamt_root: 16,
    hamt_count: 32,
    hamt_bitmap: 24,
    hamt_bitmap_array: 32,
    hamt_array: 16,
    hamt_collision_array: 32,
    module_dict: 16,
    dict_keys: 32,
    dict_values: 40,
    keys_log2_index_bytes: 9,
    keys_kind: 10,
    keys_entries_used: 24,
    keys_indices: 32,
    dict_values_data: 8,
    attributes: attributes::INLINE_VALUES,
    debug_offsets: DEBUG_OFFSETS_3_13,
};

const DEBUG_OFFSETS_3_13: &[DebugOffset] = &[
    DebugOffset {
        at: 40,
        member: "runtime_state.interpreters_head",
        expected: |layout| layout.interpreters_head,
    },
    DebugOffset {
        at: 56,
        member: "interpreter_state.id",
        expected: |layout| layout.interp_id,
    },
    DebugOffset {
        at: 64,
        member: "interpreter_state.next",
        expected: |layout| layout.interp_next,
    },
    DebugOffset {
        at: 72,
        member: "interpreter_state.threads_head",
        expected: |layout| layout.interp_threads_head,
    },
    DebugOffset {
        at: 88,
        member: "interpreter_state.imports_modules",
        expected: |layout| layout.interp_modules,
    },
    DebugOffset {
        at: 112,
        member: "interpreter_state.ceval_gil",
        expected: |layout| layout.interp_gil,
    },
    DebugOffset {
        at: 168,
        member: "thread_state.next",
        expected: |layout| layout.tstate_next,
    },
    DebugOffset {
        at: 176,
        member: "thread_state.interp",
        expected: |layout| layout.tstate_interp,
    },
    DebugOffset {
        at: 184,
        member: "thread_state.current_frame",
        expected: |layout| layout.tstate_frame,
    },
    DebugOffset {
        at: 192,
        member: "thread_state.thread_id",
        expected: |layout| layout.tstate_thread_id,
    },
    DebugOffset {
        at: 200,
        member: "thread_state.native_thread_id",
        expected: |layout| layout.tstate_native_thread_id,
    },
    DebugOffset {
        at: 232,
        member: "interpreter_frame.previous",
        expected: |layout| layout.frame_previous,
    },
    DebugOffset {
        at: 240,
        member: "interpreter_frame.executable",
        expected: |layout| layout.frame_code,
    },
    DebugOffset {
        at: 248,
        member: "interpreter_frame.instr_ptr",
        expected: |layout| layout.frame_instr,
    },
    DebugOffset {
        at: 264,
        member: "interpreter_frame.owner",
        expected: |layout| layout.frame_owner,
    },
    DebugOffset {
        at: 280,
        member: "code_object.filename",
        expected: |layout| layout.code_filename,
    },
    DebugOffset {
        at: 288,
        member: "code_object.name",
        expected: |layout| layout.code_name,
    },
    DebugOffset {
        at: 296,
        member: "code_object.qualname",
        expected: |layout| layout.code_qualname,
    },
    DebugOffset {
        at: 304,
        member: "code_object.linetable",
        expected: |layout| layout.code_line_table,
    },
    DebugOffset {
        at: 312,
        member: "code_object.firstlineno",
        expected: |layout| layout.code_first_line,
    },
    DebugOffset {
        at: 344,
        member: "code_object.co_code_adaptive",
        expected: |layout| layout.code_adaptive,
    },
    DebugOffset {
        at: 360,
        member: "pyobject.ob_type",
        expected: |layout| layout.object_type,
    },
    DebugOffset {
        at: 376,
        member: "type_object.tp_name",
        expected: |layout| layout.type_name,
    },
    DebugOffset {
        at: 392,
        member: "type_object.tp_flags",
        expected: |layout| layout.type_flags,
    },
    DebugOffset {
        at: 456,
        member: "dict_object.ma_keys",
        expected: |layout| layout.dict_keys,
    },
    DebugOffset {
        at: 464,
        member: "dict_object.ma_values",
        expected: |layout| layout.dict_values,
    },
    DebugOffset {
        at: 496,
        member: "long_object.lv_tag",
        expected: |layout| layout.long_tag,
    },
    DebugOffset {
        at: 504,
        member: "long_object.ob_digit",
        expected: |layout| layout.long_digits,
    },
    DebugOffset {
        at: 520,
        member: "bytes_object.ob_size",
        expected: |layout| layout.var_size,
    },
    DebugOffset {
        at: 528,
        member: "bytes_object.ob_sval",
        expected: |layout| layout.bytes_data,
    },
    DebugOffset {
        at: 544,
        member: "unicode_object.state",
        expected: |layout| layout.unicode_state,
    },
    DebugOffset {
        at: 552,
        member: "unicode_object.length",
        expected: |layout| layout.unicode_length,
    },
    DebugOffset {
        at: 560,
        member: "unicode_object.asciiobject_size",
        expected: |layout| layout.ascii_data,
    },
];
