//! Chunks for tests, and recorded exchanges of real servers.

use super::{
    Wire,
    chunk::{Chunk, Direction, StreamKey, Transport},
    fact::{Fact, Outcome},
    rules::Rules,
};
use crate::correlate::event::{Carrier, TargetId};

/// A stream of the first process.
pub(super) fn stream(transport: Transport, handle: u64) -> StreamKey {
    StreamKey {
        process: TargetId(1),
        transport,
        handle,
        generation: 0,
    }
}

/// A call that received these bytes on a socket.
pub(super) fn call(bytes: &[u8]) -> Chunk<'_> {
    Chunk {
        stream: stream(Transport::Socket, 7),
        direction: Direction::In,
        thread: Carrier(1),
        time: 1,
        offset: 0,
        total: bytes.len() as u64,
        last: true,
        lost_before: false,
        bytes,
        context: None,
    }
}

/// A call that sent them.
pub(super) fn sent(bytes: &[u8]) -> Chunk<'_> {
    Chunk {
        direction: Direction::Out,
        ..call(bytes)
    }
}

/// The first bytes of a call.
pub(super) fn cut(chunk: Chunk<'_>, limit: usize) -> Chunk<'_> {
    Chunk {
        bytes: &chunk.bytes[..limit.min(chunk.bytes.len())],
        ..chunk
    }
}

pub(super) fn rules() -> Rules {
    Rules::new(&[7; 32], &["X-Tenant-Key"])
}

/// What a wire says of some chunks.
pub(super) fn facts(chunks: &[Chunk<'_>]) -> Vec<Fact> {
    let mut wire = Wire::new(rules());
    let mut facts = Vec::new();
    for chunk in chunks {
        wire.apply(chunk, &mut facts);
    }
    facts
}

/// Facts as lines, without times; hashes by their first digits.
pub(super) fn said(facts: &[Fact]) -> Vec<String> {
    let short = |hash: &super::secret::Fingerprint| hash.to_string()[..4].to_owned();
    let line = |fact: &Fact| match fact {
        Fact::Request(r) => {
            let mut line = format!("{:?} {:?}", r.side, r.method);
            line.extend(r.id.map(|id| format!(" id={id:?}")));
            line.extend(r.tool.as_ref().map(|tool| format!(" tool={tool}")));
            line.extend(r.task.as_ref().map(|task| format!(" task={}", short(task))));
            line.extend(r.wants_task.then_some(" wants a task"));
            line.extend(
                r.session
                    .as_ref()
                    .map(|session| format!(" session={}", short(session))),
            );
            line.extend(r.credential.map(|by| format!(" by={}", short(&by.whole))));
            line
        }
        Fact::Response(r) => {
            let to = match &r.request {
                Some(request) => format!("{:?} {:?}", request.method, request.id),
                None => "nothing that was seen".to_owned(),
            };
            let outcome = match &r.outcome {
                Outcome::Minted {
                    task,
                    generation,
                    ttl,
                } => {
                    format!("minted {} {generation:?} ttl={ttl:?}", short(task))
                }
                Outcome::State { task } => format!("state of {}", short(task)),
                Outcome::Listed(tasks) => {
                    format!("list of {:?}", tasks.iter().map(short).collect::<Vec<_>>())
                }
                other => format!("{other:?}"),
            };
            format!("  to {to}: {outcome}")
        }
        other => format!("{other:?}"),
    };
    facts.iter().map(line).collect()
}

/// A call of a recording.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) stream: StreamKey,
    pub(super) direction: Direction,
    pub(super) thread: Carrier,
    pub(super) bytes: Vec<u8>,
}

impl Recorded {
    pub(super) fn chunk(&self) -> Chunk<'_> {
        Chunk {
            stream: self.stream,
            direction: self.direction,
            thread: self.thread,
            ..call(&self.bytes)
        }
    }
}

/// Reads a recording: direction, transport, descriptor, thread and bytes of each call, a line each.
pub(super) fn recording(text: &str) -> Vec<Recorded> {
    text.lines()
        .map(|line| {
            let mut words = line.splitn(5, ' ');
            let mut word = || words.next().expect("five words a line");
            let direction = match word() {
                "in" => Direction::In,
                _ => Direction::Out,
            };
            let transport = match word() {
                "stdio" => Transport::Stdio,
                _ => Transport::Socket,
            };
            let handle = word().parse().expect("a descriptor");
            let thread = Carrier(word().parse().expect("a thread"));
            let text: String = serde_json::from_str(word()).expect("bytes as a JSON string");
            Recorded {
                stream: stream(transport, handle),
                direction,
                thread,
                bytes: text
                    .chars()
                    .map(|c| u8::try_from(c as u32).expect("a byte"))
                    .collect(),
            }
        })
        .collect()
}

/// Every recording, by name.
pub(super) const RECORDINGS: [(&str, &str); 7] = [
    ("mcp 1.30.0, JSON", include_str!("testdata/mcp-1.30.0-json.txt")),
    (
        "mcp 1.26.0, events by httptools",
        include_str!("testdata/mcp-1.26.0-httptools.txt"),
    ),
    ("mcp 1.30.0, events", include_str!("testdata/mcp-1.30.0-sse.txt")),
    (
        "mcp 1.30.0, events on another connection",
        include_str!("testdata/mcp-1.30.0-two-connections.txt"),
    ),
    ("mcp 1.30.0, stdio", include_str!("testdata/mcp-1.30.0-stdio.txt")),
    (
        "fastmcp 4.1.1, HTTP",
        include_str!("testdata/fastmcp-4.1.1-http.txt"),
    ),
    (
        "fastmcp 4.1.1, stdio",
        include_str!("testdata/fastmcp-4.1.1-stdio.txt"),
    ),
];

/// A request of HTTP with this body.
pub(super) fn post(headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: a\r\n{headers}Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A response of HTTP with this body.
pub(super) fn ok(body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}")
        .into_bytes()
}
