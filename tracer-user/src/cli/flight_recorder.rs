//! The flight recorder's files: one with each critical finding, but not one with each of many.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::private_file;
use crate::{
    privilege,
    recording::{
        entry::{Because, Header},
        flight::{Excerpt, Flight, Limits},
    },
    report::metrics::Recordings,
};

/// Bytes that are kept, however much happens.
const BYTES: usize = 64 << 20;
/// Nanoseconds between two files: a fault that comes again and again needs no file each time.
const PAUSE: u64 = 10_000_000_000;
/// Files of one run.
const FILES: u64 = 100;
/// How long the disk may take for the last file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the past and writes it when it is asked to.
pub struct FlightRecorder {
    /// The past.
    pub past: Flight,
    directory: PathBuf,
    to_disk: Option<SyncSender<(PathBuf, Excerpt)>>,
    disk: JoinHandle<()>,
    written: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    begun: u64,
    skipped: u64,
    last: Option<u64>,
}

impl FlightRecorder {
    /// Keeps so many nanoseconds, and writes to this directory.
    pub fn start(nanos: u64, directory: PathBuf) -> io::Result<Self> {
        let (to_disk, excerpts) = mpsc::sync_channel::<(PathBuf, Excerpt)>(1);
        let (written, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (well, badly) = (Arc::clone(&written), Arc::clone(&failed));
        let disk = thread::Builder::new().name("flight".to_owned()).spawn(move || {
            privilege::drop_all_but_giving_files();
            for (path, excerpt) in excerpts {
                let count = if save(&path, &excerpt) { &well } else { &badly };
                count.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(Self {
            past: Flight::new(Limits { nanos, bytes: BYTES }),
            directory,
            to_disk: Some(to_disk),
            disk,
            written,
            failed,
            begun: 0,
            skipped: 0,
            last: None,
        })
    }

    /// Writes the past because of a finding of this time. Returns what is to be said of that.
    pub fn write(&mut self, header: &Header, because: Because, time: u64) -> Option<String> {
        let paused = self.last.is_some_and(|last| time.saturating_sub(last) < PAUSE);
        if paused || self.begun >= FILES {
            self.skipped += 1;
            return None;
        }
        let seconds = time.saturating_add_signed(header.clock_offset) / 1_000_000_000;
        let name = format!("bleedtrace-{seconds}-{}-{}.flight", because.finding, because.kind);
        let path = self.directory.join(name);
        let header = Header {
            because: Some(because),
            ..header.clone()
        };
        // A disk that is slow is not asked again and again: to put the past together takes its time.
        self.last = Some(time);
        let sent = match (self.past.excerpt(&header), &self.to_disk) {
            (Ok(excerpt), Some(to_disk)) => to_disk.try_send((path.clone(), excerpt)).is_ok(),
            _ => false,
        };
        if !sent {
            self.skipped += 1;
            return None;
        }
        self.begun += 1;
        Some(format!("what led to it is written to {}", path.display()))
    }

    /// What has become of the files.
    pub fn recordings(&self) -> Recordings {
        Recordings {
            written: self.written.load(Ordering::Relaxed),
            skipped: self.skipped,
            failed: self.failed.load(Ordering::Relaxed),
            lost: self.past.missing(),
        }
    }

    /// Waits for the last file, and says what was not written.
    pub fn finish(mut self) {
        drop(self.to_disk.take());
        let begun = Instant::now();
        while !self.disk.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let recordings = self.recordings();
        let unwritten = self.begun - recordings.written;
        if unwritten > 0 {
            tracing::warn!("{unwritten} files of the flight recorder could not be written");
        }
        if recordings.skipped > 0 {
            tracing::info!(
                "{} critical findings have no file of their own: one in {} s is written, {FILES} in a run",
                recordings.skipped,
                PAUSE / 1_000_000_000
            );
        }
        if recordings.lost > 0 {
            tracing::warn!("the flight recorder could not keep {} entries", recordings.lost);
        }
    }
}

fn save(path: &Path, excerpt: &Excerpt) -> bool {
    let saved = private_file::create(path).and_then(|file| {
        let mut to = io::BufWriter::new(&file);
        excerpt.write(&mut to)?;
        io::Write::flush(&mut to)?;
        file.sync_data()
    });
    if let Err(error) = &saved {
        tracing::warn!("failed to write {}: {error}", path.display());
    }
    saved.is_ok()
}
