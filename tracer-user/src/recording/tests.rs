//! Recordings: whole, cut, damaged, of another version, and on a disk that is full.

use std::{fs::File, io::Cursor, sync::Arc};

use super::{
    entry::{Entry, Header},
    flight::{Flight, Limits},
    frame::{HEAD, MAX_PAYLOAD, MAX_RAW, Packed, START, VERSION, start},
    line::Line,
    reader::{Ending, OpenError, Reader},
    writer::{Buffer, Writer, packed},
};
use crate::correlate::{
    event::{Carrier, Event, Frame, Names, Role, Scope, Site, Slot, Stack, TargetId, What},
    value::Found,
};

/// Entries as the bytes of a file, some in each frame.
pub(crate) fn written(header: &Header, entries: &[Entry]) -> Vec<u8> {
    let frames: Vec<Vec<u8>> = entries.chunks(32).map(raw).collect();
    framed(header, &frames)
}

/// Entries as the content of one frame.
pub(crate) fn raw(entries: &[Entry]) -> Vec<u8> {
    let mut buffer = Buffer::default();
    for entry in entries {
        buffer.push(entry).unwrap();
    }
    assert_eq!(buffer.entries, entries.len() as u64);
    buffer.raw
}

/// Any content as the bytes of a file.
pub(crate) fn framed(header: &Header, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = start().to_vec();
    packed(header).unwrap().write(0, &mut out).unwrap();
    for (number, raw) in (1..).zip(frames) {
        Packed::new(raw).unwrap().write(number, &mut out).unwrap();
    }
    out
}

fn event(time: u64, target: u32, what: What) -> Event {
    Event {
        time,
        target: TargetId(target),
        carrier: Carrier(target),
        what,
    }
}

fn entries(many: u64) -> Vec<Entry> {
    let ends = (0..many).map(|time| Entry::Event(Box::new(event(time, 1, What::End))));
    ends.chain([Entry::End(Some(7))]).collect()
}

/// All that can be read, and how it ends.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Ending), OpenError> {
    let (_, mut reader) = Reader::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    let ending = reader.ending().cloned().expect("there is an end");
    assert_eq!(reader.next_entry()?, None, "it stays over");
    Ok((entries, ending))
}

#[test]
fn what_was_written_is_read() {
    let header = Header {
        program: "1".to_owned(),
        clock_offset: -5,
        wire: true,
        ..Header::default()
    };
    let bytes = written(&header, &entries(100));
    assert_eq!(Reader::open(&bytes[..]).unwrap().0, header);
    assert_eq!(read(&bytes).unwrap(), (entries(100), Ending::Whole));
}

fn unbind(time: u64, function: &str) -> Entry {
    let site = Site {
        function: function.into(),
        file: "/srv/app.py".into(),
        line: 7,
    };
    let frame = Frame {
        site,
        named: Names::default(),
        activation: 1,
        offset: 2,
        machinery: false,
    };
    let what = What::Unbind {
        slot: Slot(0),
        scope: Scope(3),
        entered: false,
        restored: Found::Unset,
        stack: Arc::new(Stack { frames: vec![frame] }),
    };
    Entry::Event(Box::new(event(time, 1, what)))
}

#[test]
fn a_stack_is_told_once_in_a_frame_and_shared_by_its_events() {
    let all: Vec<_> = (0..64)
        .map(|time| unbind(time, if time % 2 == 0 { "even" } else { "odd" }))
        .chain([Entry::End(None)])
        .collect();
    let told = |text: &[u8]| raw(&all).windows(text.len()).filter(|at| *at == text).count();
    assert_eq!((told(b"even"), told(b"odd")), (1, 1));
    let (entries, ending) = read(&written(&Header::default(), &all)).unwrap();
    assert_eq!((&entries, ending), (&all, Ending::Whole));
    let stack = |at: usize| match &entries[at] {
        Entry::Event(event) => match &event.what {
            What::Unbind { stack, .. } => stack,
            what => panic!("{what:?}"),
        },
        entry => panic!("{entry:?}"),
    };
    assert!(Arc::ptr_eq(stack(0), stack(2)) && !Arc::ptr_eq(stack(0), stack(1)));
    assert!(!Arc::ptr_eq(stack(0), stack(32)), "each frame tells its own");
}

