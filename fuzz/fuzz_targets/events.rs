//! Any bytes as a message of the kernel side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    runtime::cpython::{code::Code, layout::Layout, value::found},
    source::ring::{Message, decode},
};

fuzz_target!(|input: (u8, &[u8])| {
    let (minor, bytes) = input;
    // The ring's records are aligned.
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(whole);
    }
    match decode(bytemuck::cast_slice(&words)) {
        Some(Message::Record(record, values)) => {
            assert_eq!(values.len(), usize::from(record.values));
            for value in values {
                let _ = found(value, |_| None);
            }
        }
        Some(Message::Code(head, table)) => {
            let layout = Layout::of(8 + u32::from(minor) % 8, false).expect("3.8 to 3.15 have one");
            if let Some(code) = Code::told(layout, head, table) {
                let _ = code.line(code.start.wrapping_add(u64::from(minor)));
            }
        }
        Some(Message::Wire(head, bytes)) => assert_eq!(bytes.len(), head.bytes as usize),
        None => {}
    }
});
