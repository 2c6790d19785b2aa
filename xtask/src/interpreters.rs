//! Debian's interpreters of several suites, each suite in a root directory of its own below `target/interpreters`.
//!
//! They come from the mirror that this machine's apt uses, by another suite's name, with apt directories of their own: the machine
//! itself stays as it is.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use bleedtrace_tests::{BUILT, DEBIAN, LINKED, Suite, interpreters, missing, roots};

use crate::{
    apt::{Apt, files},
    free_threaded,
    mirror::Mirror,
    workspace,
};

/// What a program finds in its root, beside the interpreter: some fixtures start commands.
const COMPANY: [&str; 3] = ["coreutils", "dash", "tzdata"];

/// Fetches, and prints what there is; gives each interpreter that tests do not run on, with the reason.
pub fn report() -> BTreeMap<String, String> {
    let failed = fetch();
    let mut without = BTreeMap::new();
    for interpreter in interpreters() {
        println!("{} ({})", interpreter.name(), interpreter.version);
        if !interpreter.is_supported() {
            without.insert(interpreter.name(), "not supported".to_owned());
        }
    }
    for name in missing() {
        let suite = name.split(' ').nth(1).unwrap_or_default();
        let reason = failed.get(suite).map_or("not on this machine", String::as_str);
        without.insert(name, reason.to_owned());
    }
    without
}

/// Fetches what is not there yet; gives each suite that could not be had, with the reason.
fn fetch() -> BTreeMap<String, String> {
    let mut failed = BTreeMap::new();
    let mirror = mirror();
    for suite in DEBIAN {
        let result = match &mirror {
            Ok(mirror) => whole(mirror, suite),
            Err(why) => Err(anyhow::anyhow!("{why:#}")),
        };
        if let Err(why) = result {
            failed.insert(format!("debian-{}", suite.name), format!("{why:#}"));
        }
    }
    if let Ok(mirror) = &mirror {
        if let Err(why) = free_threaded::build(mirror) {
            failed.insert(BUILT.to_owned(), format!("{why:#}"));
        }
        if let Err(why) = free_threaded::headers(mirror) {
            println!("no headers of CPython: {why:#}");
        }
    }
    failed
}

fn mirror() -> Result<Mirror> {
    let release = fs::read_to_string("/etc/os-release").context("this may not be Debian: /etc/os-release")?;
    ensure!(
        release.lines().any(|line| line == "ID=debian"),
        "this is not Debian: its interpreters need Debian's mirror"
    );
    for program in ["apt-get", "dpkg-deb", "chroot"] {
        ensure!(workspace::in_path(program).is_some(), "no {program} in PATH");
    }
    let id = Command::new("id").arg("-u").output()?;
    ensure!(id.stdout == b"0\n", "needs root, as the tests that run on them");
    Mirror::of_this_machine()
}

/// A suite's root, if it is not there yet.
fn whole(mirror: &Mirror, suite: &Suite) -> Result<()> {
    let place = roots().join(format!("debian-{}", suite.name));
    let complete = place.join("complete");
    let wanted = format!("{suite:?} {COMPANY:?}");
    if fs::read_to_string(&complete).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let packages = download(mirror, suite, &place.join("apt"))?;
    let root = place.join("rootfs");
    unpack(&packages, &root)?;
    fs::remove_dir_all(place.join("apt"))?;
    for minor in suite.linked {
        if root.join(format!("usr/bin/python3.{minor}")).is_file() {
            link(&root, *minor)?;
        }
    }
    fs::write(complete, wanted)?;
    Ok(())
}

/// Downloads the interpreters of a suite with all that they need.
fn download(mirror: &Mirror, suite: &Suite, apt: &Path) -> Result<Vec<PathBuf>> {
    let apt = Apt::new(mirror, suite.name, "deb", apt)?;
    let mut carried = suite.minors.to_vec();
    carried.retain(|minor| {
        let mut show = apt.command("apt-cache");
        show.args(["show", &format!("python3.{minor}-minimal")]);
        show.output().is_ok_and(|output| output.status.success())
    });
    ensure!(
        !carried.is_empty(),
        "{} carries none of 3.{:?}",
        suite.name,
        suite.minors
    );
    let names = carried.iter().flat_map(|minor| {
        ["python3.{}-minimal", "libpython3.{}-stdlib", "libpython3.{}"]
            .map(|name| name.replace("{}", &minor.to_string()))
    });
    workspace::run(
        apt.command("apt-get")
            .args(["install", "--download-only", "--yes", "--no-install-recommends"])
            .args(names)
            .args(COMPANY),
    )?;
    let packages = files(&apt.archives(), ".deb")?;
    ensure!(
        !packages.is_empty(),
        "apt-get downloaded nothing of {}",
        suite.name
    );
    Ok(packages)
}

fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "tmp", "dev/shm"] {
        fs::create_dir_all(root.join(folder))?;
    }
    // Newer suites rely on these, older ones unpack through them.
    for folder in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    for package in packages {
        workspace::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
    }
    let null = root.join("dev/null");
    workspace::run(
        Command::new("mknod")
            .args(["-m", "666"])
            .arg(null)
            .args(["c", "1", "3"]),
    )
}

/// Makes an executable of the suite's shared library, as programs that embed Python are.
fn link(root: &Path, minor: u32) -> Result<()> {
    let libraries = root
        .join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let Some(compiler) = workspace::in_path("cc") else {
        bail!("no cc in PATH");
    };
    let source = root.join("tmp/main.c");
    fs::write(
        &source,
        "int Py_BytesMain(int, char **);\nint main(int count, char **words) { return Py_BytesMain(count, words); }\n",
    )?;
    let library = libraries.join(format!("libpython3.{minor}.so.1.0"));
    ensure!(library.is_file(), "no {}", library.display());
    // What the library itself needs is of its own suite, which may be newer than this machine.
    workspace::run(
        Command::new(compiler)
            .arg("-Wl,--allow-shlib-undefined,--unresolved-symbols=ignore-in-shared-libs")
            .arg("-o")
            .arg(root.join(format!("usr/bin/python3.{minor}{LINKED}")))
            .args([&source, &library]),
    )?;
    fs::remove_file(source)?;
    Ok(())
}
