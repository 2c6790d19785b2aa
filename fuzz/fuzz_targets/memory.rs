//! Any bytes as the memory of an interpreter, wherever it is looked at: its threads, contexts, tries, modules, values, attributes and code.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_common::config::Image;
use tracer_user::runtime::cpython::{
    attributes::walk,
    code::Code,
    core::{Addresses, Core, Version},
    layout::Layout,
    memory::{Memory, MemoryError, text},
    modules::holders,
    queue_user::QueueUse,
    threads::Interpreter,
};

/// The same bytes over and over, so that most addresses lead somewhere, and some of them round in circles.
struct Loop<'a>(&'a [u8]);

impl Memory for Loop<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if self.0.is_empty() || address >> 56 != 0 {
            let len = buf.len();
            return Err(MemoryError::Unreadable { address, len });
        }
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = self.0[(address as usize + at) % self.0.len()];
        }
        Ok(())
    }
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (minor, start, bytes) = input;
    let memory = Loop(bytes);
    let core = core(usize::from(minor));
    let start = u64::from(start);
    let interpreter = Interpreter {
        memory: &memory,
        core: &core,
        bias: 0,
    };
    if let Ok(threads) = interpreter.threads() {
        for thread in threads.iter().take(4) {
            let _ = interpreter.context(thread.context);
        }
    }
    let _ = interpreter.context(start);
    let _ = interpreter.variable(start);
    let _ = interpreter.value(start);
    let _ = holders(interpreter, &[start, start + 8]);
    let _ = text(&memory, core.layout, start);
    let _ = walk(interpreter, start, &["tenant".into(), "0".into()], 0);
    let _ = QueueUse::read(&memory, core.layout, start);
    let _ = interpreter.frames(start);
    if let Ok(code) = Code::read(&memory, core.layout, start) {
        let _ = code.line(code.start.wrapping_add(start));
    }
});

/// Every build of 3.8 to 3.15 is a number.
fn core(number: usize) -> Core {
    let builds =
        (8..=15).flat_map(|minor| [false, true].map(|free_threaded| Layout::of(minor, free_threaded)));
    let builds: Vec<_> = builds.flatten().collect();
    let layout = builds[number % builds.len()];
    let minor = layout.minor;
    // Types at small addresses, so that data can name them.
    let mut image = Image {
        interpreter_main: 8,
        none: 16,
        str_type: 24,
        int_type: 32,
        bytes_type: 40,
        context_type: 48,
        cfunction_type: 56,
        hamt_bitmap_type: 64,
        hamt_array_type: 72,
        hamt_collision_type: 80,
        ..Image::default()
    };
    layout.fill(&mut image);
    Core {
        version: Version {
            major: 3,
            minor,
            micro: 0,
        },
        layout,
        image,
        addresses: Addresses {
            runtime: 0,
            code_type: 88,
            contextvar_type: 96,
            dict_type: 104,
            hash_secret: Some(112),
        },
        points: Vec::new(),
        build_id: None,
        segments: Vec::new(),
    }
}
