//! `bleedtrace trace`: watch processes, name what is wrong, sum up; `bleedtrace record` writes down the while what was told.

use std::sync::Arc;

use super::{
    args::{Color, TraceArgs},
    error::Error,
    output::Output,
    recorder::Recorder,
    report::{Report, Voice},
    requirements::{check_machine, privacy},
    session::{self, Session, Wants},
};
use crate::{
    recording::entry::Header,
    report::{
        http::{self, ListenError},
        metrics::Metrics,
    },
};

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.target.check("trace")?;
    watch(args, color, Recorder::new(None, &args.flight)?)
}

/// Watches, with what is to be recorded of it.
pub fn watch(args: &TraceArgs, color: Color, recorder: Recorder) -> Result<u8, Error> {
    let config = args.watch.resolve(args.wire, args.tasks)?;
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let privacy = privacy(&config)?;
    let wants = Wants {
        wire: Some(privacy.derived_key(b"wire")),
        seal: recorder.records().then(|| privacy.clone()),
        ..args.target.wants()
    };
    let clock = session::clock();
    let metrics = Arc::new(Metrics::new(clock));
    let mut report = Report::new(
        config.clone(),
        privacy,
        clock,
        Arc::clone(&metrics),
        output,
        Voice::Output,
    );
    report.recorder = recorder;
    let mut header = Header {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        clock_offset: clock.offset,
        reveal: config.reveal,
        allow: config.allow.clone(),
        ..Header::default()
    };
    let session = Session::open(config, wants)?;
    header.wire = session.settings().wire.is_some();
    header.tasks = session.settings().tasks;
    report.recorder.start(header)?;
    if let Some(address) = args.listen {
        let address = http::serve(address, metrics).map_err(|error| listen_error(&error))?;
        report.say(&format!("metrics at http://{address}/metrics"));
    }
    let code = session.run(&args.target, &mut report)?;
    let recorded = report.recorder.finish(code);
    let code = report.finish(args.fail_on.as_deref(), code)?;
    recorded.map(|()| code)
}

pub(super) fn listen_error(error: &ListenError) -> Error {
    let text = error.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "give another address with --listen"));
    Error::usage(message, hint)
}
