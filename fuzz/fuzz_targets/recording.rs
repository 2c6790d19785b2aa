//! Any bytes as a recording, and any entries in frames that are whole: read, and judged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    config::Tier,
    correlate::{Engine, Settings, settings::Bounds},
    recording::{
        entry::{Entry, counters},
        frame::{MAX_RAW, Packed, start},
        reader::Reader,
    },
    report::{
        clock::Clock,
        finding::{Container, ExportedFinding, Runtime, TargetInfo},
        privacy::Privacy,
    },
    wire::rules::Rules,
};

const BOUNDS: Bounds = Bounds {
    carriers: 16,
    submits: 16,
    returns: 16,
    requests: 16,
};

fn framed(entries: &[u8]) -> Vec<u8> {
    let mut out = start().to_vec();
    let header = br#"{"program":"","clock_offset":0,"wire":true,"tasks":true,"reveal":false}"#;
    for (number, raw) in (0..).zip([&header[..], entries]) {
        let packed = Packed::new(raw).expect("memory does not run out");
        packed.write(number, &mut out).expect("it is written to memory");
    }
    out
}

fuzz_target!(|input: (bool, &[u8])| {
    let (whole, bytes) = input;
    let bytes = if whole && bytes.len() <= MAX_RAW {
        framed(bytes)
    } else {
        bytes.to_vec()
    };
    let Ok((header, mut reader)) = Reader::open(&bytes[..]) else {
        return;
    };
    let none: &[&str] = &[];
    let mut engine = Engine::new(Settings {
        bounds: BOUNDS,
        inventory: true,
        wire: header.wire.then(|| Rules::new(&[0; 32], none)),
        tasks: header.tasks,
    });
    let privacy = Privacy::new(false, [0; 32]);
    let target = TargetInfo {
        service: "fuzz".into(),
        pid: 1,
        runtime: Runtime::Cpython,
        version: "3.12".into(),
        container: Container::default(),
        tier: Tier::default(),
    };
    let mut facts = Vec::new();
    while let Some(entry) = reader.next_entry().expect("memory can be read") {
        match entry {
            Entry::Event(event) => engine.apply(&event, &mut facts),
            Entry::Attached(attached) => engine.serves(attached.id, &attached.service),
            Entry::Counters(totals, out_of_sight) => drop(counters(&totals, out_of_sight)),
            _ => {}
        }
        for fact in facts.drain(..) {
            if let tracer_user::correlate::fact::FactKind::Finding(finding) = &fact.what {
                let _ = ExportedFinding::new(finding, &target, Clock::default(), &privacy);
            }
        }
    }
    assert!(reader.ending().is_some());
    engine.finish(&mut facts);
});
