/* Prints where the headers that it is compiled with keep what tracer-user's layouts describe: a name and a number a line.

   Compiled once for each version, from 3.13 on, with a GIL and with Py_GIL_DISABLED. */

#define Py_BUILD_CORE 1
#include <Python.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <internal/pycore_context.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_hamt.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_moduleobject.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030e0000
#include <internal/pycore_interpframe_structs.h>
#endif

#define SAY(name, number) printf("%s %zu\n", name, (size_t)(number))

/* The first bit of a bit field that was set to 1. */
#define SAY_BIT(name, field)                                                                                 \
    do {                                                                                                     \
        PyASCIIObject object;                                                                                \
        unsigned int bits;                                                                                   \
        memset(&object, 0, sizeof(object));                                                                  \
        object.state.field = 1;                                                                              \
        memcpy(&bits, &object.state, sizeof(bits));                                                          \
        SAY(name, __builtin_ctz(bits));                                                                      \
    } while (0)

int main(void)
{
    SAY("interpreters_head", offsetof(_PyRuntimeState, interpreters.head));
    SAY("interpreters_main", offsetof(_PyRuntimeState, interpreters.main));
    SAY("interp_next", offsetof(PyInterpreterState, next));
    SAY("interp_id", offsetof(PyInterpreterState, id));
    SAY("interp_threads_head", offsetof(PyInterpreterState, threads.head));
    SAY("interp_gil", offsetof(PyInterpreterState, ceval.gil));
    SAY("interp_modules", offsetof(PyInterpreterState, imports.modules));
    SAY("gil_last_holder", offsetof(struct _gil_runtime_state, last_holder));
    SAY("tstate_next", offsetof(PyThreadState, next));
    SAY("tstate_interp", offsetof(PyThreadState, interp));
    SAY("tstate_thread_id", offsetof(PyThreadState, thread_id));
    SAY("tstate_native_thread_id", offsetof(PyThreadState, native_thread_id));
    SAY("tstate_context", offsetof(PyThreadState, context));
    SAY("tstate_frame", offsetof(PyThreadState, current_frame));
    SAY("frame_code", offsetof(_PyInterpreterFrame, f_executable));
    SAY("frame_previous", offsetof(_PyInterpreterFrame, previous));
    SAY("frame_instr", offsetof(_PyInterpreterFrame, instr_ptr));
    SAY("frame_owner", offsetof(_PyInterpreterFrame, owner));
    SAY("code_first_line", offsetof(PyCodeObject, co_firstlineno));
    SAY("code_filename", offsetof(PyCodeObject, co_filename));
    SAY("code_name", offsetof(PyCodeObject, co_name));
    SAY("code_qualname", offsetof(PyCodeObject, co_qualname));
    SAY("code_names", offsetof(PyCodeObject, co_names));
    SAY("code_line_table", offsetof(PyCodeObject, co_linetable));
    SAY("code_adaptive", offsetof(PyCodeObject, co_code_adaptive));
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030e0000
    SAY("code_copies", offsetof(PyCodeObject, co_tlbc));
    SAY("code_copies_first", offsetof(_PyCodeArray, entries));
    SAY("frame_copy", offsetof(_PyInterpreterFrame, tlbc_index));
#endif
#if defined(Py_GIL_DISABLED)
    SAY("tstate_state", offsetof(PyThreadState, state));
#endif
    SAY("managed_dict", -MANAGED_DICT_OFFSET);
    SAY("heap_type_cached_keys", offsetof(PyHeapTypeObject, ht_cached_keys));
    SAY("type_dict", offsetof(PyTypeObject, tp_dict));
    SAY("type_descr_get", offsetof(PyTypeObject, tp_descr_get));
    SAY("type_descr_set", offsetof(PyTypeObject, tp_descr_set));
    SAY("type_dict_offset", offsetof(PyTypeObject, tp_dictoffset));
    SAY("type_mro", offsetof(PyTypeObject, tp_mro));
    SAY("type_version_tag", offsetof(PyTypeObject, tp_version_tag));
    SAY("descriptor_member", offsetof(PyMemberDescrObject, d_member));
    SAY("unicode_hash", offsetof(PyASCIIObject, hash));
    SAY("token_context", offsetof(PyContextToken, tok_ctx));
    SAY("token_used", offsetof(PyContextToken, tok_used));
    SAY("context_previous", offsetof(struct _pycontextobject, ctx_prev));
    SAY("method_definition", offsetof(PyCFunctionObject, m_ml));
    SAY("object_type", offsetof(PyObject, ob_type));
    SAY("var_size", offsetof(PyVarObject, ob_size));
    SAY("type_name", offsetof(PyTypeObject, tp_name));
    SAY("type_basic_size", offsetof(PyTypeObject, tp_basicsize));
    SAY("type_dealloc", offsetof(PyTypeObject, tp_dealloc));
    SAY("type_flags", offsetof(PyTypeObject, tp_flags));
    SAY("type_members", offsetof(PyTypeObject, tp_members));
    SAY("type_mapping", offsetof(PyTypeObject, tp_as_mapping));
    SAY("unicode_length", offsetof(PyASCIIObject, length));
    SAY("unicode_state", offsetof(PyASCIIObject, state));
    SAY_BIT("unicode_kind", kind);
    SAY_BIT("unicode_compact", compact);
    SAY_BIT("unicode_ascii", ascii);
    SAY("ascii_data", sizeof(PyASCIIObject));
    SAY("compact_data", sizeof(PyCompactUnicodeObject));
    SAY("bytes_data", offsetof(PyBytesObject, ob_sval));
    SAY("long_tag", offsetof(PyLongObject, long_value.lv_tag));
    SAY("long_digits", offsetof(PyLongObject, long_value.ob_digit));
    SAY("tuple_items", offsetof(PyTupleObject, ob_item));
    SAY("context_vars", offsetof(struct _pycontextobject, ctx_vars));
    SAY("context_entered", offsetof(struct _pycontextobject, ctx_entered));
    SAY("context_size", sizeof(struct _pycontextobject));
    SAY("contextvar_name", offsetof(struct _pycontextvarobject, var_name));
    SAY("contextvar_default", offsetof(struct _pycontextvarobject, var_default));
    SAY("contextvar_hash", offsetof(struct _pycontextvarobject, var_hash));
    SAY("contextvar_size", sizeof(struct _pycontextvarobject));
    SAY("hamt_root", offsetof(PyHamtObject, h_root));
    SAY("hamt_count", offsetof(PyHamtObject, h_count));
    SAY("hamt_bitmap", offsetof(PyHamtNode_Bitmap, b_bitmap));
    SAY("hamt_bitmap_array", offsetof(PyHamtNode_Bitmap, b_array));
    SAY("module_dict", offsetof(PyModuleObject, md_dict));
    SAY("dict_keys", offsetof(PyDictObject, ma_keys));
    SAY("dict_values", offsetof(PyDictObject, ma_values));
    SAY("keys_index_bytes", offsetof(PyDictKeysObject, dk_log2_index_bytes));
    SAY("keys_kind", offsetof(PyDictKeysObject, dk_kind));
    SAY("keys_entries_used", offsetof(PyDictKeysObject, dk_nentries));
    SAY("keys_indices", offsetof(PyDictKeysObject, dk_indices));
    SAY("dict_values_data", offsetof(PyDictValues, values));
    SAY("debug.free_threaded", offsetof(_Py_DebugOffsets, free_threaded));
#define DEBUG(group, member) SAY("debug." #group "." #member, offsetof(_Py_DebugOffsets, group.member))
    DEBUG(runtime_state, interpreters_head);
    DEBUG(interpreter_state, id);
    DEBUG(interpreter_state, next);
    DEBUG(interpreter_state, threads_head);
    DEBUG(interpreter_state, imports_modules);
    DEBUG(interpreter_state, ceval_gil);
    DEBUG(thread_state, next);
    DEBUG(thread_state, interp);
    DEBUG(thread_state, current_frame);
    DEBUG(thread_state, thread_id);
    DEBUG(thread_state, native_thread_id);
    DEBUG(interpreter_frame, previous);
    DEBUG(interpreter_frame, executable);
    DEBUG(interpreter_frame, instr_ptr);
    DEBUG(interpreter_frame, owner);
    DEBUG(code_object, filename);
    DEBUG(code_object, name);
    DEBUG(code_object, qualname);
    DEBUG(code_object, linetable);
    DEBUG(code_object, firstlineno);
    DEBUG(code_object, co_code_adaptive);
    DEBUG(pyobject, ob_type);
    DEBUG(type_object, tp_name);
    DEBUG(type_object, tp_flags);
    DEBUG(dict_object, ma_keys);
    DEBUG(dict_object, ma_values);
    DEBUG(long_object, lv_tag);
    DEBUG(long_object, ob_digit);
    DEBUG(bytes_object, ob_size);
    DEBUG(bytes_object, ob_sval);
    DEBUG(unicode_object, state);
    DEBUG(unicode_object, length);
    DEBUG(unicode_object, asciiobject_size);
    DEBUG(tuple_object, ob_item);
    return 0;
}
