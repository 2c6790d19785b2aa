//! Where functions begin, from the table by which exceptions find them (`.eh_frame_hdr`): it is there in stripped files, too.

use super::file::Elf;

/// How the table is encoded by every linker: `DW_EH_PE_udata4` for the count, `DW_EH_PE_datarel | DW_EH_PE_sdata4` for the entries (LSB
/// core specification, 10.6.2).
const VERSION: u8 = 1;
const COUNT: u8 = 0x03;
const ENTRIES: u8 = 0x3b;
/// `version`, three encodings, the frame's address and the count come before the entries.
const HEAD: u64 = 12;
const ENTRY: usize = 8;

/// Where functions begin, and parts of functions that stand elsewhere, in order. None when the file does not say so.
pub fn function_starts(file: &Elf<'_>) -> Option<Vec<u64>> {
    let table = file.frame_table()?;
    let head = file.bytes(table, HEAD as usize)?;
    if head[0] != VERSION || head[2] != COUNT || head[3] != ENTRIES {
        return None;
    }
    let count = u32::from_le_bytes(head[8..12].try_into().ok()?) as usize;
    let entries = file.bytes(table + HEAD, count.checked_mul(ENTRY)?)?;
    let start = |entry: &[u8]| {
        let relative = i32::from_le_bytes(entry[..4].try_into().ok()?);
        Some(table.wrapping_add_signed(i64::from(relative)))
    };
    let starts: Vec<u64> = entries.chunks_exact(ENTRY).map(start).collect::<Option<_>>()?;
    starts.is_sorted().then_some(starts)
}
