//! The commands, and what they have in common: arguments, errors, exit codes.
#![deny(unsafe_code)]

pub mod args;
pub mod doctor;
pub mod duration;
pub mod error;
pub mod explain;
mod kind;
mod output;
pub mod trace;

use std::process::ExitCode;

use clap::Parser;

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
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::from(error.code())
        }
    }
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
        Command::Doctor(args) => doctor::run(&args, doctor::Plugged::default()),
        Command::Explain(args) => explain::run(&args),
    }
}
