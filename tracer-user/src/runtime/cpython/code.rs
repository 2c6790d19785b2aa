//! Code objects: the name, file and line behind a frame.

use tracer_common::record::{CodeHead, RawStr};

use super::{
    layout::{Layout, LineTable},
    line_table::{CODE_UNIT, line_at},
    memory::{Memory, MemoryError, string, text},
};

/// Bytes of a line table that are read.
const MAX_LINE_TABLE: u64 = 64 * 1024;
/// First distance that is a negative number of 32 bits.
const NEGATIVE: u64 = 1 << 31;
/// Name of the code that CPython 3.12 puts under every call from C.
const TRAMPOLINE: &str = "<interpreter trampoline>";

/// A code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// `co_qualname`; before 3.11 there is only `co_name`, with the type of `self` before it where the kernel side saw that.
    pub qualname: String,
    /// `co_filename`.
    pub filename: String,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// What a frame's instruction is counted from: before 3.11 the code object's own address, else that of the first instruction.
    pub start: u64,
    /// What tells it apart from another one that is later made at the same address.
    pub identity: CodeIdentity,
    form: LineTable,
    line_table: Vec<u8>,
}

/// What is cheap to read and differs between two code objects that follow one another at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeIdentity {
    name: u64,
    filename: u64,
    line_table: u64,
    first_line: u32,
}

impl CodeIdentity {
    /// The identity of the code object that is at `address` now.
    pub fn read(memory: &impl Memory, layout: &Layout, address: u64) -> Result<Self, MemoryError> {
        Ok(Self {
            name: memory.u64(address, layout.code_qualname.unwrap_or(layout.code_name))?,
            filename: memory.u64(address, layout.code_filename)?,
            line_table: memory.u64(address, layout.code_line_table)?,
            first_line: memory.u32(address, layout.code_first_line)?,
        })
    }

    /// The identity of a code object that the kernel side told.
    pub fn told(head: &CodeHead) -> Self {
        Self {
            name: head.name.object,
            filename: head.file.object,
            line_table: head.table,
            first_line: head.first_line,
        }
    }
}

// A text that did not travel whole ends in an ellipsis.
fn told_text(text: &RawStr, bytes: &[u8]) -> Option<String> {
    let mut told = string(bytes.get(..text.bytes as usize)?, text.width as usize);
    if !is_whole(text) {
        told.push_str("...");
    }
    Some(told)
}

fn is_whole(text: &RawStr) -> bool {
    text.len.checked_mul(u64::from(text.width)) == Some(u64::from(text.bytes))
}

// Where code objects have no qualified name, the type of a method's `self` stands in.
fn qualified(owner: &[u8], name: String) -> String {
    let end = owner.iter().position(|byte| *byte == 0).unwrap_or(owner.len());
    // A static type's name includes its module.
    let owner = owner[..end]
        .rsplit(|byte| *byte == b'.')
        .next()
        .unwrap_or_default();
    if owner.is_empty() {
        name
    } else {
        format!("{}.{name}", String::from_utf8_lossy(owner))
    }
}

/// Whether the object at `address` is a code object. A frame whose executable is something else (3.13's entry frames have `None`)
/// is no Python frame and is to be skipped. `code_type` is the address of `PyCode_Type` in the process.
pub fn is_code(
    memory: &impl Memory,
    layout: &Layout,
    code_type: u64,
    address: u64,
) -> Result<bool, MemoryError> {
    Ok(memory.u64(address, layout.object_type)? == code_type)
}

impl Code {
    /// Reads the code object at `address`; see [`is_code`].
    pub fn read(memory: &impl Memory, layout: &Layout, address: u64) -> Result<Self, MemoryError> {
        let identity = CodeIdentity::read(memory, layout, address)?;
        let table = identity.line_table;
        let len = memory.u64(table, layout.var_size)?.min(MAX_LINE_TABLE);
        Ok(Self {
            qualname: text(memory, layout, identity.name)?,
            filename: text(memory, layout, identity.filename)?,
            first_line: identity.first_line,
            start: address
                .checked_add(layout.code_adaptive)
                .ok_or(MemoryError::invalid("code object", address))?,
            identity,
            form: layout.line_table,
            line_table: memory.bytes(table, layout.bytes_data, len as usize)?,
        })
    }

    /// Whether all of a code object travels.
    pub fn is_told_whole(head: &CodeHead) -> bool {
        is_whole(&head.name) && is_whole(&head.file) && head.table_len == u64::from(head.table_bytes)
    }

    /// The code object that the kernel side told, as much of it as travelled.
    pub fn told(layout: &Layout, head: &CodeHead, table: &[u8]) -> Option<Self> {
        Some(Self {
            qualname: qualified(&head.owner, told_text(&head.name, &head.name_text)?),
            filename: told_text(&head.file, &head.file_text)?,
            first_line: head.first_line,
            start: head.code.checked_add(layout.code_adaptive)?,
            identity: CodeIdentity::told(head),
            form: layout.line_table,
            line_table: table.to_vec(),
        })
    }

    /// Whether this is the code that CPython puts under a call from C: no function of the program, to be skipped.
    pub fn is_trampoline(&self) -> bool {
        self.filename == TRAMPOLINE || self.qualname == TRAMPOLINE
    }

    /// The line of the instruction at `instr`, as far from [`Self::start`] as from the first instruction; none when it belongs to no
    /// line.
    pub fn line(&self, instr: u64) -> Option<u32> {
        // A frame that has not begun stands one unit before its first instruction.
        let begun = instr.checked_add(CODE_UNIT) != Some(self.start);
        // Before 3.11 its `f_lasti` is negative, which has become a 32-bit distance.
        let distance = instr.wrapping_sub(self.start);
        if !begun || (NEGATIVE..=u64::from(u32::MAX)).contains(&distance) {
            return Some(self.first_line);
        }
        line_at(
            self.form,
            &self.line_table,
            self.first_line,
            instr.checked_sub(self.start)?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_travel_whole_says_so() {
        let text = |len, bytes| RawStr {
            object: 1,
            len,
            width: 1,
            bytes,
        };
        assert_eq!(told_text(&text(3, 3), b"abcd").as_deref(), Some("abc"));
        assert_eq!(told_text(&text(9, 4), b"abcd").as_deref(), Some("abcd..."));
        assert_eq!(
            told_text(&text(9, 5), b"abcd"),
            None,
            "more than there is room for"
        );
    }
}
