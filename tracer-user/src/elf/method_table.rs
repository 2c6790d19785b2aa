//! CPython's method tables (`PyMethodDef[]`, `Include/methodobject.h`), recognised by their shape: they are in every build,
//! stripped or not, and name every function that Python code can call.

use super::{file::Elf, slots::Pointer};

const ENTRY: u64 = 32;
const FUNCTION: u64 = 8;
const FLAGS: u64 = 16;
/// All `METH_` bits that exist up to 3.15.
const MAX_FLAGS: u32 = 0x3ff;
const MAX_NAME: usize = 128;

/// One method of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method<'data> {
    /// `ml_name`.
    pub name: &'data str,
    /// `ml_meth`; [`Pointer::Undefined`] when another file defines the function.
    pub function: Pointer,
    /// `ml_flags`.
    pub flags: u32,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodTable<'data> {
    /// Its address.
    pub vaddr: u64,
    /// Its methods, in order.
    pub entries: Vec<Method<'data>>,
}

impl<'data> MethodTable<'data> {
    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method<'data>> {
        self.entries.iter().find(|method| method.name == name)
    }
}

/// A set of names that does not single out one table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} method tables with {}, not 1", names.join(", "))]
pub struct TableError {
    /// The names.
    pub names: Vec<&'static str>,
    /// How many tables have all of them.
    pub count: usize,
}

/// All method tables of a file.
pub fn method_tables<'data>(file: &Elf<'data>) -> Vec<MethodTable<'data>> {
    let mut tables = Vec::new();
    let mut end_of_last = 0;
    for (at, _) in file.pointers() {
        if *at < end_of_last {
            continue;
        }
        let mut entries = Vec::new();
        let mut next = *at;
        while let Some(method) = method_at(file, next) {
            entries.push(method);
            let Some(following) = next.checked_add(ENTRY) else {
                break;
            };
            next = following;
        }
        if !entries.is_empty() {
            end_of_last = next;
            tables.push(MethodTable { vaddr: *at, entries });
        }
    }
    tables
}

/// The one table that has all of `names`.
pub fn find_table<'tables, 'data>(
    tables: &'tables [MethodTable<'data>],
    names: &[&'static str],
) -> Result<&'tables MethodTable<'data>, TableError> {
    let mut matching = tables
        .iter()
        .filter(|table| names.iter().all(|name| table.method(name).is_some()));
    match (matching.next(), matching.count()) {
        (Some(table), 0) => Ok(table),
        (first, more) => Err(TableError {
            names: names.to_vec(),
            count: usize::from(first.is_some()) + more,
        }),
    }
}

fn method_at<'data>(file: &Elf<'data>, at: u64) -> Option<Method<'data>> {
    let Pointer::To(name) = file.pointer(at)? else {
        return None;
    };
    let function = file.pointer(at.checked_add(FUNCTION)?)?;
    if let Pointer::To(address) = function
        && !file.is_code(address)
    {
        return None;
    }
    let flags_at = at.checked_add(FLAGS)?;
    if file.pointer(flags_at).is_some() {
        return None;
    }
    let flags = u32::try_from(file.word(flags_at)?)
        .ok()
        .filter(|flags| (1..=MAX_FLAGS).contains(flags))?;
    if file.is_code(name) {
        return None;
    }
    let name = std::str::from_utf8(file.c_string(name, MAX_NAME)?).ok()?;
    let identifier = !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    identifier.then_some(Method {
        name,
        function,
        flags,
    })
}
