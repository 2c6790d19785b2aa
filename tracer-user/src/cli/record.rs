//! `bleedtrace record`: what `trace` does, and what it was told goes into a file.

use super::{
    args::{Color, RecordArgs},
    error::Error,
    recorder::Recorder,
    report_files::ReportFiles,
    trace,
};

/// Runs the command.
pub fn run(args: &RecordArgs, color: Color) -> Result<u8, Error> {
    args.trace.target.check("record -o FILE")?;
    let recorder = Recorder::new(Some(&args.recording), &args.trace.flight)?;
    let trace = &args.trace;
    let reports = ReportFiles::open(&trace.reports, None, &trace.faults)?;
    trace::watch(trace, || trace::output(trace, color), recorder, reports)
}
