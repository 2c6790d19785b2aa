//! `bleedtrace replay`: the engine and the reports of `trace`, told by a recording.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal as _},
    path::Path,
    sync::Arc,
};

use super::{
    args::{Color, ReplayArgs},
    error::Error,
    output::Output,
    progress::Progress,
    report::{Report, Voice},
    report_files::ReportFiles,
    session::Observer as _,
};
use crate::{
    config::Config,
    correlate::finding::Kind,
    correlate::{engine::Engine, fact::Fact, settings::Settings},
    recording::{
        entry::{Entry, Header, counters},
        reader::{Ending, OpenError, Reader},
    },
    report::{
        clock::Clock,
        metrics::Metrics,
        privacy::Privacy,
        store::{Need, Store},
    },
    target::follow::Notice,
    wire::rules::Rules,
};

/// How a recording is replayed.
pub struct Replay<'a> {
    /// The recording.
    pub recording: &'a Path,
    /// Reports that are written of it.
    pub reports: ReportFiles,
    /// Values that the recording shows are not shown.
    pub conceal: bool,
    /// Nothing is said on the terminal while it is replayed.
    pub alone: bool,
    /// The kinds of finding that fail it.
    pub fail_on: Option<&'a [Kind]>,
}

/// Runs the command.
pub fn run(args: &ReplayArgs, color: Color) -> Result<u8, Error> {
    let replay = Replay {
        recording: &args.recording,
        reports: ReportFiles::default(),
        conceal: false,
        alone: args.output.file.is_some() || !io::stdout().is_terminal(),
        fail_on: args.fail_on.as_deref(),
    };
    play(replay, || Output::open(&args.output, false, color))
}

/// Replays a recording. The output is opened when there is something to replay.
pub fn play(mut replay: Replay<'_>, output: impl FnOnce() -> Result<Output, Error>) -> Result<u8, Error> {
    let path = replay.recording;
    let file = File::open(path).map_err(OpenError::from);
    let bytes = file.as_ref().ok().and_then(|file| file.metadata().ok());
    let bytes = bytes.map_or(0, |metadata| metadata.len());
    let progress = Progress::of_bytes("replaying", bytes, replay.alone);
    let opened = file.and_then(|file| Reader::open(BufReader::with_capacity(1 << 16, progress.reads(file))));
    let (header, mut reader) = opened.map_err(|error| {
        Error::usage(
            format!("failed to replay {}: {error}", path.display()),
            error.hint(),
        )
    })?;
    let inventory = replay.reports.any();
    let clock = Clock {
        offset: header.clock_offset,
    };
    replay.reports.start(clock, Some(path));
    let mut report = begin(output()?, &header, replay.conceal);
    report.reports = replay.reports;
    let mut engine = Engine::new(settings(&header, inventory));
    let mut facts = Vec::new();
    let mut code = None;
    while let Some(entry) = reader.next_entry().map_err(|error| unreadable(path, &error))? {
        match entry {
            Entry::Event(event) => {
                report.event(&event);
                engine.apply(&event, &mut facts);
                tell(&mut report, &mut facts);
            }
            Entry::Attached(attached) => {
                engine.serves(attached.id, &attached.service);
                report.notice((*attached).into());
            }
            Entry::Ended { id, pid } => report.notice(Notice::Ended { id, pid }),
            Entry::Failed { pid, service, reason } => report.notice(Notice::Failed { pid, service, reason }),
            Entry::Unsupported { pid, service, reason } => {
                report.notice(Notice::Unsupported { pid, service, reason });
            }
            Entry::Missed => report.notice(Notice::Missed),
            Entry::InUse(names) => report.notice(Notice::InUse(names.into_iter().collect())),
            Entry::NotFollowed { pid, path, text } => report.notice(Notice::NotFollowed { pid, path, text }),
            Entry::Remark { pid, text } => report.notice(Notice::Remark { pid, text }),
            Entry::Malformed(records) => report.malformed(records),
            Entry::Counters(totals, out_of_sight) => report.counted(counters(&totals, out_of_sight)),
            Entry::End(ended) => code = ended,
        }
    }
    drop(progress);
    engine.finish(&mut facts);
    tell(&mut report, &mut facts);
    if let Some(why) = reader.ending().and_then(incomplete) {
        report.tally.unrecorded(why);
    }
    report.finish(replay.fail_on, code)
}

/// A report in which nothing was told yet.
fn begin(output: Output, header: &Header, conceal: bool) -> Report {
    let clock = Clock {
        offset: header.clock_offset,
    };
    // Values are sealed already: they are shown as they were, and no key is needed.
    let privacy = Privacy::new(false, [0; 32]);
    let privacy = if conceal { privacy.concealing() } else { privacy };
    let config = Config {
        allow: header.allow.clone(),
        ..Config::default()
    };
    let metrics = Arc::new(Metrics::new(clock));
    let store = Arc::new(Store::new(clock, Need::Nothing, 0));
    let mut report = Report::new(config, privacy, clock, metrics, store, output, Voice::Output);
    if header.wire {
        report.tally.watch_wire();
    }
    if header.program != env!("CARGO_PKG_VERSION") {
        tracing::warn!(
            "recorded by bleedtrace {}, judged by bleedtrace {}: findings may differ",
            crate::report::privacy::clean(&header.program),
            env!("CARGO_PKG_VERSION")
        );
    }
    if let Some(because) = &header.because {
        let clean = crate::report::privacy::clean;
        report.say(&format!(
            "written because of the {} {} at {}",
            clean(&because.kind),
            clean(&because.finding),
            clean(&because.time)
        ));
        report
            .tally
            .unrecorded("the recording begins in the middle of a run: what was before is not known");
    }
    report
}

/// The engine as it was.
fn settings(header: &Header, inventory: bool) -> Settings {
    let unnamed: &[&str] = &[];
    Settings {
        // Nothing is read that would need the key.
        wire: header.wire.then(|| Rules::new(&[0; 32], unnamed)),
        tasks: header.tasks,
        inventory,
        ..Settings::default()
    }
}

fn tell(report: &mut Report, facts: &mut Vec<Fact>) {
    for fact in facts.drain(..) {
        report.fact(&fact);
    }
}

/// What is to be said of a recording that does not end with its run.
fn incomplete(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Whole => None,
        Ending::Cut => Some("the recording ends before its run: what happened later is not known".to_owned()),
        Ending::Damaged { offset, what } => Some(format!(
            "the recording is damaged at byte {offset} ({what}): what happened from there on is not known"
        )),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::usage(
        format!("failed to read {}: {error}", path.display()),
        "check the disk that it is on",
    )
}
