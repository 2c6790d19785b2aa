//! `bleedtrace trace`: watch processes, name what is wrong, sum up.

use std::sync::Arc;

use super::{
    args::{Color, TraceArgs},
    error::Error,
    output::{self, Output},
    report::{Report, Voice},
    requirements::{check_machine, privacy},
    session::{self, FOLLOW_HINT, Session, Wants},
};
use crate::report::{
    http::{self, ListenError},
    metrics::Metrics,
    summary::{Ending, exit_code},
};

/// Runs the command.
pub fn run(args: &TraceArgs, color: Color) -> Result<u8, Error> {
    args.target.check("trace")?;
    let config = args.watch.resolve(args.wire, args.tasks)?;
    check_machine()?;
    let output = Output::open(&args.output, !args.target.command.is_empty(), color)?;
    let privacy = privacy(&config)?;
    let wants = Wants {
        wire: Some(privacy.derived_key(b"wire")),
        ..args.target.wants()
    };
    let metrics = Arc::new(Metrics::new(session::clock()));
    let mut report = Report::new(
        config.clone(),
        privacy,
        Arc::clone(&metrics),
        output,
        Voice::Output,
    );
    let session = Session::open(config, wants)?;
    if let Some(address) = args.listen {
        let address = http::serve(address, metrics).map_err(|error| listen_error(&error))?;
        report.say(&format!("metrics at http://{address}/metrics"));
    }
    let code = session.run(&args.target, &mut report)?;
    finish(report, args, code)
}

/// Sums up.
fn finish(mut report: Report, args: &TraceArgs, code: Option<u8>) -> Result<u8, Error> {
    report.tally.variables_in_use(&report.in_use);
    let summary = report.tally.finish(code.map(i32::from));
    let unsupported = (!report.attached_any)
        .then(|| report.tally.first_refusal())
        .flatten();
    report
        .output
        .finish(&summary)
        .map_err(|error| output::write_error(&error))?;
    if let Some(reason) = unsupported {
        return Err(Error::cannot_trace(reason, FOLLOW_HINT));
    }
    let fail_on = args.fail_on.as_ref().map(|kinds| kinds.iter().copied().collect());
    Ok(exit_code(Ending::Summary(&summary), fail_on.as_ref()) as u8)
}

pub(super) fn listen_error(error: &ListenError) -> Error {
    let text = error.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "give another address with --listen"));
    Error::usage(message, hint)
}
