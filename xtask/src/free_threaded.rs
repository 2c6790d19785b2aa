//! Free-threaded CPython, which Debian does not carry: a build of the source package that a suite has, and the headers by which tests
//! lay out the versions that cannot be built.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bleedtrace_tests::{BUILT, FREE_THREADED, roots};

use crate::{
    apt::{Apt, files},
    mirror::Mirror,
    workspace,
};

/// Where the sources of a minor version are from.
struct Source {
    minor: u32,
    /// A suite of Debian.
    suite: &'static str,
    /// A release by its file's name and SHA-256, where the suite moves on: what its lists name may be gone, or not there yet.
    release: Option<(&'static str, &'static str)>,
}

/// Those of [`FREE_THREADED`].
const SOURCES: [Source; 3] = [
    Source {
        minor: 13,
        suite: "trixie",
        release: None,
    },
    Source {
        minor: 14,
        suite: "sid",
        release: Some((
            "python3.14_3.14.7.orig.tar.xz",
            "3b48dac8fb59f62eaa67ac83c1eb12bda1b7a08406dd286e252c11a66be27f81",
        )),
    },
    Source {
        minor: 15,
        suite: "sid",
        release: Some((
            "python3.15_3.15.0~rc2.orig.tar.xz",
            "8d93af5eaaaea5adfd41bd786a7ba3f03f2ad1ab57c6a65e0b963deab91d5ad7",
        )),
    },
];

/// apt's own downloader, which goes the same ways as apt and compares what comes with what is expected.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

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

/// What installs it, without compiling the whole standard library three times.
const INSTALL: [&str; 2] = ["altinstall", "COMPILEALL_OPTS=-x ."];

/// Fetches and builds what is not there yet.
pub fn build(mirror: &Mirror) -> Result<()> {
    for minor in FREE_THREADED {
        let source = SOURCES.iter().find(|source| source.minor == *minor);
        let source = source.with_context(|| format!("no sources of 3.{minor} are known"))?;
        let place = roots().join(format!("{BUILT}-3.{minor}t"));
        let wanted = format!("{} {:?} {CONFIGURE:?} {INSTALL:?}", source.suite, source.release);
        afresh(&place, &wanted, || one(mirror, source, &place))?;
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

fn one(mirror: &Mirror, origin: &Source, place: &Path) -> Result<()> {
    for program in ["cc", "make", "tar", "xz"] {
        ensure!(workspace::in_path(program).is_some(), "no {program} in PATH");
    }
    let (apt, source, build) = (place.join("apt"), place.join("source"), place.join("build"));
    for folder in [&source, &build] {
        fs::create_dir_all(folder)?;
    }
    let archive = match of_release(mirror, origin, &apt) {
        Some(archive) => archive,
        None => of_suite(mirror, origin, &apt)?,
    };
    workspace::run(
        Command::new("tar")
            .args(["--strip-components=1", "-xJf"])
            .arg(&archive)
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
    logged(Command::new("make").args(INSTALL))?;
    // The name that every installation has.
    symlink(format!("python3.{}t", origin.minor), place.join("bin/python3"))?;
    for folder in [apt, source, build] {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// The archive of the release that is asked for, if the mirror still has it.
fn of_release(mirror: &Mirror, origin: &Source, place: &Path) -> Option<PathBuf> {
    let (name, sha256) = origin.release?;
    fs::create_dir_all(place).ok()?;
    let archive = place.join(name);
    let file = format!("p/python3.{}/{name}", origin.minor);
    let mut download = Command::new(APT_HELPER);
    download.args(["-oAPT::Sandbox::User=root", "-qq", "download-file"]);
    download.arg(mirror.pool(&file));
    download.arg(&archive).arg(format!("SHA256:{sha256}"));
    workspace::run(&mut download).ok().map(|()| archive)
}

/// The archive of what the suite has now.
fn of_suite(mirror: &Mirror, origin: &Source, place: &Path) -> Result<PathBuf> {
    let suite = Apt::new(mirror, origin.suite, "deb-src", place)?;
    let package = format!("python3.{}", origin.minor);
    let mut download = suite.command("apt-get");
    download.args(["source", "--download-only", &package]);
    workspace::run(download.current_dir(place))?;
    let archives = files(place, ".orig.tar.xz")?;
    archives
        .into_iter()
        .next()
        .context("the source package has no .orig.tar.xz")
}
