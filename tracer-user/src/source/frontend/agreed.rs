//! Reads that the kernel side only counts: how often each thread has found again what it told of last.

use std::collections::{HashMap, HashSet};

use tracer_common::{
    MAX_SLOTS,
    config::CodeKey,
    record::Record,
    told::{Told, ToldRead},
};

use super::Frontend;
use crate::correlate::event::{Event, What};

/// Code that is kept for one target.
const MAX_READERS: usize = 4_096;

/// What was told last of a slot, by thread and by the kernel side's number of the slot.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    reads: HashMap<(u32, u8), Counted>,
    /// Code that has read, by its address.
    readers: HashSet<u64>,
    /// Of that, what the kernel side does not know yet.
    fresh: Vec<CodeKey>,
}

/// A read that was told: its time, and how often it was made again, as far as that is known.
#[derive(Clone, Copy, Debug)]
struct Counted {
    time: u64,
    again: u64,
}

impl Agreed {
    /// A read was told that is the program's own.
    pub(super) fn told(&mut self, record: &Record, tgid: u32) {
        let counted = Counted {
            time: record.time,
            again: 0,
        };
        self.reads.insert((record.tid, record.slot), counted);
        let reader = record.stack.first().filter(|_| record.frames > 0);
        if self.readers.len() >= MAX_READERS {
            self.readers.clear();
        }
        if let Some(code) = reader
            .map(|frame| frame.code)
            .filter(|code| self.readers.insert(*code))
        {
            self.fresh.push(CodeKey { code, tgid, pad: 0 });
        }
    }

    /// What was told is no read: whatever agrees with it is none either.
    pub(super) fn forget(&mut self, tid: u32, slot: u8) {
        self.reads.remove(&(tid, slot));
    }

    /// A thread has ended.
    pub(super) fn ended(&mut self, tid: u32) {
        for slot in 0..MAX_SLOTS as u8 {
            self.forget(tid, slot);
        }
    }

    /// How many more reads than was known say the same as the one that was told at `time`.
    fn more(&mut self, tid: u32, slot: u8, time: u64, again: u64) -> Option<u64> {
        let counted = self.reads.get_mut(&(tid, slot));
        let counted = counted.filter(|known| known.time == time)?;
        let more = again.checked_sub(counted.again).filter(|more| *more > 0)?;
        counted.again = again;
        Some(more)
    }
}

impl Frontend {
    /// The kernel side says how often a read was made again.
    pub(super) fn agreed(&mut self, record: &Record) -> Option<What> {
        let slot = self.slot(record)?;
        let times = self
            .agreed
            .more(record.tid, record.slot, record.queue, record.object)?;
        Some(What::Agreed { slot, times })
    }

    /// What the kernel side has counted of a thread so far.
    pub fn counted(&mut self, tid: u32, told: &Told, out: &mut Vec<Event>) {
        for (number, read) in (0..).zip(&told.reads) {
            let &ToldRead { time, again, .. } = read;
            let Some(Some(slot)) = self.slots.get(usize::from(number)).copied() else {
                continue;
            };
            if let Some(times) = self.agreed.more(tid, number, time, again) {
                out.push(self.event(time, tid, What::Agreed { slot, times }));
            }
        }
    }

    /// Code whose reads are the program's own, as far as that was not told yet.
    pub fn readers(&mut self) -> Vec<CodeKey> {
        std::mem::take(&mut self.agreed.fresh)
    }

    /// Whether reads that say the same again need not be told: not where what they stand on matters.
    pub fn may_agree(&self) -> bool {
        let names = &self.names;
        !(self.every_read || names.wire || names.tasks || names.has_functions())
    }

    /// From here on every read is to be told.
    pub(super) fn tell_every_read(&mut self) {
        self.doubt |= !std::mem::replace(&mut self.every_read, true);
    }

    /// Whether something came up since the last time after which every read has to be told once more.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }
}
