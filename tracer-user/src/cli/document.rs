//! `bleedtrace report`: what a run amounts to, in a form that can be passed on; of a recording, or of processes that are watched.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    args::{Color, TargetArgs, TierArgs, TraceArgs, WatchArgs},
    error::Error,
    kind,
    output::Output,
    recorder::Recorder,
    replay::{self, Replay},
    report_files::{FaultArgs, ReportFiles},
    trace,
};
use crate::{correlate::finding::Kind, report::document::Form};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    /// For people, in one file that needs no other.
    Html,
    /// SARIF 2.1.0, for code hosts and CI systems.
    Sarif,
    /// JUnit's XML, for what shows the results of tests.
    Junit,
    /// A summary for a pull request.
    Markdown,
    /// All of it, as one object.
    Json,
    /// For a terminal.
    Text,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Recording to report on; without one, the processes that are named are watched.
    #[arg(value_name = "RECORDING", conflicts_with_all = ["pids", "command", "user", "allow_greenlet", "identity", "request", "digest", "empty", "mint", "policy"])]
    pub recording: Option<PathBuf>,
    /// Form of the report; without it, each file's ending says it (.html, .sarif, .xml, .md, .json, .txt), and stdout gets text.
    #[arg(long, value_enum)]
    pub format: Option<ReportForm>,
    /// Write the report to a file instead of stdout; may be given again.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Exit with 1 only for these kinds of finding; the verdict stays what it is.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind::parse, env = "BLEEDTRACE_FAIL_ON")]
    pub fail_on: Option<Vec<Kind>>,
    /// How findings are known again.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// Variables to watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// How much is watched.
    #[command(flatten)]
    pub tier: TierArgs,
    /// What is watched.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command.
pub fn run(args: ReportArgs, color: Color) -> Result<u8, Error> {
    if args.recording.is_none() && args.target.pids.is_empty() && args.target.command.is_empty() {
        return Err(Error::usage(
            "nothing to report on",
            "give a recording, --pid PID, or a command behind `--`: bleedtrace report -o report.html -- python3 app.py",
        ));
    }
    let form = args.format.map(Form::from);
    let mut reports = ReportFiles::open(&args.files, form, &args.faults)?;
    if args.files.is_empty() {
        if args.recording.is_none() && !args.target.command.is_empty() {
            return Err(Error::usage(
                "stdout belongs to the command, so that a report cannot go there",
                "give a file with -o",
            ));
        }
        reports.on_stdout(form.unwrap_or(Form::Text));
    }
    if let Some(recording) = &args.recording {
        let replay = Replay {
            recording,
            reports,
            alone: true,
            conceal: args.watch.reveal != Some(true),
            fail_on: args.fail_on.as_deref(),
        };
        return replay::play(replay, || Ok(Output::silent()));
    }
    let trace = TraceArgs {
        watch: args.watch,
        fail_on: args.fail_on,
        tier: args.tier,
        target: args.target,
        ..TraceArgs::default()
    };
    let silent = args.files.is_empty();
    let output = || {
        if silent {
            Ok(Output::silent())
        } else {
            trace::output(&trace, color)
        }
    };
    trace::watch(&trace, output, Recorder::default(), reports)
}

impl From<ReportForm> for Form {
    fn from(form: ReportForm) -> Self {
        match form {
            ReportForm::Html => Self::Html,
            ReportForm::Sarif => Self::Sarif,
            ReportForm::Junit => Self::Junit,
            ReportForm::Markdown => Self::Markdown,
            ReportForm::Json => Self::Json,
            ReportForm::Text => Self::Text,
        }
    }
}