#[test]
fn an_event_on_a_stack_that_was_not_told_is_damage() {
    let frame = raw(&[unbind(0, "f")]);
    let whole = framed(&Header::default(), std::slice::from_ref(&frame));
    assert_eq!(read(&whole).unwrap().0.len(), 1);
    let event = postcard::take_from_bytes::<Line>(&frame).unwrap().1.to_vec();
    for frames in [vec![event.clone()], vec![frame, event]] {
        let before = frames.len() - 1;
        let (entries, ending) = read(&framed(&Header::default(), &frames)).unwrap();
        assert_eq!(entries.len(), before);
        let what = "an event stands on no stack";
        assert!(
            matches!(ending, Ending::Damaged { what: why, .. } if why == what),
            "{ending:?}"
        );
    }
}

#[test]
fn a_cut_recording_is_read_up_to_its_last_whole_frame() {
    let all = entries(100);
    let bytes = written(&Header::default(), &all);
    let mut seen = 0;
    for len in 0..bytes.len() {
        match read(&bytes[..len]) {
            Ok((some, ending)) => {
                assert_eq!(ending, Ending::Cut, "{len}");
                assert_eq!(some, all[..some.len()], "{len}");
                assert!(some.len() >= seen, "{len}");
                seen = some.len();
            }
            Err(OpenError::Other) => assert!(len < START),
            Err(error) => assert!(matches!(error, OpenError::NoHeader) && seen == 0, "{len}"),
        }
    }
    assert_eq!(seen, 96, "three whole frames");
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let all = entries(40);
    let bytes = written(&Header::default(), &all);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok((some, ending)) = read(&flipped) {
                assert!(matches!(ending, Ending::Damaged { .. }), "{at}.{bit}: {ending:?}");
                assert_eq!(some, all[..some.len()], "{at}.{bit}");
            }
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_noticed() {
    let all = entries(40);
    let bytes = written(&Header::default(), &all);
    for more in [1, HEAD - 1, HEAD, 1000] {
        let longer = [bytes.clone(), vec![b'x'; more]].concat();
        let (some, ending) = read(&longer).unwrap();
        assert!(matches!(ending, Ending::Damaged { .. }), "{more}: {ending:?}");
        assert_eq!(some, all[..some.len()], "{more}");
    }
}

#[test]
fn frames_that_are_missing_repeated_or_too_many_are_noticed() {
    let all = entries(100);
    let bytes = written(&Header::default(), &all);
    let mut at = START;
    let mut frames = Vec::new();
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        frames.push(&bytes[at..at + HEAD + len]);
        at += HEAD + len;
    }
    let with = |order: &[usize]| {
        let mut out = bytes[..START].to_vec();
        for frame in order {
            out.extend_from_slice(frames[*frame]);
        }
        read(&out)
    };
    assert_eq!(frames.len(), 5);
    assert_eq!(with(&[0, 1, 2, 3, 4]).unwrap().1, Ending::Whole);
    for order in [
        &[0, 2, 3, 4][..],
        &[0, 1, 1, 2, 3, 4],
        &[0, 2, 1, 3, 4],
        &[0, 1, 2, 3, 4, 4],
    ] {
        let (_, ending) = with(order).unwrap();
        assert!(matches!(ending, Ending::Damaged { .. }), "{order:?} {ending:?}");
    }
    assert!(matches!(with(&[1, 2, 3, 4]), Err(OpenError::NoHeader)));
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    assert!(matches!(
        read(b"#!/usr/bin/env python3\n\n"),
        Err(OpenError::Other)
    ));
    assert!(matches!(read(b""), Err(OpenError::Other)));
    let mut next = start();
    next[8] += 1;
    let checksum = crc32c::crc32c(&next[..12]);
    next[12..].copy_from_slice(&checksum.to_le_bytes());
    let error = read(&next).unwrap_err();
    assert!(matches!(error, OpenError::Version(version) if version == VERSION + 1));
    assert_eq!(
        error.to_string(),
        "it has format version 3, and this bleedtrace reads versions 1 to 2"
    );
}

