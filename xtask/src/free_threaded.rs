//! Free-threaded CPython, which Debian does not carry: a build of the source package that a suite has, and the headers by which tests
//! lay out the versions that cannot be built.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{BUILT, FREE_THREADED, roots};

use crate::{
    apt::{Apt, files},
    mirror::Mirror,
    workspace,
};

/// The suite whose headers are taken, and of which minor versions.
const HEADERS: (&str, [u32; 3]) = ("sid", [13, 14, 15]);

/// What a build is told. Tests do not need the documentation, the test suite or a fast interpreter.
const CONFIGURE: [&str; 5] = [
    "--disable-gil",
    "--disable-test-modules",
    "--without-doc-strings",
    "--without-ensurepip",
    "CFLAGS=-O1 -g0",
];

/// Fetches and builds what is not there yet. The source package's suite holds one version of it for years.
pub fn build(mirror: &Mirror) -> Result<()> {
    for (suite, minor) in FREE_THREADED {
        let place = roots().join(format!("{BUILT}-3.{minor}t"));
        afresh(&place, &format!("{suite} {CONFIGURE:?}"), || {
            one(mirror, suite, *minor, &place)
        })?;
    }
    Ok(())
}

/// Fetches the headers that are not there yet.
pub fn headers(mirror: &Mirror) -> Result<()> {
    let place = roots().join("headers");
    let (suite, minors) = HEADERS;
    afresh(&place, &format!("{HEADERS:?}"), || {
        let apt = place.join("apt");
        let packages = minors.map(|minor| format!("libpython3.{minor}-dev"));
        let suite = Apt::new(mirror, suite, "deb", &apt)?;
        let mut download = suite.command("apt-get");
        workspace::run(download.arg("download").args(packages).current_dir(&apt))?;
        for package in files(&apt, ".deb")? {
            workspace::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&place))?;
        }
        Ok(fs::remove_dir_all(apt)?)
    })
}

/// Makes a folder, unless it was made whole and of what is wanted.
fn afresh(place: &Path, wanted: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let complete = place.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    fs::create_dir_all(place)?;
    make()?;
    Ok(fs::write(complete, wanted)?)
}

fn one(mirror: &Mirror, suite: &str, minor: u32, place: &Path) -> Result<()> {
    for program in ["cc", "make", "tar", "xz"] {
        ensure!(workspace::in_path(program).is_some(), "no {program} in PATH");
    }
    let (apt, source, build) = (place.join("apt"), place.join("source"), place.join("build"));
    for folder in [&source, &build] {
        fs::create_dir_all(folder)?;
    }
    let suite = Apt::new(mirror, suite, "deb-src", &apt)?;
    let package = format!("python3.{minor}");
    let mut download = suite.command("apt-get");
    workspace::run(
        download
            .args(["source", "--download-only", &package])
            .current_dir(&apt),
    )?;
    let archives = files(&apt, ".orig.tar.xz")?;
    let archive = archives
        .first()
        .context("the source package has no .orig.tar.xz")?;
    workspace::run(
        Command::new("tar")
            .args(["--strip-components=1", "-xJf"])
            .arg(archive)
            .arg("-C")
            .arg(&source),
    )?;
    let log = place.join("build.log");
    let logged = |command: &mut Command| -> Result<()> {
        let file = File::options().create(true).append(true).open(&log)?;
        workspace::run(command.current_dir(&build).stdout(file.try_clone()?).stderr(file))
            .with_context(|| format!("{} has more", log.display()))
    };
    let prefix = format!("--prefix={}", place.display());
    logged(Command::new(source.join("configure")).args(CONFIGURE).arg(prefix))?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    logged(Command::new("make").arg(format!("-j{jobs}")))?;
    logged(Command::new("make").arg("altinstall"))?;
    for folder in [apt, source, build] {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}
