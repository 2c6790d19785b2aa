//! The rows of free-threaded builds: 16 bytes more in front of every object, and what follows from that.
//!
//! What `offsetof` cannot reach is from the sources: two nodes of the hash trie (`Python/hamt.c`).

use super::{
    CodeCopies, Layout,
    versions::{V3_13, V3_14, V3_15},
};

/// All versions that are known without a GIL.
pub const FREE_THREADED: &[Layout] = &[V3_13T, V3_14T, V3_15T];

/// Measured on 3.13.5 and 3.13.18.
const V3_13T: Layout = Layout {
    free_threaded: true,
    interp_modules: 7664,
    gil_last_holder: 16,
    tstate_state: Some(40),
    code_first_line: 84,
    code_filename: 128,
    code_name: 136,
    code_qualname: Some(144),
    code_names: 48,
    code_line_table: 152,
    code_adaptive: 216,
    code_size: 216,
    object_type: 24,
    var_size: 32,
    type_name: 40,
    type_basic_size: 48,
    type_dealloc: 64,
    type_mapping: 128,
    type_flags: 184,
    type_members: 256,
    unicode_length: 32,
    unicode_state: 48,
    ascii_data: 56,
    compact_data: 72,
    bytes_data: 48,
    long_tag: Some(32),
    long_digits: 40,
    tuple_items: 40,
    context_vars: 40,
    context_entered: 56,
    context_size: 64,
    contextvar_name: 32,
    contextvar_default: 40,
    contextvar_hash: 48,
    contextvar_size: 56,
    hamt_root: 32,
    hamt_count: 48,
    hamt_bitmap: 40,
    hamt_bitmap_array: 48,
    hamt_array: 32,
    hamt_collision_array: 48,
    module_dict: 32,
    dict_keys: 48,
    dict_values: 56,
    managed_dict: 8,
    ..V3_13
};

/// Measured on 3.14.7 and 3.14.10.
const V3_14T: Layout = Layout {
    minor: 14,
    interpreters_head: V3_14.interpreters_head,
    interpreters_main: V3_14.interpreters_main,
    interp_next: V3_14.interp_next,
    interp_id: V3_14.interp_id,
    interp_modules: 7712,
    tstate_state: Some(44),
    task_context: V3_14.task_context,
    frame_owner: 78,
    code_adaptive: 232,
    code_copies: Some(CodeCopies {
        code: 224,
        entries: 8,
        frame: 72,
    }),
    code_size: 232,
    unicode_kind: 8,
    tuple_items: 48,
    attributes: V3_14.attributes,
    debug_offsets: V3_14.debug_offsets,
    ..V3_13T
};

/// Measured on 3.15.2.
const V3_15T: Layout = Layout {
    minor: 15,
    interpreters_head: V3_15.interpreters_head,
    interpreters_main: V3_15.interpreters_main,
    interp_next: V3_15.interp_next,
    interp_id: V3_15.interp_id,
    interp_threads_head: V3_15.interp_threads_head,
    interp_modules: 7592,
    tstate_state: Some(48),
    tstate_thread_id: V3_15.tstate_thread_id,
    tstate_native_thread_id: V3_15.tstate_native_thread_id,
    tstate_context: V3_15.tstate_context,
    debug_offsets: V3_15.debug_offsets,
    ..V3_14T
};
