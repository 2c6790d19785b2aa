//! Any data as the data of a well-formed object file: the scanner for method tables goes through all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::elf::{Elf, find_table, method_tables};

/// Where the data is loaded.
const BASE: u64 = 0x40_0000;
/// Of the ELF header and the two program headers, as the System V ABI lays them out.
const HEADERS: usize = 64 + 2 * 56;

fuzz_target!(|data: &[u8]| {
    let file = object(data);
    let Ok(file) = Elf::parse(&file) else { return };
    let tables = method_tables(&file);
    for table in &tables {
        assert!(!table.entries.is_empty(), "an empty table at {:#x}", table.vaddr);
        for entry in &table.entries {
            assert!(!entry.name.is_empty(), "a method without a name");
            assert_eq!(
                table.method(entry.name).map(|method| method.name),
                Some(entry.name)
            );
        }
    }
    let _ = find_table(&tables, &["get", "put"]);
});

/// An executable whose only segments are the data, once readable and once as code.
fn object(data: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADERS + data.len());
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    // ET_EXEC for x86-64, version 1.
    half(&mut file, &[2, 62, 1, 0]);
    word(&mut file, &[0, 64, 0]);
    half(&mut file, &[0, 0, 64, 56, 2, 64, 0, 0]);
    let len = data.len() as u64;
    for (flags, base) in [(6, BASE), (5, BASE + 0x1000_0000)] {
        half(&mut file, &[1, 0, flags, 0]);
        word(&mut file, &[HEADERS as u64, base, base, len, len, 8]);
    }
    file.extend(data);
    file
}
