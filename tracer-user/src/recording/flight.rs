//! The flight recorder: the last seconds of a run, kept in memory until a finding asks for them.
//!
//! What is written can be replayed like a recording of a run that was joined in its middle: it begins with the processes and
//! variables that were known, and a gap.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use super::{
    entry::{Entry, Header},
    frame::{Packed, start},
    writer::{Buffer, packed},
};
use crate::{
    correlate::event::{Event, TargetId, What},
    target::follow::Notice,
};

/// Nanoseconds that a frame spans at most: as exactly as that the past ends.
const SPAN: u64 = 250_000_000;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nanoseconds.
    pub nanos: u64,
    /// Bytes, compressed.
    pub bytes: usize,
}

/// The past.
#[derive(Debug)]
pub struct Flight {
    limits: Limits,
    frames: VecDeque<Past>,
    bytes: usize,
    now: Buffer,
    /// When the first and the last entry of the buffer were told.
    begun: Option<u64>,
    last: u64,
    standing: BTreeMap<TargetId, Standing>,
    /// Entries that could not be kept.
    missing: u64,
}

#[derive(Debug)]
struct Past {
    until: u64,
    packed: Arc<Packed>,
}

/// What has to be known of a process to understand what it does.
#[derive(Debug)]
struct Standing {
    attached: Entry,
    events: Vec<Event>,
    ended: Option<u64>,
}

/// The past, ready to be written.
#[derive(Debug)]
pub struct Excerpt {
    header: Packed,
    standing: Vec<Packed>,
    frames: Vec<Arc<Packed>>,
    end: Packed,
}

impl Flight {
    /// A past in which nothing has happened yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            frames: VecDeque::new(),
            bytes: 0,
            now: Buffer::default(),
            begun: None,
            last: 0,
            standing: BTreeMap::new(),
            missing: 0,
        }
    }

    /// Another run begins, which numbers processes anew. What could not be kept so far stays counted.
    pub fn start_over(&mut self) {
        *self = Self {
            missing: self.missing,
            ..Self::new(self.limits)
        };
    }

    /// A process came, went, or could not be traced.
    pub fn notice(&mut self, notice: &Notice) {
        let Some(entry) = Entry::of(notice) else { return };
        match notice {
            Notice::Attached { id, .. } => {
                let standing = Standing {
                    attached: entry.clone(),
                    events: Vec::new(),
                    ended: None,
                };
                self.standing.insert(*id, standing);
            }
            Notice::Ended { id, .. } => {
                if let Some(standing) = self.standing.get_mut(id) {
                    standing.ended = Some(self.last);
                }
            }
            _ => {}
        }
        self.entry(&entry);
    }

    /// Something was told.
    pub fn entry(&mut self, entry: &Entry) {
        let pushed = self.now.push(entry);
        self.pushed(pushed.is_ok());
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event) {
        self.last = event.time;
        if let (What::Attach { .. } | What::Variable { .. }, Some(standing)) =
            (&event.what, self.standing.get_mut(&event.target))
        {
            if matches!(event.what, What::Attach { .. }) {
                standing.events.clear();
            }
            standing.events.push(event.clone());
        }
        let pushed = self.now.event(event);
        self.pushed(pushed.is_ok());
    }

    fn pushed(&mut self, pushed: bool) {
        self.missing += u64::from(!pushed);
        let begun = *self.begun.get_or_insert(self.last);
        if self.now.is_full() || self.last.saturating_sub(begun) >= SPAN {
            self.close();
            self.forget();
        }
    }

    /// Makes a frame of what is in the buffer.
    fn close(&mut self) {
        self.begun = None;
        let buffer = std::mem::take(&mut self.now);
        if buffer.entries == 0 {
            return;
        }
        match Packed::new(&buffer.raw) {
            Ok(packed) => {
                self.bytes += packed.size();
                self.frames.push_back(Past {
                    until: self.last,
                    packed: Arc::new(packed),
                });
            }
            Err(_) => self.missing += buffer.entries,
        }
    }

    /// Forgets what is too old, or too much.
    fn forget(&mut self) {
        let oldest = self.last.saturating_sub(self.limits.nanos);
        while let Some(first) = self.frames.front()
            && (first.until < oldest || self.bytes > self.limits.bytes)
        {
            self.bytes -= first.packed.size();
            self.frames.pop_front();
        }
        self.standing
            .retain(|_, standing| standing.ended.is_none_or(|ended| ended >= oldest));
    }

    /// Bytes that are kept of the past.
    pub const fn bytes(&self) -> usize {
        self.bytes + self.now.raw.len()
    }

    /// Entries that could not be kept.
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// The past up to now.
    pub fn excerpt(&mut self, header: &Header) -> io::Result<Excerpt> {
        self.close();
        self.forget();
        let mut standing = Vec::new();
        let mut buffer = Buffer::default();
        for (id, of) in &self.standing {
            let pushed = buffer.push(&of.attached);
            let pushed = of
                .events
                .iter()
                .fold(pushed, |pushed, event| pushed.and(buffer.event(event)));
            let gap = of.events.first().map(|first| Event {
                time: first.time,
                target: *id,
                carrier: first.carrier,
                what: What::Gap { lost: 0 },
            });
            let pushed = gap
                .iter()
                .fold(pushed, |pushed, gap| pushed.and(buffer.event(gap)));
            pushed.map_err(io::Error::other)?;
            if buffer.is_full() {
                standing.push(Packed::new(&std::mem::take(&mut buffer).raw)?);
            }
        }
        standing.push(Packed::new(&buffer.raw)?);
        let mut end = Buffer::default();
        end.push(&Entry::End(None)).map_err(io::Error::other)?;
        Ok(Excerpt {
            header: packed(header)?,
            standing,
            frames: self.frames.iter().map(|past| Arc::clone(&past.packed)).collect(),
            end: Packed::new(&end.raw)?,
        })
    }
}

impl Excerpt {
    /// Writes it.
    pub fn write(&self, to: &mut impl io::Write) -> io::Result<()> {
        to.write_all(&start())?;
        let frames = std::iter::once(&self.header)
            .chain(&self.standing)
            .chain(self.frames.iter().map(AsRef::as_ref))
            .chain([&self.end]);
        for (number, frame) in (0..).zip(frames) {
            frame.write(number, to)?;
        }
        Ok(())
    }
}