#[test]
fn what_claims_more_than_there_is_takes_no_memory() {
    let raw = vec![0; MAX_RAW + 1];
    let mut bomb = start().to_vec();
    packed(&Header::default()).unwrap().write(0, &mut bomb).unwrap();
    let small = Packed::new(&raw).unwrap();
    assert!(small.size() < 1_000);
    small.write(1, &mut bomb).unwrap();
    assert!(matches!(read(&bomb).unwrap().1, Ending::Damaged { .. }));
    let mut long = start().to_vec();
    long.extend_from_slice(&[0; 4]);
    long.extend_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
    long.extend_from_slice(&[0; 4]);
    let checksum = crc32c::crc32c(&long[START..]);
    long.extend_from_slice(&checksum.to_le_bytes());
    assert!(matches!(read(&long), Err(OpenError::NoHeader)));
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_is_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut writer = Writer::start(full, &Header::default()).unwrap();
    for time in 0..100_000 {
        writer.event(&event(time, 1, What::End));
    }
    let begun = std::time::Instant::now();
    let mut said = Vec::new();
    while writer.missing() == 0 {
        assert!(begun.elapsed().as_secs() < 60, "the disk's failure is noticed");
        said.extend(writer.tick().map(str::to_owned));
    }
    said.extend(writer.tick().map(str::to_owned));
    said.extend(writer.tick().map(str::to_owned));
    assert_eq!(said.len(), 1, "it is said once: {said:?}");
    assert_eq!(writer.missing(), 100_000);
    let written = writer.finish(None);
    assert_eq!((written.entries, written.missing), (0, 100_001));
    assert!(written.failure.unwrap().contains("No space left"));
}

#[test]
fn the_writer_writes_what_the_reader_reads() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::start(file.reopen().unwrap(), &Header::default()).unwrap();
    for time in 0..100_000 {
        writer.event(&event(time, 1, What::End));
        assert_eq!(writer.tick(), None);
    }
    let written = writer.finish(Some(7));
    assert_eq!(
        (written.entries, written.missing, written.failure),
        (100_001, 0, None)
    );
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!(read(&bytes).unwrap(), (entries(100_000), Ending::Whole));
}

#[test]
fn the_flight_recorder_keeps_the_last_seconds_and_who_there_is() {
    const SECOND: u64 = 1_000_000_000;
    let limits = Limits {
        nanos: 2 * SECOND,
        bytes: 1 << 20,
    };
    let mut flight = Flight::new(limits);
    for (id, gone) in [(1, false), (2, true)] {
        let entry = crate::target::follow::Notice::Attached {
            id: TargetId(id),
            pid: id,
            service: "proxy".into(),
            version: "3.12".into(),
            probes: std::collections::BTreeMap::new(),
            missing: Vec::new(),
            found: None,
            container: crate::report::finding::Container::default(),
        };
        flight.notice(&entry);
        flight.event(&event(0, id, What::Attach { from_start: true }));
        let variable = What::Variable {
            slot: Slot(0),
            name: "tenant".into(),
            role: Role::Identity,
            default: None,
            empty: Arc::new([]),
        };
        flight.event(&event(0, id, variable));
        if gone {
            let id = TargetId(id);
            flight.notice(&crate::target::follow::Notice::Ended { id, pid: 2 });
        }
    }
    for millis in 0..10_000 {
        flight.event(&event(millis * 1_000_000, 1, What::End));
    }
    let mut file = Cursor::new(Vec::new());
    flight
        .excerpt(&Header::default())
        .unwrap()
        .write(&mut file)
        .unwrap();
    let (entries, ending) = read(&file.into_inner()).unwrap();
    assert_eq!(ending, Ending::Whole);
    let happened: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(&**event),
            _ => None,
        })
        .collect();
    assert!(
        happened.iter().all(|event| event.target == TargetId(1)),
        "the other is over"
    );
    assert!(matches!(happened[0].what, What::Attach { .. }));
    assert!(matches!(happened[1].what, What::Variable { .. }));
    assert!(matches!(happened[2].what, What::Gap { lost: 0 }));
    let (first, last) = (happened[3].time, happened.last().unwrap().time);
    assert_eq!(last, 9_999_000_000);
    let kept = last - first;
    assert!((2 * SECOND..3 * SECOND).contains(&kept), "{kept}");
    assert_eq!(
        happened.len() as u64 - 3,
        kept / 1_000_000 + 1,
        "nothing is missing in between"
    );
}

#[test]
fn the_flight_recorder_has_a_bound() {
    let limits = Limits {
        nanos: u64::MAX,
        bytes: 64 << 10,
    };
    let mut flight = Flight::new(limits);
    let mut most = 0;
    for time in 0..200_000_u64 {
        // Something that does not compress well.
        let time = time * 1_000_000 + time.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000;
        flight.event(&event(time, 1, What::End));
        most = most.max(flight.bytes());
    }
    assert!(most > 64 << 10 && most < 256 << 10, "{most}");
    assert_eq!(flight.missing(), 0);
}
