//! What is recorded of a run: all of it to a file, or its last seconds with each critical finding.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{args::FlightArgs, error::Error, flight_recorder::FlightRecorder, private_file};
use crate::{
    correlate::{event::Event, finding::Severity},
    recording::{
        entry::{Because, Entry, Header},
        writer::Writer,
    },
    report::{counters::Counters, finding::ExportedFinding, metrics::Recordings},
    target::follow::Notice,
};

/// Records a run.
#[derive(Default)]
pub struct Recorder {
    path: Option<PathBuf>,
    writer: Option<Writer>,
    flight: Option<FlightRecorder>,
    header: Header,
    malformed: u64,
}

impl Recorder {
    /// Records to a file that does not exist yet, or in flight, or not at all.
    pub fn new(path: Option<&Path>, flight: &FlightArgs) -> Result<Self, Error> {
        let flight = match (flight.flight_recorder, &flight.flight_dir) {
            (Some(keep), Some(directory)) => {
                if !directory.is_dir() {
                    return Err(Error::usage(
                        format!("{} is no directory", directory.display()),
                        "give a directory that exists with --flight-dir",
                    ));
                }
                let nanos = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
                let started = FlightRecorder::start(nanos, directory.clone());
                Some(started.map_err(|error| {
                    Error::cannot_trace(
                        format!("failed to start a thread: {error}"),
                        "check the limits on threads",
                    )
                })?)
            }
            _ => None,
        };
        // Said at once; that nobody else makes it meanwhile is seen to when it is created.
        if let Some(path) = path.filter(|path| path.symlink_metadata().is_ok()) {
            return Err(not_created(path, &io::ErrorKind::AlreadyExists.into()));
        }
        Ok(Self {
            path: path.map(Path::to_path_buf),
            flight,
            ..Self::default()
        })
    }

    /// Whether anything is recorded.
    pub const fn records(&self) -> bool {
        self.path.is_some() || self.flight.is_some()
    }

    /// The run begins.
    pub fn start(&mut self, header: Header) -> Result<(), Error> {
        if let Some(path) = &self.path {
            let file = private_file::create(path).map_err(|error| not_created(path, &error))?;
            let writer = Writer::start(file, &header).map_err(|error| {
                Error::cannot_trace(
                    format!("failed to start the recording: {error}"),
                    "check the limits on threads",
                )
            })?;
            self.writer = Some(writer);
        }
        self.header = header;
        Ok(())
    }

    /// Another run begins, of which nothing goes into a file of its own.
    pub fn start_over(&mut self, header: Header) {
        if let Some(flight) = &mut self.flight {
            flight.past.start_over();
        }
        (self.header, self.malformed) = (header, 0);
    }

    /// A process came, went, or could not be traced.
    pub fn notice(&mut self, notice: &Notice) {
        if let Some(flight) = &mut self.flight {
            flight.past.notice(notice);
        }
        if let (Some(writer), Some(entry)) = (&mut self.writer, Entry::of(notice)) {
            writer.entry(&entry);
        }
    }

    /// Something happened in a process.
    pub fn event(&mut self, event: &Event) {
        if let Some(flight) = &mut self.flight {
            flight.past.event(event);
        }
        if let Some(writer) = &mut self.writer {
            writer.event(event);
        }
    }

    /// The kernel side has sent this many records so far that are none.
    pub fn malformed(&mut self, records: u64) {
        if records != self.malformed {
            self.malformed = records;
            self.entry(&Entry::Malformed(records));
        }
    }

    /// The kernel side has counted so much.
    pub fn counters(&mut self, counters: &Counters) {
        if self.writer.is_some() || self.flight.is_some() {
            self.entry(&Entry::counters(counters));
        }
    }

    /// What has become of what was to be recorded.
    pub fn recordings(&self) -> Recordings {
        let flight = self
            .flight
            .as_ref()
            .map(FlightRecorder::recordings)
            .unwrap_or_default();
        Recordings {
            lost: self.writer.as_ref().map_or(0, Writer::missing) + flight.lost,
            ..flight
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if let Some(flight) = &mut self.flight {
            flight.past.entry(entry);
        }
        if let Some(writer) = &mut self.writer {
            writer.entry(entry);
        }
    }

    /// Something was found at this time. Returns what is to be said of that.
    pub fn finding(&mut self, finding: &ExportedFinding, time: u64) -> Option<String> {
        if finding.severity != Severity::Critical.name() {
            return None;
        }
        let because = Because {
            finding: finding.id.clone(),
            kind: finding.kind.name().to_owned(),
            time: finding.time.clone(),
        };
        self.flight.as_mut()?.write(&self.header, because, time)
    }

    /// Time goes on.
    pub fn tick(&mut self) {
        if let Some(failure) = self.writer.as_mut().and_then(Writer::tick) {
            tracing::warn!(
                "the recording {} ends here, the trace goes on: {failure}",
                shown(self.path.as_deref())
            );
        }
    }

    /// The run is over. An error if the recording is not whole.
    pub fn finish(&mut self, code: Option<u8>) -> Result<(), Error> {
        if let Some(flight) = self.flight.take() {
            flight.finish();
        }
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let written = writer.finish(code);
        match written.failure {
            None => Ok(()),
            Some(failure) => Err(Error::usage(
                format!(
                    "the recording {} is not whole: {failure}; {} entries are in it, {} are missing",
                    shown(self.path.as_deref()),
                    written.entries,
                    written.missing
                ),
                "make room on the disk, and record again; what is in the file can be replayed",
            )),
        }
    }
}

fn shown(path: Option<&Path>) -> std::path::Display<'_> {
    path.unwrap_or(Path::new("")).display()
}

fn not_created(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => "give another name with -o, or remove it first",
        _ => "give a path that can be written with -o",
    };
    Error::usage(
        format!("failed to create the recording {}: {error}", path.display()),
        hint,
    )
}
