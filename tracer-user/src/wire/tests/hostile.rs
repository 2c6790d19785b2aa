//! Bytes that somebody made up: bounded memory, counted, no crash.

use proptest::{collection::vec, prelude::*};

use crate::{
    correlate::event::{Carrier, TargetId},
    wire::{
        Wire,
        chunk::{Chunk, Direction, StreamKey, Transport},
        fact::{Bounded, Fact},
        reason::Reason,
        rules::{Bounds, Rules},
        testing::{call, facts, post, rules, sent, stream},
    },
};

fn bounded(bounds: Bounds) -> Wire {
    Wire::new(Rules { bounds, ..rules() })
}

fn evicted(facts: &[Fact], what: Bounded) -> u64 {
    facts
        .iter()
        .map(|fact| match fact {
            Fact::Evicted(which, n) if *which == what => *n,
            _ => 0,
        })
        .sum()
}

fn unparsed(facts: &[Fact]) -> Vec<Reason> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Unparsed(_, reason) => Some(*reason),
            _ => None,
        })
        .collect()
}

#[test]
fn documents_that_go_wrong() {
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{}",
        "[".repeat(60_000)
    );
    let members = format!("{{{}\"jsonrpc\":\"2.0\"}}", "\"id\":1,".repeat(8_000));
    let batch = format!(
        "[{}1]",
        r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get"},"#.repeat(1_000)
    );
    for (body, reason) in [
        ("", None),
        ("{", Some(Reason::BadJson)),
        ("nonsense", Some(Reason::BadJson)),
        ("{\"jsonrpc\":\"2.0\"} trailing", Some(Reason::BadJson)),
        ("{\"id\":1e999}", Some(Reason::BadJson)),
        ("{\"id\":\"\\ud800\"}", Some(Reason::BadJson)),
        ("[[[]]]", None),
        (&deep, Some(Reason::BadJson)),
        (&members, None),
        (&batch, Some(Reason::TooMany)),
    ] {
        let said = facts(&[call(&post("", body))]);
        let got = unparsed(&said);
        let shown = &body[..body.len().min(40)];
        assert_eq!(got.first().copied(), reason, "{shown}");
        assert!(said.len() <= 200, "{shown}: {}", said.len());
    }
}

#[test]
fn heads_that_go_wrong() {
    let many = format!("POST / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    let long = format!("POST / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(20_000));
    let endless = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "0".repeat(5_000)
    );
    let trailer = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}",
        "a: b\r\n".repeat(5_000)
    );
    for (head, reason) in [
        (&many[..], Reason::BadHead),
        (&long, Reason::HeadTooLong),
        (&endless, Reason::BadLength),
        (&trailer, Reason::BadLength),
        ("POST / HTTP/1.1\r\n\u{1}: x\r\n\r\n", Reason::BadHead),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            Reason::BadLength,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Reason::BadLength),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Reason::BadLength,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Reason::BadLength,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Reason::BadLength,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            Reason::BadLength,
        ),
        ("POSTER", Reason::BadHead),
        ("\u{16}\u{3}\u{1}", Reason::NoStart),
    ] {
        let split: Vec<Chunk<'_>> = head.as_bytes().chunks(1).map(call).collect();
        let got = unparsed(&facts(&split));
        assert_eq!(got, [reason], "{}", &head[..head.len().min(60)]);
    }
}

#[test]
fn endless_messages_are_kept_up_to_a_bound() {
    let block = vec![b'x'; 4096];
    for head in [
        "POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n{\"a\":\"",
        "POST / HTTP/1.1\r\nContent-Type: text/event-stream\r\nContent-Length: 999999999999\r\n\r\ndata: ",
        "POST / HTTP/1.1\r\nX: ",
    ] {
        let mut wire = Wire::new(rules());
        let mut said = Vec::new();
        wire.apply(&call(head.as_bytes()), &mut said);
        for _ in 0..2_000 {
            wire.apply(&call(&block), &mut said);
            assert!(wire.kept() <= 200_000, "{head}: {}", wire.kept());
        }
        assert!(said.len() < 10);
    }
    let mut wire = Wire::new(rules());
    let mut said = Vec::new();
    for _ in 0..2_000 {
        let line = Chunk {
            stream: stream(Transport::Stdio, 0),
            ..call(&block)
        };
        wire.apply(&line, &mut said);
        assert!(wire.kept() <= 200_000);
    }
}

