//! One direction of a stream: chunks of calls into pieces in the order of the stream.

use std::{collections::VecDeque, fmt};

use super::chunk::{Chunk, Moment};

/// Chunks of other calls that may wait for one call to be told to its end.
const WAITING: usize = 32;

/// A part of a stream: bytes, then bytes that nobody saw.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// How many bytes are missing after them.
    pub(super) missing: u64,
    /// It begins with the first byte of a call.
    pub(super) starts_call: bool,
    /// Something was lost before it, and nobody knows how much.
    pub(super) after_loss: bool,
}

/// A chunk without its bytes.
#[derive(Debug)]
struct Part {
    moment: Moment,
    offset: u64,
    total: u64,
    last: bool,
    lost_before: bool,
}

/// The call that is being told.
#[derive(Debug)]
struct Open {
    moment: Moment,
    /// Bytes that were told.
    told: u64,
    total: u64,
}

/// Puts the chunks of one direction in order.
#[derive(Default)]
pub(super) struct Calls {
    open: Option<Open>,
    waiting: VecDeque<(Part, Vec<u8>)>,
}

// What waits are bytes of the wire.
impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("open", &self.open)
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

impl Calls {
    /// Takes a chunk, and passes on what has its turn.
    pub(super) fn take(&mut self, chunk: &Chunk<'_>, then: &mut impl FnMut(Piece<'_>, &Moment)) {
        let part = Part {
            moment: Moment::of(chunk),
            offset: chunk.offset,
            total: chunk.total,
            last: chunk.last,
            lost_before: chunk.lost_before,
        };
        let other = |open: &Open| open.moment.thread != chunk.thread;
        if self.waiting.is_empty() && !self.open.as_ref().is_some_and(other) {
            self.pass(part, chunk.bytes, then);
            return;
        }
        self.waiting.push_back((part, chunk.bytes.to_vec()));
        self.drain(then);
        if self.waiting.len() > WAITING {
            self.give_up(then);
            self.drain(then);
        }
    }

    /// How many bytes wait.
    pub(super) fn weight(&self) -> usize {
        self.waiting.iter().map(|(_, bytes)| 128 + bytes.len()).sum()
    }

    /// Passes on what waits, call by call.
    fn drain(&mut self, then: &mut impl FnMut(Piece<'_>, &Moment)) {
        loop {
            let next = match &self.open {
                Some(open) => self
                    .waiting
                    .iter()
                    .position(|(part, _)| part.moment.thread == open.moment.thread),
                None => Some(0),
            };
            match next.and_then(|at| self.waiting.remove(at)) {
                Some((part, bytes)) => self.pass(part, &bytes, then),
                None => return,
            }
        }
    }

    /// The rest of the open call will not come.
    fn give_up(&mut self, then: &mut impl FnMut(Piece<'_>, &Moment)) {
        if let Some(open) = self.open.take() {
            let rest = Piece {
                bytes: &[],
                missing: open.total.saturating_sub(open.told),
                starts_call: open.told == 0,
                after_loss: false,
            };
            then(rest, &open.moment);
        }
    }

    /// Passes on a chunk of the open call, or of the next.
    fn pass(&mut self, part: Part, bytes: &[u8], then: &mut impl FnMut(Piece<'_>, &Moment)) {
        if part.offset == 0 {
            self.give_up(then);
        }
        let told = self.open.take().map_or(0, |open| open.told);
        // Nothing is told twice, whatever the offsets say.
        let known = usize::try_from(told.saturating_sub(part.offset)).unwrap_or(usize::MAX);
        let bytes = &bytes[known.min(bytes.len())..];
        let start = part.offset.max(told);
        let end = start.saturating_add(bytes.len() as u64);
        let total = part.total.max(end);
        if start > told {
            let skipped = Piece {
                bytes: &[],
                missing: start - told,
                starts_call: told == 0,
                after_loss: part.lost_before,
            };
            then(skipped, &part.moment);
        }
        let piece = Piece {
            bytes,
            missing: if part.last { total - end } else { 0 },
            starts_call: start == 0,
            after_loss: part.lost_before && start == told,
        };
        then(piece, &part.moment);
        if !part.last && end < total {
            self.open = Some(Open {
                moment: part.moment,
                told: end,
                total,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{correlate::event::Carrier, wire::testing::call};

    /// What pieces say, joined: bytes, `?` for each missing one, `|` at each call, `!` after a loss.
    fn joined(chunks: &[Chunk<'_>]) -> String {
        let mut calls = Calls::default();
        let mut out = String::new();
        for chunk in chunks {
            calls.take(chunk, &mut |piece: Piece<'_>, _: &Moment| {
                out.extend(piece.starts_call.then_some('|'));
                out.extend(piece.after_loss.then_some('!'));
                out.push_str(std::str::from_utf8(piece.bytes).unwrap());
                out.extend(std::iter::repeat_n('?', piece.missing as usize));
            });
        }
        out
    }

    fn part(thread: u32, offset: u64, total: u64, bytes: &[u8]) -> Chunk<'_> {
        Chunk {
            thread: Carrier(thread),
            offset,
            total,
            last: false,
            ..call(bytes)
        }
    }

    fn end(thread: u32, offset: u64, total: u64, bytes: &[u8]) -> Chunk<'_> {
        Chunk {
            last: true,
            ..part(thread, offset, total, bytes)
        }
    }

    #[test]
    fn calls_follow_one_another() {
        assert_eq!(joined(&[call(b"ab"), call(b"cd")]), "|ab|cd");
        assert_eq!(joined(&[end(1, 0, 5, b"ab"), call(b"c")]), "|ab???|c");
        assert_eq!(joined(&[part(1, 0, 4, b"ab"), end(1, 2, 4, b"cd")]), "|abcd");
        assert_eq!(
            joined(&[part(1, 0, 9, b"ab"), call(b"c")]),
            "|ab???????|c",
            "its end was lost"
        );
        assert_eq!(
            joined(&[end(1, 3, 5, b"de"), call(b"x")]),
            "|???de|x",
            "its beginning was lost"
        );
        let lost = Chunk {
            lost_before: true,
            ..call(b"b")
        };
        assert_eq!(joined(&[call(b"a"), lost]), "|a|!b");
    }

    #[test]
    fn chunks_of_calls_that_ran_at_once_are_told_apart() {
        let mixed = [
            part(1, 0, 6, b"ab"),
            part(2, 0, 4, b"vw"),
            part(1, 2, 6, b"cd"),
            end(2, 2, 4, b"xy"),
            end(3, 0, 1, b"z"),
            end(1, 4, 6, b"ef"),
        ];
        assert_eq!(joined(&mixed), "|abcdef|vwxy|z");
    }

    #[test]
    fn a_call_that_never_ends_does_not_hold_up_the_others() {
        let mut chunks = vec![part(1, 0, 3, b"a")];
        chunks.extend((0..=WAITING).map(|_| end(2, 0, 1, b"z")));
        assert_eq!(joined(&chunks), format!("|a??{}", "|z".repeat(WAITING + 1)));
    }

    #[test]
    fn offsets_that_make_no_sense_tell_nothing_twice() {
        assert_eq!(
            joined(&[part(1, 0, 9, b"abc"), end(1, 1, 9, b"bcd")]),
            "|abcd?????"
        );
        let hostile = part(1, u64::MAX, 0, b"abc");
        let mut calls = Calls::default();
        calls.take(&hostile, &mut |_: Piece<'_>, _: &Moment| {});
        calls.take(&call(b"a"), &mut |_: Piece<'_>, _: &Moment| {});
    }
}
