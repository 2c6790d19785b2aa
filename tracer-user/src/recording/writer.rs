//! Writes a recording, on a thread of its own: a slow disk must not hold up what is watched.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::{Duration, Instant},
};

use super::{
    entry::{Entry, Header},
    frame::{MAX_RAW, Packed, start},
    line::{Numbers, Told},
};
use crate::{correlate::event::Event, privilege};

/// Bytes at which a frame is full.
pub(super) const FULL: usize = 128 << 10;
/// How long entries wait for a frame to become full: what is lost if the agent is killed.
const WAIT: Duration = Duration::from_millis(250);
/// Frames that wait for the disk.
const QUEUE: usize = 64;
/// How long the disk may hold up the run.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the disk may take for the rest.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

/// Entries that become a frame.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// The entries, one behind the other.
    pub(super) raw: Vec<u8>,
    /// How many.
    pub(super) entries: u64,
    /// The stacks that are told among them.
    stacks: Numbers,
}

impl Buffer {
    /// Adds an entry, or nothing if it cannot be written.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Event(event) => self.event(event),
            entry => self.line(&Told::Entry(entry)).inspect(|()| self.entries += 1),
        }
    }

    fn line(&mut self, line: &Told<'_>) -> Result<(), String> {
        let len = self.raw.len();
        let pushed = postcard::to_io(line, &mut self.raw).map(|_| ());
        let pushed = pushed.map_err(|error| format!("an entry cannot be written: {error}"));
        let pushed = match pushed {
            Ok(()) if self.raw.len() > MAX_RAW => Err("an entry is too long".to_owned()),
            pushed => pushed,
        };
        if pushed.is_err() {
            self.raw.truncate(len);
        }
        pushed
    }

    /// Adds an event, and the stack that it stands on if that was not told yet.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), String> {
        let mut bare = event.clone();
        let pushed = match bare.what.stack_mut().map(std::mem::take) {
            None => self.line(&Told::Event(None, event)),
            Some(stack) => {
                let (number, new) = self.stacks.of(&stack);
                if new {
                    self.line(&Told::Stack(&stack))?;
                }
                self.line(&Told::Event(Some(number), &bare))
            }
        };
        pushed.inspect(|()| self.entries += 1)
    }

    pub(super) const fn is_full(&self) -> bool {
        self.raw.len() >= FULL
    }
}

/// The first frame.
pub(super) fn packed(header: &Header) -> io::Result<Packed> {
    Packed::new(&serde_json::to_vec(header)?)
}

/// How a recording came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Entries that are in the file.
    pub entries: u64,
    /// Entries that are not.
    pub missing: u64,
    /// Why not.
    pub failure: Option<String>,
}

/// Writes a recording.
pub struct Writer {
    buffer: Buffer,
    since: Instant,
    to_disk: Option<SyncSender<Buffer>>,
    done: Receiver<(u64, io::Result<()>)>,
    told: u64,
    /// Entries that were handed over to the disk.
    handed: u64,
    /// Those of them that it took, once that is known.
    written: Option<u64>,
    failure: Option<String>,
    /// It was said that the recording has ended.
    said: bool,
}

impl Writer {
    /// Writes to a file that is empty.
    pub fn start(file: File, header: &Header) -> io::Result<Self> {
        let (to_disk, frames) = mpsc::sync_channel(QUEUE);
        let (say_done, done) = mpsc::sync_channel(1);
        let header = packed(header)?;
        thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || {
                // It has its descriptor.
                privilege::drop_all();
                let mut written = 0;
                let end = write(&file, &header, &frames, &mut written);
                // Nobody may listen any more.
                let _ = say_done.send((written, end));
            })?;
        Ok(Self {
            buffer: Buffer::default(),
            since: Instant::now(),
            to_disk: Some(to_disk),
            done,
            told: 0,
            handed: 0,
            written: None,
            failure: None,
            said: false,
        })
    }

    /// Writes an entry.
    pub fn entry(&mut self, entry: &Entry) {
        self.add(|buffer| buffer.push(entry));
    }

    /// Writes an event.
    pub fn event(&mut self, event: &Event) {
        self.add(|buffer| buffer.event(event));
    }

    fn add(&mut self, add: impl FnOnce(&mut Buffer) -> Result<(), String>) {
        self.told += 1;
        if self.to_disk.is_none() {
            return;
        }
        if let Err(error) = add(&mut self.buffer) {
            self.stop(error);
        } else if self.buffer.is_full() {
            self.flush();
        }
    }

    /// Time goes on: what has waited long enough is written. Says once why the recording has ended, if it has.
    pub fn tick(&mut self) -> Option<&str> {
        if self.to_disk.is_some() && self.since.elapsed() >= WAIT {
            self.flush();
            self.check();
        }
        if self.to_disk.is_some() || std::mem::replace(&mut self.said, true) {
            return None;
        }
        self.failure.as_deref()
    }

    /// Hands the buffer over to the disk.
    fn flush(&mut self) {
        self.since = Instant::now();
        if self.buffer.entries == 0 {
            return;
        }
        let Some(to_disk) = &self.to_disk else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let entries = buffer.entries;
        let begun = Instant::now();
        loop {
            match to_disk.try_send(buffer) {
                Ok(()) => {
                    self.handed += entries;
                    return;
                }
                Err(TrySendError::Full(back)) if begun.elapsed() < PATIENCE => {
                    buffer = back;
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TrySendError::Full(_)) => {
                    self.stop("the disk is too slow".to_owned());
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.check();
                    return;
                }
            }
        }
    }

    /// Has the disk given up?
    fn check(&mut self) {
        if let Ok((written, end)) = self.done.try_recv() {
            self.written = Some(written);
            let error = end.err().map(|error| error.to_string());
            self.stop(error.unwrap_or_else(|| "its thread has ended".to_owned()));
        }
    }

    fn stop(&mut self, failure: String) {
        self.to_disk = None;
        self.failure.get_or_insert(failure);
    }

    /// Entries that are known to be missing.
    pub fn missing(&self) -> u64 {
        if self.to_disk.is_some() {
            0
        } else {
            self.told - self.written.unwrap_or(self.handed)
        }
    }

    /// The run is over. Waits until all of it is on the disk.
    pub fn finish(mut self, code: Option<u8>) -> Written {
        self.entry(&Entry::End(code));
        self.flush();
        self.to_disk = None;
        if self.written.is_none() {
            match self.done.recv_timeout(LAST_PATIENCE) {
                Ok((written, end)) => {
                    self.written = Some(written);
                    if let Err(error) = end {
                        self.stop(error.to_string());
                    }
                }
                Err(_) => self.stop("the disk is too slow".to_owned()),
            }
        }
        let entries = self.written.unwrap_or(0);
        Written {
            entries,
            missing: self.told - entries,
            failure: self.failure,
        }
    }
}

/// Writes frames until there are no more, and counts their entries.
fn write(file: &File, header: &Packed, frames: &Receiver<Buffer>, written: &mut u64) -> io::Result<()> {
    let mut to = file;
    to.write_all(&start())?;
    header.write(0, &mut to)?;
    for (number, buffer) in (1_u32..).zip(frames) {
        let mut whole = Vec::with_capacity(FULL);
        Packed::new(&buffer.raw)?.write(number, &mut whole)?;
        to.write_all(&whole)?;
        *written += buffer.entries;
    }
    file.sync_data()
}
