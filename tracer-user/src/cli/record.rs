//! `bleedtrace record`: what `trace` does, and what it was told goes into a file.

use super::{
    args::{Color, RecordArgs},
    error::Error,
    recorder::Recorder,
    trace,
};

/// Runs the command.
pub fn run(args: &RecordArgs, color: Color) -> Result<u8, Error> {
    args.trace.target.check("record -o FILE")?;
    let recorder = Recorder::new(Some(&args.recording), &args.trace.flight)?;
    trace::watch(&args.trace, color, recorder)
}
