//! One direction of an HTTP/1.1 connection: pieces into heads and bodies.

use std::fmt;

use super::{
    calls::Piece,
    head::{Framing, Head, may_begin},
    reason::Reason,
    rules::Rules,
};

/// Bytes of a head.
const HEAD: usize = 16 * 1024;
/// Bytes of the line that tells a chunk's size.
const SIZE: usize = 256;
/// Bytes of what follows the last chunk.
const TRAILER: usize = 8 * 1024;

/// What a piece says.
pub(super) enum Part<'a> {
    Head(Box<Head>),
    Body(&'a [u8]),
    /// Bytes of the body that nobody saw.
    Missing,
    /// The message is complete.
    End,
    /// What follows is dropped, up to a call that begins with a message.
    Lost(Reason),
}

enum State {
    /// Waits for a call that begins with a message; `told` says that this was said.
    Searching {
        told: bool,
    },
    /// In a head; `line` bytes of its current line were seen.
    Head {
        bytes: Vec<u8>,
        line: usize,
    },
    Body(Left),
    /// Another protocol: nothing is read any more.
    Opaque,
}

/// What is left of a body.
enum Left {
    Bytes(u64),
    /// The line that tells the size of a chunk.
    Size(Vec<u8>),
    Chunk(u64),
    /// The line break after a chunk.
    Break(u8),
    /// Lines after the last chunk: bytes so far, and of the current line.
    Trailer(usize, usize),
    UntilClose,
}

/// Reads one direction.
pub(super) struct Reader {
    state: State,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Searching { told: false },
        }
    }
}

// A head holds credentials.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Searching { .. } => "searching",
            State::Head { .. } => "in a head",
            State::Body(_) => "in a body",
            State::Opaque => "opaque",
        })
    }
}

/// Splits off what comes before the first `n` bytes' end.
fn split<'a>(piece: &mut Piece<'a>, n: u64) -> &'a [u8] {
    let n = usize::try_from(n).unwrap_or(usize::MAX).min(piece.bytes.len());
    let (taken, rest) = piece.bytes.split_at(n);
    piece.bytes = rest;
    piece.starts_call &= n == 0;
    taken
}

impl Reader {
    /// The message whose head came last has no body: it answers `HEAD`.
    pub(super) fn no_body(&mut self) {
        if let State::Body(left) = &mut self.state {
            *left = Left::Bytes(0);
        }
    }

    /// How many bytes it keeps.
    pub(super) fn weight(&self) -> usize {
        match &self.state {
            State::Head { bytes, .. } | State::Body(Left::Size(bytes)) => bytes.len(),
            _ => 0,
        }
    }

