//! Recordings of version 1 stay readable: one of everything, as it was written once.

use std::{env, fs, path::Path};

use super::recorded::sealed_events;
use crate::{
    correlate::{
        announcement::{Announcement, Said as Name},
        event::{
            Brings, Bytes, Conveys, Doing, Event, Handle, ItemKey, Primitive, QueueKey, Scope, TargetId,
            TaskKey, What, Work,
        },
        testing::{LOOP, TENANT, World, at, minting, text},
    },
    recording::{
        entry::{Attached, Entry, Header, ProbeTotal},
        frame::{OLDEST, VERSION},
        reader::{Ending, Reader},
        tests::written,
    },
    wire::{
        chunk::{Context, Direction, Transport},
        rules::Rules,
    },
};

const SERVICE: &str = "proxy";

/// Two tenants and a worker that mixes them up, and one of every other event.
fn events() -> Vec<Event> {
    let mut w = World::new();
    w.worker(2);
    for tenant in ["acme", "globex"] {
        w.request();
        w.bind(LOOP, TENANT, text(tenant), "handler");
        let item = w.submit(LOOP);
        w.take(2, item);
        w.read(2, "worker_reads");
        if tenant == "acme" {
            w.bind(2, TENANT, text(tenant), "worker_binds");
        }
        w.idle(2);
        w.read(LOOP, "handler_reads");
        w.leave(LOOP);
    }
    let scope = w.request();
    let held = w.held(LOOP);
    let task = TaskKey(0x7000);
    for what in [
        What::Existing {
            doing: Doing::Loop,
            scope,
            held: held.clone(),
        },
        What::Random {
            scope,
            request: None,
            stack: minting(5, 6),
        },
        What::Coroutine {
            scope,
            request: None,
            stack: minting(5, 6),
        },
        What::Spawn {
            task,
            scope,
            entered: true,
            stack: at("spawn"),
        },
        What::TaskScope {
            task,
            scope: Scope(0x8000),
        },
        What::Complete {
            future: crate::correlate::event::FutureKey(0x7100),
            scope,
            conveys: Conveys::MayGive,
        },
        What::Wake {
            future: crate::correlate::event::FutureKey(0x7100),
            scope: Scope(0x8000),
        },
        What::Submit {
            item: ItemKey(0x7200),
            work: Work::Thread { pool: false },
            queue: QueueKey(0),
            primitive: Primitive::Thread,
            brings: Brings::Unknown,
            scope,
            held: held.clone(),
            stack: at("start"),
        },
    ] {
        w.emit(LOOP, what);
    }
    w.announce(
        LOOP,
        Announcement::TaskMinted {
            task: text("job-1"),
            owner: Name::Is(text("acme")),
        },
    );
    wire(&mut w, scope);
    w.emit(LOOP, What::ScopeEnd { scope });
    w.emit(2, What::End);
    w.emit(LOOP, What::Gap { lost: 2 });
    w.exit();
    w.events
}

/// A task is minted on a pipe.
fn wire(w: &mut World, scope: Scope) {
    let held = w.held(LOOP);
    let stream = Handle {
        transport: Transport::Stdio,
        number: 3,
        generation: 1,
    };
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work"}}"#;
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"job-1"}}"#;
    for (direction, line) in [(Direction::In, request), (Direction::Out, response)] {
        let line = format!("{line}\n");
        let bytes = Bytes {
            stream,
            direction,
            offset: 0,
            total: line.len() as u64,
            last: true,
            lost_before: false,
            bytes: line.as_bytes().into(),
            context: (direction == Direction::Out).then(|| {
                Context {
                    scope,
                    held: held.clone(),
                }
                .into()
            }),
        };
        w.emit(LOOP, What::Wire(Box::new(bytes)));
    }
    w.emit(LOOP, What::WireClosed(stream));
}

fn entries() -> Vec<Entry> {
    let mut entries = vec![Entry::Attached(Box::new(Attached {
        id: TargetId(1),
        pid: 4242,
        service: SERVICE.into(),
        version: "3.12".into(),
        probes: vec![("context_get".to_owned(), true), ("queue_get".to_owned(), false)],
        missing: vec![],
        found: Some((3, 2, 1)),
        container: crate::report::finding::Container {
            id: Some("0123456789ab".into()),
            pod: None,
        },
    }))];
    let rules = Rules::new(&[3; 32], &[""; 0]);
    let sealed = sealed_events(&events(), Some(rules));
    entries.extend(sealed.into_iter().map(|event| Entry::Event(Box::new(event))));
    entries.extend([
        Entry::Ended {
            id: TargetId(1),
            pid: 4242,
        },
        Entry::Failed {
            pid: 4243,
            service: "other".to_owned(),
            reason: "it is gone".to_owned(),
        },
        Entry::InUse(vec!["tenant".to_owned()]),
        Entry::NotFollowed {
            pid: 4242,
            path: "user.name".into(),
            text: "another is".to_owned(),
        },
        Entry::Remark {
            pid: 4242,
            text: "a remark".to_owned(),
        },
        Entry::Malformed(0),
        Entry::Counters(
            vec![ProbeTotal {
                probe: "context_get".to_owned(),
                counts: [9, 2, 0, 0, 0, 0],
                seconds: 0.25,
            }],
            vec!["*.mint".to_owned()],
        ),
        Entry::End(Some(0)),
    ]);
    entries
}

#[test]
fn what_every_version_wrote_is_read() {
    let path = |version: u32| {
        let name = format!("tests/recordings/version-{version}.bleed");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    };
    let header = Header {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        clock_offset: 1_767_323_045_000_000_000,
        wire: true,
        tasks: true,
        ..Header::default()
    };
    let entries = entries();
    let kinds = |what: &What| std::mem::discriminant(what);
    let seen: std::collections::HashSet<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(kinds(&event.what)),
            _ => None,
        })
        .collect();
    assert!(seen.len() >= 20, "{} kinds of events", seen.len());
    if env::var_os("BLEEDTRACE_WRITE_RECORDING").is_some() {
        fs::write(path(VERSION), written(&header, &entries)).unwrap();
    }
    for version in OLDEST..=VERSION {
        let file = fs::File::open(path(version)).unwrap();
        let (was, mut reader) = Reader::open(file).unwrap();
        assert_eq!(was.clock_offset, header.clock_offset);
        let mut read = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            read.push(entry);
        }
        assert_eq!(reader.ending(), Some(&Ending::Whole), "version {version}");
        assert_eq!(read, entries, "version {version}");
    }
}
