//! The real interpreters that tests run against.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// One interpreter on this machine.
pub struct Python {
    /// The executable.
    pub executable: PathBuf,
    /// The file that carries its core.
    pub core: PathBuf,
    /// The file that carries `_queue`.
    pub queue: PathBuf,
    /// 12 of 3.12.1.
    pub minor: u32,
    /// All of it.
    pub version: String,
    /// It was built without a GIL.
    pub free_threaded: bool,
}

/// Minor versions that are supported.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 8..=15;

/// Every supported CPython that can be found; says so visibly when there is none.
///
/// `BLEEDTRACE_PYTHONS` names executables, separated by colons; else, for each version, `python3.N` of `PATH`, or pyenv's, and what
/// `cargo xtask interpreters` built.
pub fn pythons(test: &str) -> Vec<Python> {
    let candidates = candidates();
    let found: Vec<_> = candidates.iter().filter_map(|path| Python::ask(path)).collect();
    if found.is_empty() {
        skipped(test, "no supported CPython found");
    }
    found
}

/// Says that a test did not run. Not through `eprintln`, which the harness hides when the test passes.
pub fn skipped(test: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

fn candidates() -> Vec<PathBuf> {
    if let Some(list) = env::var_os("BLEEDTRACE_PYTHONS") {
        return env::split_paths(&list).collect();
    }
    SUPPORTED.flat_map(of_minor).chain(built()).collect()
}

/// What `cargo xtask interpreters` built: `target/interpreters/built-3.13t/bin/python3.13t`.
fn built() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/interpreters");
    SUPPORTED
        .map(|minor| place.join(format!("built-3.{minor}t/bin/python3.{minor}t")))
        .filter(|python| python.is_file())
        .collect()
}

fn of_minor(minor: u32) -> Vec<PathBuf> {
    let name = PathBuf::from(format!("python3.{minor}"));
    if Python::ask(&name).is_some_and(|python| python.minor == minor) {
        return vec![name];
    }
    let Some(home) = env::var_os("HOME") else {
        return Vec::new();
    };
    let Ok(versions) = fs::read_dir(Path::new(&home).join(".pyenv/versions")) else {
        return Vec::new();
    };
    versions
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("3.{minor}."))
        })
        .map(|entry| entry.path().join("bin/python3"))
        .collect()
}

impl Python {
    fn ask(path: &Path) -> Option<Self> {
        let output = Command::new(path)
            .args(["-c", "import sys, sysconfig, _queue; print(sys.executable, getattr(_queue, '__file__', ''), sys.version_info[1], '.'.join(map(str, sys.version_info[:3])), sysconfig.get_config_var('Py_GIL_DISABLED') or 0, open('/proc/self/maps').read(), sep='\\n')"])
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut lines = text.lines();
        let executable = fs::canonicalize(lines.next()?).ok()?;
        let queue = lines.next()?.to_owned();
        let minor = lines.next()?.parse().ok()?;
        let version = lines.next()?.to_owned();
        let free_threaded = lines.next()? == "1";
        let mapped = lines
            .filter_map(|line| line.split_ascii_whitespace().nth(5))
            .find(|path| path.contains("/libpython3."));
        let core = mapped.map_or_else(|| executable.clone(), PathBuf::from);
        let queue = if queue.is_empty() {
            core.clone()
        } else {
            PathBuf::from(queue)
        };
        SUPPORTED.contains(&minor).then_some(Self {
            executable,
            core,
            queue,
            minor,
            version,
            free_threaded,
        })
    }
}
