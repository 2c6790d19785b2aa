//! `bleedtrace trace`: watch processes, name what is wrong, sum up; `bleedtrace record` writes down the while what was told.

use std::sync::Arc;

use super::{
    args::{Color, TraceArgs},
    error::Error,
    output::Output,
    recorder::Recorder,
    report::{Report, Voice},
    report_files::ReportFiles,
    requirements::{check_machine, privacy},
    session::{self, Session, Wants},
};
use crate::report::{
    metrics::Metrics,
    store::{Need, Store},
};

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.target.check("trace")?;
    let recorder = Recorder::new(None, &args.flight)?;
    let reports = ReportFiles::open(&args.reports, None, &args.faults)?;
    watch(args, || output(args, color), recorder, reports)
}

/// Where the output goes, and in which form.
pub fn output(args: &TraceArgs, color: Color) -> Result<Output, Error> {
    Output::open(&args.output, !args.target.command.is_empty(), color)
}

/// Watches, with what is to be recorded and reported of it. The output is opened when it is known that something can be watched.
pub fn watch(
    args: &TraceArgs,
    output: impl FnOnce() -> Result<Output, Error>,
    recorder: Recorder,
    mut reports: ReportFiles,
) -> Result<u8, Error> {
    let config = args.watch.resolve(&args.tier)?;
    check_machine()?;
    let output = output()?;
    let privacy = privacy(&config)?;
    let wants = Wants {
        wire: Some(privacy.derived_key(b"wire")),
        seal: recorder.records().then(|| privacy.clone()),
        selftest: true,
        inventory: reports.any(),
        all_reads: args.reads.all(),
        ..args.target.wants()
    };
    let clock = session::clock();
    let metrics = Arc::new(Metrics::new(clock));
    let store = Arc::new(Store::new(clock, Need::Target, session::now()));
    let mut report = Report::new(
        config.clone(),
        privacy,
        clock,
        Arc::clone(&metrics),
        Arc::clone(&store),
        output,
        Voice::Output,
    );
    report.recorder = recorder;
    reports.start(clock, None);
    report.reports = reports;
    report.sinks = args.events.start(&metrics)?;
    report.confine = args.confine.then_some(!args.target.command.is_empty());
    // Before the kernel side is loaded: whoever asks meanwhile is told that it starts.
    if let Some(text) = args.listen.serve(&metrics, &store, clock)? {
        report.say(&text);
    }
    let session = Session::open(config.clone(), wants)?;
    report.recorder.start(session.header(&config, clock))?;
    let code = session.run(&args.target, args.target.duration, &mut report)?;
    let recorded = report.recorder.finish(code);
    let code = report.finish(args.fail_on.as_deref(), code)?;
    recorded.map(|()| code)
}
