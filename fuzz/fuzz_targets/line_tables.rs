//! Any bytes as a line table, in each of the three forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::runtime::cpython::{layout::LineTable, line_table::line_at};

fuzz_target!(|input: (u8, u32, u64, &[u8])| {
    let (form, first_line, offset, table) = input;
    let form = match form % 3 {
        0 => LineTable::Increments,
        1 => LineTable::Ranges,
        _ => LineTable::Locations,
    };
    let _ = line_at(form, table, first_line, offset);
    // Near the beginning, where tables end.
    let _ = line_at(form, table, first_line, offset % 512);
});
