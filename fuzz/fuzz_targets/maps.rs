//! Any text as `/proc/PID/maps`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::target::maps::parse;

fuzz_target!(|text: &[u8]| {
    let Ok(mappings) = parse(text) else { return };
    assert!(mappings.len() <= text.split(|byte| *byte == b'\n').count());
    for mapping in &mappings {
        let _ = (mapping.is_file(), mapping.says_deleted(), mapping.file_name());
        for path in mapping.candidates() {
            // A name in the maps is never longer than what stands there, and never holds what ends a name.
            assert!(path.len() <= text.len());
        }
    }
});
