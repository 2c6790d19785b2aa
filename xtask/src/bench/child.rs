//! Programs that run beside a measurement.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Where a program says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Stdout,
    Stderr,
}

/// Starts a program and waits until it says these words.
pub fn wait_for(command: &mut Command, says: Says, words: &str) -> Result<Child> {
    match says {
        Says::Stdout => command.stdout(Stdio::piped()),
        Says::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let output: Box<dyn Read + Send> = match says {
        Says::Stdout => Box::new(child.stdout.take().context("piped")?),
        Says::Stderr => Box::new(child.stderr.take().context("piped")?),
    };
    let mut lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
    if !lines.by_ref().any(|line| line.contains(words)) {
        let status = child.wait()?;
        bail!("{command:?} ended early: {status}");
    }
    // The rest is read away, so that the program never waits for a reader.
    thread::spawn(move || lines.count());
    Ok(child)
}

/// Asks a program to end, and waits for it.
pub fn interrupt(child: &mut Child) -> Result<()> {
    workspace::run(Command::new("kill").arg("-INT").arg(child.id().to_string()))?;
    child.wait()?;
    Ok(())
}
