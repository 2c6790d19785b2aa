//! The rows themselves.
//!
//! What `offsetof` cannot reach, because no installed header declares it, is from the sources: `PyDictKeysObject` and
//! `PyModuleObject` of 3.8 to 3.10, the nodes of the hash trie.

use tracer_common::config::attributes;

use super::{KeysForm, Layout, LineTable};

/// All versions that are supported.
pub const LAYOUTS: &[Layout] = &[V3_8, V3_9, V3_10, V3_11, V3_12, V3_13, V3_14, V3_15];

/// Measured on 3.8.18.
const V3_8: Layout = Layout {
    minor: 8,
    task_context: 128,
    free_threaded: false,
    interpreters_head: 32,
    interpreters_main: 40,
    interp_next: 0,
    interp_id: 16,
    interp_threads_head: 8,
    tstate_current: Some(1368),
    interp_gil: 0,
    interp_modules: 56,
    gil_last_holder: 0,
    tstate_next: 8,
    tstate_interp: 16,
    tstate_thread_id: 176,
    tstate_native_thread_id: None,
    tstate_context: 240,
    tstate_state: None,
    tstate_frame: 24,
    cframe_current: None,
    frame_code: 32,
    frame_previous: 24,
    frame_instr: 104,
    frame_locals: 360,
    frame_lasti_unit: Some(1),
    frame_owner: 0,
    code_first_line: 40,
    code_filename: 104,
    code_name: 112,
    code_qualname: None,
    code_varnames: 72,
    code_names: 64,
    code_line_table: 120,
    line_table: LineTable::Increments,
    code_adaptive: 0,
    code_copies: None,
    code_size: 176,
    object_type: 8,
    var_size: 16,
    type_name: 24,
    type_basic_size: 32,
    type_dealloc: 48,
    type_mapping: 112,
    type_flags: 168,
    type_members: 240,
    unicode_length: 16,
    unicode_state: 32,
    unicode_kind: 2,
    ascii_data: 48,
    compact_data: 72,
    bytes_data: 32,
    long_tag: None,
    long_digits: 24,
    tuple_items: 24,
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
    managed_dict: 0,
    keys_form: KeysForm::Size(8),
    keys_entries_used: 32,
    keys_indices: 40,
    dict_values_data: 0,
    attributes: attributes::SPLIT_DICT,
    debug_offsets: &[],
};

/// Measured on 3.9.18.
const V3_9: Layout = Layout {
    minor: 9,
    task_context: 168,
    interp_id: 24,
    tstate_current: Some(568),
    interp_modules: 856,
    ..V3_8
};

/// Measured on 3.10.13.
const V3_10: Layout = Layout {
    minor: 10,
    task_context: 176,
    frame_instr: 96,
    frame_locals: 352,
    frame_lasti_unit: Some(2),
    line_table: LineTable::Ranges,
    ..V3_9
};

/// Measured on 3.11.7.
const V3_11: Layout = Layout {
    minor: 11,
    task_context: 152,
    interpreters_head: 40,
    interpreters_main: 48,
    interp_id: 48,
    interp_threads_head: 16,
    tstate_current: Some(576),
    interp_modules: 888,
    tstate_thread_id: 152,
    tstate_native_thread_id: Some(160),
    tstate_context: 224,
    tstate_frame: 56,
    cframe_current: Some(8),
    frame_previous: 48,
    frame_instr: 56,
    frame_locals: 0,
    frame_lasti_unit: None,
    frame_owner: 69,
    code_first_line: 72,
    code_filename: 112,
    code_name: 120,
    code_qualname: Some(128),
    code_varnames: 0,
    code_names: 32,
    code_line_table: 136,
    line_table: LineTable::Locations,
    code_adaptive: 184,
    code_size: 184,
    keys_form: KeysForm::Log2 {
        index_bytes: 9,
        kind: 10,
    },
    keys_entries_used: 24,
    keys_indices: 32,
    attributes: attributes::VALUES,
    ..V3_10
};

/// Measured on 3.12.1.
const V3_12: Layout = Layout {
    minor: 12,
    interp_id: 8,
    interp_threads_head: 72,
    tstate_current: None,
    interp_gil: 384,
    interp_modules: 944,
    gil_last_holder: 8,
    tstate_thread_id: 136,
    tstate_native_thread_id: Some(144),
    tstate_context: 208,
    cframe_current: Some(0),
    frame_code: 0,
    frame_previous: 8,
    frame_owner: 70,
    code_first_line: 68,
    code_adaptive: 192,
    code_size: 192,
    ascii_data: 40,
    compact_data: 56,
    long_tag: Some(16),
    attributes: attributes::TAGGED_VALUES,
    managed_dict: 24,
    ..V3_11
};

/// Measured on 3.13.0 and 3.13.18.
pub(super) const V3_13: Layout = Layout {
    minor: 13,
    task_context: 136,
    interpreters_head: 632,
    interpreters_main: 640,
    interp_next: 7264,
    interp_id: 7272,
    interp_threads_head: 7344,
    interp_gil: 16,
    interp_modules: 7656,
    tstate_thread_id: 152,
    tstate_native_thread_id: Some(160),
    tstate_frame: 72,
    cframe_current: None,
    code_adaptive: 200,
    code_size: 200,
    dict_values_data: 8,
    attributes: attributes::INLINE_VALUES,
    debug_offsets: &[
        40, 56, 64, 72, 88, 112, 168, 176, 184, 192, 200, 232, 240, 248, 264, 280, 288, 296, 304, 312, 344,
        360, 376, 392, 456, 464, 496, 504, 520, 528, 544, 552, 560, 408,
    ],
    ..V3_12
};

/// Measured on 3.14.10.
pub(super) const V3_14: Layout = Layout {
    minor: 14,
    task_context: 144,
    interpreters_head: 808,
    interpreters_main: 816,
    interp_next: 7272,
    interp_id: 7280,
    interp_modules: 7688,
    frame_owner: 74,
    code_adaptive: 208,
    code_size: 208,
    tuple_items: 32,
    attributes: attributes::INLINE_TASK,
    debug_offsets: &[
        40, 56, 64, 72, 96, 120, 192, 200, 208, 216, 224, 256, 264, 272, 288, 320, 328, 336, 344, 352, 384,
        408, 424, 440, 536, 544, 576, 584, 600, 608, 624, 632, 640, 456,
    ],
    ..V3_13
};

/// Measured on 3.15.2.
pub(super) const V3_15: Layout = Layout {
    minor: 15,
    interpreters_head: 936,
    interpreters_main: 944,
    interp_next: 7264,
    interp_id: 7272,
    interp_threads_head: 7336,
    interp_modules: 7592,
    tstate_thread_id: 176,
    tstate_native_thread_id: Some(184),
    tstate_context: 232,
    debug_offsets: &[
        40, 56, 64, 72, 96, 120, 192, 200, 208, 240, 248, 320, 328, 336, 352, 384, 392, 400, 408, 416, 448,
        472, 488, 504, 632, 640, 672, 680, 696, 704, 720, 728, 736, 552,
    ],
    ..V3_14
};
