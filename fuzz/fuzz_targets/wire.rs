//! Any bytes as what a process receives and sends, in calls of any length, in both directions of a few streams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    correlate::{
        event::{Carrier, TargetId},
        ledger::{Realm, TaskLedger, Told},
    },
    wire::{
        Wire,
        chunk::{Chunk, Direction, StreamKey, Transport},
        fact::Fact,
        rules::{Bounds, Rules},
    },
};

const BOUNDS: Bounds = Bounds {
    streams: 3,
    bytes: 16 << 10,
    open: 8,
    tasks: TASKS,
};
/// Tasks that are remembered.
const TASKS: usize = 8;

fuzz_target!(|input: &[u8]| {
    let mut wire = Wire::new(Rules {
        bounds: BOUNDS,
        ..Rules::new(&[7; 32], &["x-tenant"])
    });
    let mut ledger = TaskLedger::new(TASKS);
    let mut rest = input;
    while let [how, low, high, more @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (bytes, after) = more.split_at(len);
        rest = after;
        let set = |bit: u8| how & bit != 0;
        let stream = StreamKey {
            process: TargetId(1),
            transport: if set(2) {
                Transport::Stdio
            } else {
                Transport::Socket
            },
            handle: u64::from(set(4)),
            generation: 0,
        };
        let chunk = Chunk {
            stream,
            direction: if set(1) { Direction::Out } else { Direction::In },
            thread: Carrier(u32::from(set(8))),
            time: 0,
            offset: if set(16) { u64::from(*low) } else { 0 },
            total: bytes.len() as u64 + if set(32) { u64::from(*high) << 8 } else { 0 },
            last: !set(64),
            lost_before: set(128) && set(64),
            bytes,
            context: None,
        };
        let mut facts = Vec::new();
        wire.apply(&chunk, &mut facts);
        assert!(wire.kept() <= BOUNDS.bytes);
        let mut said = Vec::new();
        for fact in &facts {
            if let Fact::Response(response) = fact {
                ledger.apply(Realm(1), response, Told::default(), &mut said);
            }
        }
        assert!(ledger.len() <= TASKS);
    }
    let mut facts = Vec::new();
    wire.exit(TargetId(1), &mut facts);
    assert_eq!(wire.kept(), 0);
});
