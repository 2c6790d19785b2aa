//! Any file as an interpreter or an extension module: parsed, searched and refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    elf::{ArgumentRegister, Elf, calls, place, static_type},
    runtime::cpython::{core::Core, queue::QueueModule},
};

fuzz_target!(|data: &[u8]| {
    let _ = Core::inspect(data, "any");
    let _ = QueueModule::inspect(data);
    let Ok(file) = Elf::parse(data) else { return };
    let _ = (
        file.linkage(),
        file.build_id(),
        static_type(&file, 24, "hamt_bitmap_node"),
    );
    for segment in file.segments() {
        let _ = file.bytes(segment.vaddr, 64);
        let _ = file.c_string(segment.vaddr, 64);
        let _ = place(&file, segment.vaddr, &[ArgumentRegister::Rdi]);
        let _ = calls(&file, segment.vaddr, segment.vaddr.wrapping_add(16), 512);
    }
});
