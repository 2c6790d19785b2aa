//! Which modules hold a variable: what `module:name` in a configuration refers to.

use super::{
    layout::{KeysForm, Layout},
    memory::{Memory, MemoryError, text},
    threads::Interpreter,
};

/// Entries of one dictionary, and of all together, that are read.
const MAX_ENTRIES: u64 = 1 << 17;
const MAX_ALL_ENTRIES: usize = 1 << 21;
/// Bytes that the indices of the largest dictionary that is read take up.
const MAX_INDEX_BYTES: u64 = 1 << 24;
/// `DICT_KEYS_GENERAL` (`internal/pycore_dict.h`): entries hold a hash as well. All other kinds have `str` keys only.
const KEYS_GENERAL: u8 = 0;

/// A module whose globals hold a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The variable's address.
    pub variable: u64,
    /// The module's name in `sys.modules`.
    pub module: String,
}

/// The modules that hold some variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// In the order of `sys.modules`, one entry for each module and variable.
    pub found: Vec<Holder>,
    /// Modules that could not be read, or were not for want of bounds: they may hold some, too.
    pub unread: usize,
}

/// Looks for `variables` in the globals of all imported modules.
pub fn holders<M: Memory>(
    interpreter: Interpreter<'_, M>,
    variables: &[u64],
) -> Result<Holders, MemoryError> {
    let memory = interpreter.memory;
    let layout = interpreter.core.layout;
    let modules = memory.u64(interpreter.main()?, layout.interp_modules)?;
    let mut holders = Holders::default();
    let mut left = MAX_ALL_ENTRIES;
    for (name, module) in dict_entries(interpreter, modules)? {
        // What else than a module a program puts into sys.modules has no globals.
        let Some(globals) = globals(interpreter, module) else {
            continue;
        };
        let entries = if left == 0 {
            None
        } else {
            dict_entries(interpreter, globals).ok()
        };
        let Some(entries) = entries else {
            holders.unread += 1;
            continue;
        };
        left = left.saturating_sub(entries.len());
        for variable in variables {
            if entries.iter().any(|(_, value)| value == variable) {
                let module = text(memory, layout, name)?;
                holders.found.push(Holder {
                    variable: *variable,
                    module,
                });
            }
        }
    }
    Ok(holders)
}

// The dictionary of a module or of an instance of a class made from it: both begin alike.
fn globals<M: Memory>(interpreter: Interpreter<'_, M>, module: u64) -> Option<u64> {
    let globals = interpreter
        .memory
        .u64(module, interpreter.core.layout.module_dict)
        .ok()?;
    let is_dict = interpreter
        .has_type(globals, interpreter.core.addresses.dict_type)
        .ok()?;
    is_dict.then_some(globals)
}

/// The `(key, value)` pairs of the dictionary at `dict`, as addresses, in order of insertion.
pub(super) fn dict_entries<M: Memory>(
    interpreter: Interpreter<'_, M>,
    dict: u64,
) -> Result<Vec<(u64, u64)>, MemoryError> {
    let (memory, layout) = (interpreter.memory, interpreter.core.layout);
    if !interpreter.has_type(dict, interpreter.core.addresses.dict_type)? {
        return Err(MemoryError::invalid("dict", dict));
    }
    let keys = memory.u64(dict, layout.dict_keys)?;
    let values = memory.u64(dict, layout.dict_values)?;
    let mut pairs = keys_entries(memory, layout, keys)?;
    if values != 0 {
        // A split dictionary keeps its values apart from keys that it shares.
        let own = memory.words(values, layout.dict_values_data, pairs.len())?;
        for (pair, value) in pairs.iter_mut().zip(own) {
            pair.1 = value;
        }
    }
    Ok(pairs
        .into_iter()
        .filter(|(key, value)| *key != 0 && *value != 0)
        .collect())
}

/// The `(key, value)` entries of a `PyDictKeysObject`, in order; 0 stands for none.
pub(super) fn keys_entries(
    memory: &impl Memory,
    layout: &Layout,
    keys: u64,
) -> Result<Vec<(u64, u64)>, MemoryError> {
    let used = memory.u64(keys, layout.keys_entries_used)?;
    let (index_bytes, general) = match layout.keys_form {
        KeysForm::Size(at) => (index_bytes(memory.u64(keys, at)?), true),
        KeysForm::Log2 { index_bytes, kind } => {
            let bytes = 1_u64.checked_shl(memory.u8(keys, index_bytes)?.into());
            (bytes, memory.u8(keys, kind)? == KEYS_GENERAL)
        }
    };
    let index_bytes = index_bytes.filter(|bytes| *bytes <= MAX_INDEX_BYTES);
    let Some(index_bytes) = index_bytes.filter(|_| used <= MAX_ENTRIES) else {
        return Err(MemoryError::invalid("keys of a dict", keys));
    };
    let entry = if general { 3 } else { 2 };
    let words = memory.words(keys, layout.keys_indices + index_bytes, used as usize * entry)?;
    Ok(words
        .chunks_exact(entry)
        .map(|words| (words[entry - 2], words[entry - 1]))
        .collect())
}

/// Bytes that the indices of a dictionary with `size` places take up (`DK_IXSIZE`, `Objects/dict-common.h`).
fn index_bytes(size: u64) -> Option<u64> {
    let width = match size {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    size.checked_mul(width)
}
