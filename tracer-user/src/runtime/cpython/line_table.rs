//! Line tables of code objects: from an instruction to its line.

use super::layout::LineTable;

/// `sizeof(_Py_CODEUNIT)`.
pub const CODE_UNIT: u64 = 2;
/// A line's difference that stands for "no line" in a [`LineTable::Ranges`].
const NO_LINE: i8 = -128;

/// The line at byte `offset` of the bytecode; none when it belongs to no line.
pub fn line_at(form: LineTable, table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    match form {
        LineTable::Increments => by_increments(table, first_line, offset),
        LineTable::Ranges => by_ranges(table, first_line, offset),
        LineTable::Locations => by_locations(table, first_line, offset),
    }
}

/// Pairs of steps: so many bytes further on, so many lines further down (`Objects/lnotab_notes.txt` of 3.9).
fn by_increments(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut at = 0;
    for step in table.chunks_exact(2) {
        at += u64::from(step[0]);
        if at > offset {
            break;
        }
        line += i64::from(step[1] as i8);
    }
    u32::try_from(line).ok()
}

/// Pairs of a range's length in bytes and its line's difference from the last (`Objects/lnotab_notes.txt` of 3.10).
fn by_ranges(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0;
    for range in table.chunks_exact(2) {
        end += u64::from(range[0]);
        let difference = range[1] as i8;
        if difference != NO_LINE {
            line += i64::from(difference);
        }
        if offset < end {
            return if difference == NO_LINE {
                None
            } else {
                u32::try_from(line).ok()
            };
        }
    }
    None
}

/// By a location table (`Objects/locations.md`).
fn by_locations(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
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

    use super::{LineTable, line_at};

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
        let lines: Vec<_> = (0..8)
            .map(|unit| line_at(LineTable::Locations, &table, 10, unit * 2))
            .collect();
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

    #[test]
    fn increments_may_go_up_and_may_be_split() {
        // 6 bytes on, 1 line down; 300 bytes on in two steps, 200 lines down in two; 4 bytes on, 3 lines up
        let table = [6, 1, 255, 0, 45, 127, 0, 73, 4, (-3_i8) as u8];
        let line = |offset| line_at(LineTable::Increments, &table, 10, offset);
        assert_eq!(
            [0, 5, 6, 305, 306, 309, 310, 9000].map(line),
            [10, 10, 11, 11, 211, 211, 208, 208].map(Some)
        );
    }

    #[test]
    fn ranges_may_be_empty_and_may_have_no_line() {
        // 2 bytes on line + 1; none of them 130 lines down in two; 4 bytes there; 2 bytes without a line; 2 bytes one line up
        let table = [2, 1, 0, 127, 4, 3, 2, 0x80, 2, (-1_i8) as u8];
        let line = |offset| line_at(LineTable::Ranges, &table, 10, offset);
        assert_eq!(
            [0, 2, 5, 6, 8, 10].map(line),
            [Some(11), Some(141), Some(141), None, Some(140), None]
        );
    }

    proptest! {
        #[test]
        fn any_table_is_survived(table in prop::collection::vec(any::<u8>(), 0..300), first: u32, offset: u64) {
            for form in [LineTable::Increments, LineTable::Ranges, LineTable::Locations] {
                let _ = line_at(form, &table, first, offset);
                let _ = line_at(form, &table, first, offset % 1000);
            }
        }
    }
}
