//! `bleedtrace config`: whether the configuration can be used, what it amounts to, and its schema.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use super::{
    args::{ConfigCommand, ConfigSource},
    error::{Error, exit},
    output::write_error,
    requirements,
};
use crate::config::{schema::schema, show::show};

/// Runs the command.
pub fn run(command: &ConfigCommand) -> Result<u8, Error> {
    let text = match command {
        ConfigCommand::Check(source) => check(source)?,
        ConfigCommand::Show(source) => show(&source.resolve()?),
        ConfigCommand::Schema => {
            serde_json::to_string_pretty(&schema()).map_err(|error| write_error(&error.into()))? + "\n"
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(write_error(&error)),
        _ => Ok(exit::CLEAN),
    }
}

fn check(source: &ConfigSource) -> Result<String, Error> {
    let config = source.resolve()?;
    let place = source.watch.config.as_ref().map_or_else(
        || "the configuration".to_owned(),
        |path| path.display().to_string(),
    );
    let number = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let watched = if config.watch.defaults {
        "the well-known variables".to_owned()
    } else {
        number(config.watch.variables().count(), "variable")
    };
    let mut text = format!(
        "{place} can be used: {}, {}; {watched} watched elsewhere\n",
        number(config.services.len(), "service"),
        number(config.allow.len(), "accepted finding"),
    );
    // It may be meant for another machine.
    if let Err(error) = requirements::privacy(&config) {
        let _ = writeln!(text, "on this machine it cannot: {error}");
    }
    if let Some(address) = config.listen.filter(|address| !address.ip().is_loopback()) {
        let _ = writeln!(
            text,
            "other machines reach {address}: the agent serves there only with --listen-anywhere"
        );
    }
    Ok(text)
}
