//! Code objects: the name, file and line behind a frame.

use tracer_common::record::{CodeHead, RawStr};

use super::{
    layout::Layout,
    memory::{Memory, MemoryError, string, text},
};

/// Bytes of a line table that are read.
const MAX_LINE_TABLE: u64 = 64 * 1024;
/// Name of the code that CPython 3.12 puts under every call from C.
const TRAMPOLINE: &str = "<interpreter trampoline>";
/// `sizeof(_Py_CODEUNIT)`.
const CODE_UNIT: u64 = 2;

/// A code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// `co_qualname`.
    pub qualname: String,
    /// `co_filename`.
    pub filename: String,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// Address of the first instruction.
    pub start: u64,
    /// What tells it apart from another one that is later made at the same address.
    pub identity: CodeIdentity,
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
            name: memory.u64(address, layout.code_qualname)?,
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

fn told_text(text: &RawStr, bytes: &[u8]) -> Option<String> {
    let whole = text.len.checked_mul(u64::from(text.width)) == Some(u64::from(text.bytes));
    let bytes = bytes.get(..text.bytes as usize).filter(|_| whole)?;
    Some(string(bytes, text.width as usize))
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
            line_table: memory.bytes(table, layout.bytes_data, len as usize)?,
        })
    }

    /// The code object that the kernel side told, unless it is too large to have travelled whole.
    pub fn told(layout: &Layout, head: &CodeHead, table: &[u8]) -> Option<Self> {
        Some(Self {
            qualname: told_text(&head.name, &head.name_text)?,
            filename: told_text(&head.file, &head.file_text)?,
            first_line: head.first_line,
            start: head.code.checked_add(layout.code_adaptive)?,
            identity: CodeIdentity::told(head),
            line_table: table.to_vec(),
        })
    }

    /// Whether this is the code that CPython puts under a call from C: no function of the program, to be skipped.
    pub fn is_trampoline(&self) -> bool {
        self.filename == TRAMPOLINE || self.qualname == TRAMPOLINE
    }

    /// The line of the instruction at `instr`, an address inside the code; none when the instruction belongs to no line.
    pub fn line(&self, instr: u64) -> Option<u32> {
        // A frame that has not begun stands one unit before its first instruction.
        if instr.checked_add(CODE_UNIT) == Some(self.start) {
            return Some(self.first_line);
        }
        line_at(&self.line_table, self.first_line, instr.checked_sub(self.start)?)
    }
}

/// The line at byte `offset` of the bytecode, by a location table (`Objects/locations.md` of CPython 3.11 and later).
pub fn line_at(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let mut line = i64::from(first_line);
    let mut end = 0;
    while let Some(head) = bytes.next() {
        end += (u64::from(head & 7) + 1) * CODE_UNIT;
        // Bits 3 to 6 tell the form of the entry; the columns are read over.
        let has_line = match head >> 3 & 15 {
            0..=9 => {
                bytes.next()?;
                true
            }
            form @ 10..=12 => {
                line = line.wrapping_add(i64::from(form - 10));
                bytes.nth(1)?;
                true
            }
            13 => {
                line = line.wrapping_add(signed_varint(&mut bytes)?);
                true
            }
            14 => {
                line = line.wrapping_add(signed_varint(&mut bytes)?);
                for _ in 0..3 {
                    varint(&mut bytes)?;
                }
                true
            }
            _ => false,
        };
        if offset < end {
            return if has_line { u32::try_from(line).ok() } else { None };
        }
    }
    None
}

fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..60).step_by(6) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
    None
}

fn signed_varint(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = varint(bytes)?;
    let magnitude = (value >> 1) as i64;
    Some(if value & 1 == 0 { magnitude } else { -magnitude })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::line_at;

    #[test]
    fn every_form_of_entry_moves_the_line_as_documented() {
        // short; one line + 2, two units; no columns - 1; long + 3; none; short
        let table = [
            0x80,
            0x00,
            0x80 | 12 << 3 | 1,
            0,
            0,
            0x80 | 13 << 3,
            0x03,
            0x80 | 14 << 3,
            0x06,
            0x41,
            0x01,
            0x02,
            0x03,
            0x80 | 15 << 3,
            0x80,
            0x00,
        ];
        let lines: Vec<_> = (0..8).map(|unit| line_at(&table, 10, unit * 2)).collect();
        assert_eq!(
            lines,
            [
                Some(10),
                Some(12),
                Some(12),
                Some(11),
                Some(14),
                None,
                Some(14),
                None
            ]
        );
    }

    proptest! {
        #[test]
        fn any_table_is_survived(table in prop::collection::vec(any::<u8>(), 0..300), first: u32, offset: u64) {
            let _ = line_at(&table, first, offset);
            let _ = line_at(&table, first, offset % 1000);
        }
    }
}
