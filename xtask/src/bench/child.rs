//! Programs that run beside a measurement.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Starts a program and waits until it prints these words.
pub fn wait_for(command: &mut Command, words: &str) -> Result<Child> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let output = child.stdout.take().context("piped")?;
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
