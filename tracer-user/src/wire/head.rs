//! Heads of HTTP/1.1 messages: what they say about who asks, and about the body.

use super::{
    reason::Reason,
    rpc::Method,
    rules::Rules,
    secret::{Credential, Fingerprint, Tag},
};

/// Headers of one message.
const HEADERS: usize = 128;

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: HeadKind,
    pub(super) framing: Framing,
    pub(super) content: Content,
    pub(super) credential: Option<Credential>,
    pub(super) session: Option<Fingerprint>,
    /// The method that a header names.
    pub(super) method: Option<Method>,
}

/// Of which kind of message a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// A request; to `HEAD` comes a response without a body.
    Request {
        head: bool,
    },
    Response {
        status: u16,
    },
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
    /// Another protocol follows.
    Upgrade,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    Events,
    /// Compressed, and would be one of the two.
    Encoded,
    /// It is not said.
    Unsaid,
    Other,
}

/// Methods of HTTP, as requests begin.
const METHODS: [&[u8]; 8] = [
    b"POST ",
    b"GET ",
    b"DELETE ",
    b"PUT ",
    b"PATCH ",
    b"HEAD ",
    b"OPTIONS ",
    b"CONNECT ",
];
const RESPONSE: &[u8] = b"HTTP/1.";

/// Whether a message may begin like this.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    METHODS
        .iter()
        .copied()
        .chain([RESPONSE])
        .any(|start| bytes.starts_with(start) || start.starts_with(bytes))
}

impl Head {
    /// Reads a whole head.
    pub(super) fn parse(bytes: &[u8], rules: &Rules) -> Result<Self, Reason> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        if bytes.starts_with(RESPONSE) {
            let mut response = httparse::Response::new(&mut headers);
            let complete = response.parse(bytes).map_err(|_| Reason::BadHead)?.is_complete();
            let status = response.code.filter(|_| complete).ok_or(Reason::BadHead)?;
            let mut head = Self::read(HeadKind::Response { status }, response.headers, rules)?;
            match status {
                101 => head.framing = Framing::Upgrade,
                100..200 | 204 | 304 => head.framing = Framing::Length(0),
                _ => {}
            }
            Ok(head)
        } else {
            let mut request = httparse::Request::new(&mut headers);
            let complete = request.parse(bytes).map_err(|_| Reason::BadHead)?.is_complete();
            let method = request.method.filter(|_| complete).ok_or(Reason::BadHead)?;
            let kind = HeadKind::Request {
                head: method == "HEAD",
            };
            let connect = method == "CONNECT";
            let target = request.path.unwrap_or_default().as_bytes();
            let mut head = Self::read(kind, request.headers, rules)?;
            head.session = head.session.or_else(|| session_of(target, rules));
            if head.framing == Framing::UntilClose {
                head.framing = Framing::Length(0);
            }
            if connect {
                head.framing = Framing::Upgrade;
            }
            Ok(head)
        }
    }

    fn read(kind: HeadKind, headers: &[httparse::Header<'_>], rules: &Rules) -> Result<Self, Reason> {
        let values = |name: &'static str| {
            headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value.trim_ascii())
        };
        let credentials: Vec<(&[u8], &[u8])> = headers
            .iter()
            .filter(|header| {
                rules
                    .credentials
                    .iter()
                    .any(|name| header.name.eq_ignore_ascii_case(name))
            })
            .map(|header| (header.name.as_bytes(), header.value))
            .collect();
        let request = matches!(kind, HeadKind::Request { .. });
        Ok(Self {
            kind,
            framing: framing(values("transfer-encoding"), values("content-length"))?,
            content: content(
                values("content-type").next(),
                values("content-encoding").any(|value| !value.eq_ignore_ascii_case(b"identity")),
            ),
            credential: request
                .then(|| Credential::of(&rules.hasher, &credentials))
                .flatten(),
            session: values("mcp-session-id")
                .next()
                .map(|id| rules.hasher.hash(Tag::Session, &[id])),
            method: values("mcp-method").next().map(Method::of),
        })
    }
}

/// The session that the target of a request names: the transport of 2024-11-05 has no header for it.
pub(super) fn session_of(target: &[u8], rules: &Rules) -> Option<Fingerprint> {
    let query = target.splitn(2, |byte| *byte == b'?').nth(1)?;
    let id = query.split(|byte| *byte == b'&').find_map(|part| {
        part.strip_prefix(b"session_id=")
            .or_else(|| part.strip_prefix(b"sessionId="))
    })?;
    Some(rules.hasher.hash(Tag::Session, &[id]))
}

/// The length of the body by RFC 9112, section 6.3.
fn framing<'a>(
    mut codings: impl Iterator<Item = &'a [u8]>,
    lengths: impl Iterator<Item = &'a [u8]>,
) -> Result<Framing, Reason> {
    if let Some(coding) = codings.next() {
        let chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        return chunked.then_some(Framing::Chunked).ok_or(Reason::BadLength);
    }
    let mut length = None;
    for value in lengths {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let value: u64 = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|value| value.parse().ok())
            .ok_or(Reason::BadLength)?;
        if length.is_some_and(|length| length != value) {
            return Err(Reason::BadLength);
        }
        length = Some(value);
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

fn content(kind: Option<&[u8]>, encoded: bool) -> Content {
    let Some(kind) = kind else {
        return if encoded { Content::Other } else { Content::Unsaid };
    };
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let content = if essence == b"application/json" || essence.ends_with(b"+json") {
        Content::Json
    } else if essence == b"text/event-stream" {
        Content::Events
    } else {
        Content::Other
    };
    if encoded && content != Content::Other {
        Content::Encoded
    } else {
        content
    }
}