#[test]
fn streams_are_bounded_in_number_and_in_bytes() {
    let asked = b"POST / HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    let on = |handle, bytes| Chunk {
        stream: stream(Transport::Socket, handle),
        ..call(bytes)
    };
    let mut wire = bounded(Bounds {
        streams: 100,
        ..Bounds::default()
    });
    let mut said = Vec::new();
    for handle in 0..1_000 {
        wire.apply(&on(handle, asked), &mut said);
    }
    assert_eq!(evicted(&said, Bounded::Streams), 900);
    let mut wire = bounded(Bounds {
        bytes: 10_000,
        ..Bounds::default()
    });
    let mut said = Vec::new();
    for handle in 0..1_000 {
        wire.apply(&on(handle, asked), &mut said);
        assert!(wire.kept() <= 10_000);
    }
    assert!(evicted(&said, Bounded::Streams) > 800);
    wire.exit(TargetId(1), &mut said);
    assert_eq!(wire.kept(), 0);
}

#[test]
fn open_requests_are_bounded() {
    let mut wire = bounded(Bounds {
        open: 1_000,
        ..Bounds::default()
    });
    let mut said = Vec::new();
    for id in 0..3_000 {
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tasks/get\"}}\n");
        wire.apply(
            &Chunk {
                stream: stream(Transport::Stdio, 0),
                ..call(line.as_bytes())
            },
            &mut said,
        );
    }
    assert_eq!(evicted(&said, Bounded::Open), 2_000);
    let requests = b"GET / HTTP/1.1\r\n\r\n".repeat(10_000);
    let said = facts(&[call(&requests)]);
    assert!(unparsed(&said).iter().all(|reason| *reason == Reason::TooMany) && !said.is_empty());
}

/// Bytes that lead somewhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        "[A-Z]{3,5} / HTTP/1.1\r\n(Content-Length: [0-9]{1,3}\r\n)?(Content-Type: (application/json|text/event-stream)\r\n)?\r\n"
            .prop_map(String::into_bytes),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n".to_vec()),
        "[0-9a-f]{1,2}\r\n".prop_map(String::into_bytes),
        "(data: )?\\{\"jsonrpc\":\"2.0\",\"id\":[0-9]{1,2},\"(method\":\"tasks/get\"|result\":\\{\\})\\}\r?\n".prop_map(String::into_bytes),
        Just(b"\r\n\r\n0\r\n\r\n".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn anything_is_survived(
        chunks in vec((pieces(), any::<bool>(), 0..4_u64, 0..3_u32, 0..5_u64, any::<u64>(), any::<[bool; 3]>()), 0..60),
    ) {
        let mut wire = bounded(Bounds { streams: 3, bytes: 1_024, open: 5, tasks: 5 });
        let mut said = Vec::new();
        for (bytes, input, handle, thread, offset, total, [last, lost_before, stdio]) in &chunks {
            let transport = if *stdio { Transport::Stdio } else { Transport::Tls };
            let key = StreamKey { process: TargetId(1), transport, handle: *handle, generation: 0 };
            let chunk = Chunk {
                stream: key,
                direction: if *input { Direction::In } else { Direction::Out },
                thread: Carrier(*thread),
                offset: if *offset == 4 { *total } else { *offset },
                total: if *last { bytes.len() as u64 } else { *total },
                last: *last,
                lost_before: *lost_before,
                ..sent(bytes)
            };
            wire.apply(&chunk, &mut said);
            prop_assert!(wire.kept() <= 1_024);
        }
        wire.exit(TargetId(1), &mut said);
        prop_assert_eq!(wire.kept(), 0);
    }
}
