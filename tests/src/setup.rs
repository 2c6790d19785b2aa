//! What a test needs: the tracer, a kernel that lets it trace, interpreters.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Minor versions of CPython 3 that every test runs on.
const SUPPORTED: [u32; 8] = [8, 9, 10, 11, 12, 13, 14, 15];

/// A tracer and an interpreter.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program under test.
    pub bleedtrace: PathBuf,
    /// The interpreter of the traced program.
    pub python: PathBuf,
}

impl Setup {
    /// 12 of CPython 3.12.
    pub fn minor(&self) -> Option<u32> {
        identify(&self.python).map(|(minor, _)| minor)
    }

    /// The interpreter in a virtual environment with these packages, as pip names them; none when they cannot be had.
    pub fn with_packages(&self, packages: &[&str]) -> Option<PathBuf> {
        self.environment(&packages.join("-"), packages)
    }

    /// The same setup with the interpreter in a virtual environment that has what `requirements/NAME.txt` pins; none when that
    /// cannot be had.
    pub fn with_requirements(&self, name: &str) -> Option<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("requirements/{name}.txt"));
        let pinned = fs::read(&file).expect("the requirements are readable");
        // Another list is another environment.
        let number = pinned
            .iter()
            .fold(7_u32, |n, byte| n.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let file = file.to_str().expect("a path in UTF-8");
        let python = self.environment(&format!("{name}-{number:08x}"), &["--requirement", file])?;
        Some(Self {
            bleedtrace: self.bleedtrace.clone(),
            python,
        })
    }

    fn environment(&self, name: &str, packages: &[&str]) -> Option<PathBuf> {
        let (minor, _) = identify(&self.python)?;
        let name = format!("venv-3.{minor}-{name}");
        let place = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/deps")
            .join(name);
        let python = place.join("bin/python");
        let complete = place.join("complete");
        if complete.is_file() {
            return Some(python);
        }
        let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = done(
            Command::new(&self.python)
                .args(["-m", "venv", "--clear"])
                .arg(&place),
        ) && done(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(packages),
        );
        (made && fs::write(complete, "").is_ok()).then_some(python)
    }
}

/// Path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The line of a fixture that is marked `# site: MARK`.
///
/// # Panics
/// When no line is.
#[track_caller]
pub fn line_of(name: &str, mark: &str) -> u64 {
    let text = fs::read_to_string(fixture(name)).expect("the fixture is readable");
    let found = text
        .lines()
        .position(|line| line.split("# site: ").nth(1) == Some(mark));
    found.unwrap_or_else(|| panic!("{name} has no site {mark}")) as u64 + 1
}

/// Says that a test did not run, and why.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIP {test}: {reason}");
}

/// Runs a test on every interpreter, or says why it cannot.
#[track_caller]
pub fn on_every_interpreter(test: &str, check: impl Fn(&Setup)) {
    let bleedtrace = match tracer() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let pythons = interpreters();
    for minor in SUPPORTED {
        let Some((_, python)) = pythons.iter().find(|(version, _)| *version == minor) else {
            skip(test, &format!("no CPython 3.{minor}"));
            continue;
        };
        eprintln!("{test}: CPython 3.{minor}");
        check(&Setup {
            bleedtrace: bleedtrace.clone(),
            python: python.clone(),
        });
    }
}

/// Runs a test on the first interpreter, or says why it cannot.
#[track_caller]
pub fn once(test: &str, check: impl FnOnce(&Setup)) {
    match (tracer(), interpreters().into_iter().next()) {
        (Err(reason), _) => skip(test, &reason),
        (_, None) => skip(test, "no CPython 3.8 to 3.15"),
        (Ok(bleedtrace), Some((_, python))) => check(&Setup { bleedtrace, python }),
    }
}

/// The program, if this machine lets it trace.
fn tracer() -> Result<PathBuf, String> {
    let program = match env::var_os("BLEEDTRACE_BIN") {
        Some(chosen) => PathBuf::from(chosen),
        None => built().ok_or("bleedtrace is not built, and BLEEDTRACE_BIN is not set")?,
    };
    assert!(
        program.is_file(),
        "BLEEDTRACE_BIN={} is no file",
        program.display()
    );
    if !is_root() {
        return Err("needs root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("the kernel has no BTF".to_owned());
    }
    Ok(program)
}

fn built() -> Option<PathBuf> {
    let deps = env::current_exe().ok()?;
    let program = deps.parent()?.parent()?.join("bleedtrace");
    program.is_file().then_some(program)
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
    })
}

/// Supported CPythons, by minor version: those of `BLEEDTRACE_PYTHONS`, else of pyenv and PATH.
pub fn interpreters() -> Vec<(u32, PathBuf)> {
    let candidates: Vec<PathBuf> = match env::var_os("BLEEDTRACE_PYTHONS") {
        Some(chosen) => env::split_paths(&chosen).collect(),
        None => pyenv()
            .into_iter()
            .chain(SUPPORTED.map(|minor| PathBuf::from(format!("python3.{minor}"))))
            .chain([PathBuf::from("python3")])
            .collect(),
    };
    let identified = candidates.iter().filter_map(|python| identify(python));
    let mut found: Vec<_> = identified
        .filter(|(minor, _)| SUPPORTED.contains(minor))
        .collect();
    found.sort();
    found.dedup_by_key(|(minor, _)| *minor);
    found
}

/// What pyenv installed: its launchers only give the version that is chosen for a folder.
fn pyenv() -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let mut found: Vec<_> = versions
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin/python3")))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    found
}

/// A CPython that is not supported.
pub fn unsupported_interpreter() -> Option<PathBuf> {
    let candidates = pyenv()
        .into_iter()
        .chain(["/usr/bin/python3", "python3.11", "python3.10"].map(PathBuf::from));
    candidates
        .filter_map(|python| identify(&python))
        .find(|(minor, _)| !SUPPORTED.contains(minor))
        .map(|(_, python)| python)
}

/// The minor version of CPython 3 and the executable itself, behind any launcher.
fn identify(python: &Path) -> Option<(u32, PathBuf)> {
    let script = "import sys, os; assert sys.version_info.major == 3; print(sys.version_info.minor, os.path.realpath(sys.executable))";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (minor, path) = text.trim().split_once(' ')?;
    Some((minor.parse().ok()?, PathBuf::from(path)))
}
