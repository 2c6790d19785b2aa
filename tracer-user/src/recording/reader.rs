//! Reads a recording, up to its end or to where it is damaged. Its bytes are hostile.

use std::{collections::HashSet, io};

use super::{
    entry::{Entry, Header},
    frame::{HEAD, Head, OLDEST, START, Unpacker, VERSION, version},
    intern::Names,
    line::{Line, Stacks},
};
use crate::correlate::event::{Event, TargetId, What};

/// Processes that a recording may tell of.
const TARGETS: usize = 100_000;
/// Bytes of what is kept for the summary: names, remarks.
const KEPT: usize = 64 << 20;

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no recording")]
    Other,
    /// It was written by another version.
    #[error("it has format version {0}, and this bleedtrace reads versions {OLDEST} to {VERSION}")]
    Version(u32),
    /// It ends, or is damaged, before anything was told.
    #[error("nothing can be read behind its first {START} bytes")]
    NoHeader,
}

impl OpenError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) => "give a file that can be read",
            Self::Other => "give a file that `bleedtrace record -o FILE` has written",
            Self::Version(_) => {
                "replay it with the version of bleedtrace that has written it, or a later one"
            }
            Self::NoHeader => {
                "the run that wrote it was killed at once, or the file is damaged: record again"
            }
        }
    }
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the end of the run.
    Whole,
    /// Before that, behind a whole frame or inside one: whoever wrote it was killed, or the disk was full.
    Cut,
    /// At a place that is damaged.
    Damaged {
        /// The byte at which the damaged frame begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads the entries of a recording.
pub struct Reader<R> {
    from: R,
    version: u32,
    /// The frame that is read next.
    number: u32,
    /// Where the frame begins that was read last, and the next.
    offset: u64,
    next_offset: u64,
    unpacker: Unpacker,
    payload: Vec<u8>,
    raw: Vec<u8>,
    at: usize,
    names: Names,
    stacks: Stacks,
    targets: HashSet<TargetId>,
    kept: usize,
    ending: Option<Ending>,
}

enum Frame {
    Read,
    End,
    /// The file ends within it.
    Torn,
    Damaged(&'static str),
}

impl<R: io::Read> Reader<R> {
    /// Begins to read.
    pub fn open(mut from: R) -> Result<(Header, Self), OpenError> {
        let mut start = [0; START];
        if fill(&mut from, &mut start)? < START {
            return Err(OpenError::Other);
        }
        let version = match version(&start) {
            None => return Err(OpenError::Other),
            Some(version @ OLDEST..=VERSION) => version,
            Some(other) => return Err(OpenError::Version(other)),
        };
        let mut reader = Self {
            from,
            version,
            number: 0,
            offset: 0,
            next_offset: START as u64,
            unpacker: Unpacker::new()?,
            payload: Vec::new(),
            raw: Vec::new(),
            at: 0,
            names: Names::default(),
            stacks: Stacks::default(),
            targets: HashSet::new(),
            kept: 0,
            ending: None,
        };
        let Frame::Read = reader.frame()? else {
            return Err(OpenError::NoHeader);
        };
        let header = serde_json::from_slice(&reader.raw).map_err(|_| OpenError::NoHeader)?;
        reader.raw.clear();
        Ok((header, reader))
    }

    /// The next entry; none at the end, of which [`Self::ending`] tells.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let (mut entry, len) = loop {
            while self.at == self.raw.len() {
                match self.frame()? {
                    Frame::Read => {
                        self.at = 0;
                        self.stacks.clear();
                    }
                    Frame::End | Frame::Torn => return Ok(self.end(Ending::Cut)),
                    Frame::Damaged(what) => return Ok(self.damaged(what)),
                }
            }
            let Some((line, len)) = self.line() else {
                return Ok(self.damaged("an entry makes no sense"));
            };
            self.at += len;
            let known = match line {
                Line::Entry(entry) => break (entry, len),
                Line::Stack(mut stack) => {
                    self.names.share_of_stack(&mut stack);
                    self.stacks.add(stack)
                }
                Line::Event(None, event) => break (Entry::Event(event), len),
                Line::Event(Some(number), mut event) => {
                    if self.stacks.put(number, &mut event) {
                        break (Entry::Event(event), len);
                    }
                    false
                }
            };
            if !known {
                return Ok(self.damaged("an event stands on no stack"));
            }
        };
        let left = self.at == self.raw.len();
        match &mut entry {
            Entry::Event(event) => self.look(event, len),
            Entry::Attached(attached) => {
                self.targets.insert(attached.id);
                self.kept += len;
            }
            Entry::Counters(..) | Entry::Malformed(_) => {}
            Entry::End(_) => {
                let over = left && matches!(self.frame()?, Frame::End);
                if !over {
                    return Ok(self.damaged("it goes on behind its end"));
                }
                self.ending = Some(Ending::Whole);
            }
            _ => self.kept += len,
        }
        if self.targets.len() > TARGETS || self.kept > KEPT {
            return Ok(self.damaged("it tells of more processes or names than there can be"));
        }
        Ok(Some(entry))
    }

    /// What stands next in the frame, and how many bytes it takes.
    fn line(&self) -> Option<(Line, usize)> {
        let rest = &self.raw[self.at..];
        let (line, left) = match self.version {
            1 => {
                let (entry, left) = postcard::take_from_bytes::<Entry>(rest).ok()?;
                (Line::Entry(entry), left)
            }
            _ => postcard::take_from_bytes(rest).ok()?,
        };
        Some((line, rest.len() - left.len()))
    }

    fn look(&mut self, event: &mut Event, len: usize) {
        self.targets.insert(event.target);
        if matches!(event.what, What::Variable { .. }) {
            self.kept += len;
        }
        self.names.share(event);
    }

    /// How it ended, once it has.
    pub const fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    fn end(&mut self, ending: Ending) -> Option<Entry> {
        self.ending = Some(ending);
        None
    }

    fn damaged(&mut self, what: &'static str) -> Option<Entry> {
        let offset = self.offset;
        self.end(Ending::Damaged { offset, what })
    }

    /// Reads the next frame's content.
    fn frame(&mut self) -> io::Result<Frame> {
        self.offset = self.next_offset;
        let mut head = [0; HEAD];
        match fill(&mut self.from, &mut head)? {
            0 => return Ok(Frame::End),
            read if read < HEAD => return Ok(Frame::Torn),
            _ => {}
        }
        let Some(head) = Head::parse(&head) else {
            return Ok(Frame::Damaged("the head of a frame is damaged"));
        };
        if head.number != self.number {
            return Ok(Frame::Damaged("a frame is missing"));
        }
        self.payload.resize(head.len, 0);
        if fill(&mut self.from, &mut self.payload)? < head.len {
            return Ok(Frame::Torn);
        }
        if !self.unpacker.unpack(head, &self.payload, &mut self.raw) {
            return Ok(Frame::Damaged("a frame is damaged"));
        }
        self.number = self.number.wrapping_add(1);
        self.next_offset += (HEAD + head.len) as u64;
        Ok(Frame::Read)
    }
}

/// Reads as much as there is.
fn fill(from: &mut impl io::Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
