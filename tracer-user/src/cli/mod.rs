//! The commands, and what they have in common: arguments, errors, exit codes.
#![deny(unsafe_code)]

pub mod agent;
pub mod args;
mod changes;
pub mod config;
pub mod discover;
pub mod doctor;
mod document;
pub mod error;
pub mod events;
pub mod explain;
mod flight_recorder;
pub mod hops;
mod kind;
pub mod listen;
mod log;
mod output;
mod private_file;
mod progress;
pub mod record;
mod recorder;
mod refused;
pub mod replay;
mod report;
mod report_files;
mod requirements;
mod session;
mod shell;
mod table;
pub mod top;
pub mod trace;
pub mod vars;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::target::keeper;

use self::{
    args::{Cli, Color, Command},
    error::Error,
};

/// The program. Prints what went wrong to stderr.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            eprint!("{}", with_hint(&error.to_string()));
            return ExitCode::from(error::exit::USAGE);
        }
        Err(help) => help.exit(),
    };
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    log_to_stderr(cli.verbose, matches!(cli.command, Command::Agent(_)));
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::from(error.code())
        }
    }
}

/// `-v` tells what the agent does, `-vv` every event that the engine sees. A daemon says what it attaches to in any case.
fn log_to_stderr(verbose: u8, daemon: bool) {
    let level = match verbose {
        0 if daemon => tracing::Level::INFO,
        0 => tracing::Level::WARN,
        1 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let own = Targets::new()
        .with_target("tracer_user", level)
        .with_target("tracer_ebpf", level)
        .with_default(tracing::Level::WARN);
    let to_stderr = tracing_subscriber::fmt::layer()
        .with_writer(log::Log::new())
        .with_ansi(std::io::stderr().is_terminal())
        .without_time();
    tracing_subscriber::registry()
        .with(to_stderr.with_filter(own))
        .init();
}

/// clap's last line, in the form that all errors have here.
fn with_hint(text: &str) -> String {
    match text
        .trim_end()
        .strip_suffix("For more information, try '--help'.")
    {
        Some(rest) => format!("{}\nhint: `--help` lists what can be given\n", rest.trim_end()),
        None => text.to_owned(),
    }
}

fn run(cli: Cli) -> Result<u8, Error> {
    match cli.command {
        Command::Trace(args) => trace::run(&args, cli.color),
        Command::Agent(args) => agent::run(&args, cli.color),
        Command::Record(args) => record::run(&args, cli.color),
        Command::Replay(args) => replay::run(&args, cli.color),
        Command::Report(args) => document::run(*args, cli.color),
        Command::Discover(args) => discover::run(&args, cli.color),
        Command::Vars(args) => vars::run(&args, cli.color),
        Command::Hops(args) => hops::run(&args, cli.color),
        Command::Top(args) => top::run(&args, cli.color),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config::run(&args.command),
        Command::Explain(args) => explain::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Keeper => keeper::run().map(|()| error::exit::CLEAN).map_err(|error| {
            Error::cannot_trace(
                format!("failed to look at processes: {error}"),
                "is /proc mounted?",
            )
        }),
    }
}
