//! Where things are, and how they are run.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// The root of the checkout that this program was built in.
pub fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest)
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// The cargo that runs this program.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The file called `name` in the first directory of PATH that has it.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where cargo keeps its downloads and its installed programs.
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

/// Where this program keeps what it fetches.
pub fn deps() -> PathBuf {
    root().join("target/deps")
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds the program as it is released; gives its path.
pub fn release() -> Result<PathBuf> {
    run(cargo_command().args(["build", "--release", "--locked", "--package", "tracer-user"]))?;
    let program = target().join("release/bleedtrace");
    ensure!(program.is_file(), "no {}", program.display());
    Ok(program)
}

/// Builds the program as it is developed; gives its path.
pub fn debug() -> Result<PathBuf> {
    run(cargo_command().args(["build", "--locked", "--package", "tracer-user"]))?;
    Ok(target().join("debug/bleedtrace"))
}

/// The cargo that runs this program, in the workspace.
pub fn cargo_command() -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(root());
    command
}

/// Runs a command; its failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}