    /// The connection is closed: what lasts until then is complete.
    pub(super) fn close(&mut self) -> Option<Part<'static>> {
        let state = std::mem::replace(&mut self.state, State::Opaque);
        matches!(state, State::Body(Left::UntilClose)).then_some(Part::End)
    }

    /// The next that the piece says, until it says nothing more.
    pub(super) fn next<'a>(&mut self, piece: &mut Piece<'a>, rules: &Rules) -> Option<Part<'a>> {
        loop {
            if std::mem::take(&mut piece.after_loss) && !matches!(self.state, State::Opaque) {
                return Some(self.lose(Reason::Lost));
            }
            if matches!(self.state, State::Body(Left::Bytes(0))) {
                self.state = State::Head {
                    bytes: Vec::new(),
                    line: 0,
                };
                return Some(Part::End);
            }
            if piece.bytes.is_empty() {
                return match std::mem::take(&mut piece.missing) {
                    0 => None,
                    missing => self.miss(piece, missing),
                };
            }
            let part = match &mut self.state {
                State::Searching { told } => {
                    if piece.starts_call && may_begin(piece.bytes) {
                        self.state = State::Head {
                            bytes: Vec::new(),
                            line: 0,
                        };
                        continue;
                    }
                    piece.bytes = &[];
                    (!std::mem::replace(told, true)).then_some(Part::Lost(Reason::NoStart))
                }
                State::Opaque => {
                    (piece.bytes, piece.missing) = (&[], 0);
                    None
                }
                State::Head { .. } => self.head(piece, rules),
                State::Body(_) => self.body(piece),
            };
            if part.is_some() {
                return part;
            }
        }
    }

    fn lose<'a>(&mut self, reason: Reason) -> Part<'a> {
        self.state = State::Searching { told: true };
        Part::Lost(reason)
    }

    /// Some bytes are not known.
    fn miss<'a>(&mut self, piece: &mut Piece<'a>, missing: u64) -> Option<Part<'a>> {
        piece.starts_call = false;
        match &mut self.state {
            State::Searching { .. } | State::Opaque => None,
            State::Head { bytes, .. } => {
                let reason = if bytes.is_empty() {
                    Reason::Cut
                } else {
                    Reason::HeadCut
                };
                Some(self.lose(reason))
            }
            State::Body(Left::UntilClose) => Some(Part::Missing),
            State::Body(Left::Bytes(left)) => {
                let inside = missing.min(*left);
                *left -= inside;
                piece.missing = missing - inside;
                Some(Part::Missing)
            }
            State::Body(Left::Chunk(left)) if missing <= *left => {
                *left -= missing;
                if *left == 0 {
                    self.state = State::Body(Left::Break(0));
                }
                Some(Part::Missing)
            }
            State::Body(_) => Some(self.lose(Reason::Cut)),
        }
    }

    fn head<'a>(&mut self, piece: &mut Piece<'a>, rules: &Rules) -> Option<Part<'a>> {
        let State::Head { bytes, line } = &mut self.state else {
            return None;
        };
        let mut ended = false;
        while let Some((&byte, rest)) = piece.bytes.split_first() {
            (piece.bytes, piece.starts_call) = (rest, false);
            // Empty lines may stand before a message.
            if bytes.is_empty() && matches!(byte, b'\r' | b'\n') {
                continue;
            }
            bytes.push(byte);
            match byte {
                b'\n' if *line == 0 => {
                    ended = true;
                    break;
                }
                b'\n' => *line = 0,
                b'\r' => {}
                _ => *line += 1,
            }
            if bytes.len() >= HEAD {
                return Some(self.lose(Reason::HeadTooLong));
            }
        }
        if !may_begin(bytes) {
            return Some(self.lose(Reason::BadHead));
        }
        if !ended {
            return None;
        }
        match Head::parse(bytes, rules) {
            Ok(head) => {
                self.state = match head.framing {
                    Framing::Length(length) => State::Body(Left::Bytes(length)),
                    Framing::Chunked => State::Body(Left::Size(Vec::new())),
                    Framing::UntilClose => State::Body(Left::UntilClose),
                    Framing::Upgrade => State::Opaque,
                };
                Some(Part::Head(Box::new(head)))
            }
            Err(reason) => Some(self.lose(reason)),
        }
    }

    fn body<'a>(&mut self, piece: &mut Piece<'a>) -> Option<Part<'a>> {
        let State::Body(left) = &mut self.state else {
            return None;
        };
        match left {
            Left::UntilClose => Some(Part::Body(split(piece, u64::MAX))),
            Left::Bytes(left) => {
                let bytes = split(piece, *left);
                *left -= bytes.len() as u64;
                Some(Part::Body(bytes))
            }
            Left::Chunk(size) => {
                let bytes = split(piece, *size);
                *size -= bytes.len() as u64;
                if *size == 0 {
                    *left = Left::Break(0);
                }
                Some(Part::Body(bytes))
            }
            Left::Break(seen) => {
                let byte = split(piece, 1)[0];
                match (byte, *seen) {
                    (b'\r', 0) => *seen = 1,
                    (b'\n', _) => *left = Left::Size(Vec::new()),
                    _ => return Some(self.lose(Reason::BadLength)),
                }
                None
            }
            Left::Size(line) => {
                let end = piece.bytes.iter().position(|byte| *byte == b'\n');
                let taken = split(piece, end.map_or(u64::MAX, |at| at as u64 + 1));
                if line.len() + taken.len() > SIZE {
                    return Some(self.lose(Reason::BadLength));
                }
                line.extend_from_slice(taken);
                end?;
                match httparse::parse_chunk_size(line) {
                    Ok(httparse::Status::Complete((_, 0))) => *left = Left::Trailer(0, 0),
                    Ok(httparse::Status::Complete((_, size))) => *left = Left::Chunk(size),
                    _ => return Some(self.lose(Reason::BadLength)),
                }
                None
            }
            Left::Trailer(all, line) => {
                *all += 1;
                match split(piece, 1)[0] {
                    b'\n' if *line == 0 => *left = Left::Bytes(0),
                    b'\n' => *line = 0,
                    b'\r' => {}
                    _ => *line += 1,
                }
                if let State::Body(Left::Trailer(all, _)) = &self.state
                    && *all > TRAILER
                {
                    return Some(self.lose(Reason::BadLength));
                }
                None
            }
        }
    }
}
