//! What a test needs: the tracer, a kernel that lets it trace, an interpreter.

use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::{
    interpreters::{Interpreter, SUPPORTED, interpreters},
    results::note,
    tracer::{Ended, Program},
};

/// A tracer and an interpreter.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program under test.
    pub bleedtrace: PathBuf,
    /// What runs the traced program. One in another root only runs by `command`.
    pub interpreter: Interpreter,
}

impl Setup {
    /// Of this tracer and this interpreter.
    pub fn new(bleedtrace: &Path, interpreter: &Interpreter) -> Self {
        Self {
            bleedtrace: bleedtrace.to_owned(),
            interpreter: interpreter.clone(),
        }
    }

    /// 12 of CPython 3.12.
    pub fn minor(&self) -> u32 {
        self.interpreter.minor
    }

    /// What `bleedtrace` with these arguments does for a user without any privilege. Says so where privileges cannot be dropped.
    ///
    /// # Panics
    /// When the program cannot be copied to where everybody may run it.
    pub fn unprivileged(&self, test: &str, arguments: &[&str]) -> Option<Ended> {
        let drop = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.args(["--inh-caps=-all", "--bounding-set=-all"]);
            command
        };
        if !drop().arg("true").status().is_ok_and(|status| status.success()) {
            skip(test, "setpriv cannot drop privileges");
            return None;
        }
        let copy = env::temp_dir().join(format!("bleedtrace-{test}-{}", std::process::id()));
        fs::copy(&self.bleedtrace, &copy).expect("the program can be copied");
        let ended = Program::start(drop().arg(&copy).args(arguments)).end();
        fs::remove_file(&copy).expect("the copy is ours");
        Some(ended)
    }

    /// A command that runs the interpreter.
    pub fn command(&self) -> Command {
        self.interpreter.command()
    }

    /// Path of a fixture, which the interpreter can read, with all that it may import.
    ///
    /// # Panics
    /// When it cannot be made readable.
    #[track_caller]
    pub fn fixture(&self, name: &str) -> PathBuf {
        if self.interpreter.root.is_some() {
            for entry in fs::read_dir(fixture(""))
                .expect("the folder of fixtures")
                .flatten()
            {
                if entry.path().is_file() {
                    self.interpreter.share(&entry.path());
                }
            }
            self.interpreter.share(&fixture(name));
        }
        fixture(name)
    }

    /// The same setup with the interpreter in a virtual environment that has what `requirements/NAME.txt` pins; none when that
    /// cannot be had.
    pub fn with_requirements(&self, name: &str) -> Option<Self> {
        /// Those that cannot be had: asking again would take as long. Two tests may want the same one at once.
        static MISSING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("requirements/{name}.txt"));
        let pinned = fs::read(&file).expect("the requirements are readable");
        // Another list is another environment.
        let number = pinned
            .iter()
            .fold(7_u32, |n, byte| n.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        // In a root of its own there is neither venv nor pip.
        if self.interpreter.root.is_some() {
            return None;
        }
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
            "../target/deps/venv-3.{}-{}-{name}-{number:08x}",
            self.interpreter.minor, self.interpreter.origin
        ));
        let mut setup = self.clone();
        setup.interpreter.python = place.join("bin/python");
        let mut missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = place.join("complete");
        if complete.is_file() {
            return Some(setup);
        }
        if missing.contains(&place) {
            return None;
        }
        let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = done(self.command().args(["-m", "venv", "--clear"]).arg(&place))
            && done(
                setup
                    .command()
                    // Compiling somebody's extension module takes minutes, and more than a compiler.
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--only-binary=:all:",
                        "--requirement",
                    ])
                    .arg(file),
            );
        if made && fs::write(complete, "").is_ok() {
            return Some(setup);
        }
        missing.insert(place);
        None
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

/// Runs a test on every interpreter that is supported, or says why it cannot.
///
/// # Panics
/// When it fails on one; it has run on all of them before.
#[track_caller]
pub fn on_every_interpreter(test: &str, check: impl Fn(&Setup)) {
    on_interpreters_that(test, |_| true, check);
}

/// The same, on those that everything else than the main scenarios is tested on: 3.12, 3.13 and 3.14t, with symbols, in this machine's root;
/// on all of them where the environment says [`WIDELY`].
///
/// # Panics
/// When it fails on one; it has run on all of them before.
#[track_caller]
pub fn on_main_interpreters(test: &str, check: impl Fn(&Setup)) {
    on_interpreters_that(test, is_main, check);
}

/// The variable that has every test run on every interpreter.
pub const WIDELY: &str = "BLEEDTRACE_TEST_WIDELY";

/// Whether it is one of those.
pub fn is_main(interpreter: &Interpreter) -> bool {
    let main = if interpreter.free_threaded {
        interpreter.minor == 14
    } else {
        matches!(interpreter.minor, 12 | 13)
    };
    env::var_os(WIDELY).is_some() || interpreter.root.is_none() && main
}

/// The same, on those of which something holds. The support matrix shows that the others ran one test less.
///
/// # Panics
/// When it fails on one; it has run on all of them before.
#[track_caller]
pub fn on_interpreters_that(test: &str, wanted: impl Fn(&Interpreter) -> bool, check: impl Fn(&Setup)) {
    let bleedtrace = match tracer() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let mut failed = Vec::new();
    let mut ran = 0;
    for interpreter in interpreters()
        .iter()
        .filter(|one| one.is_supported() && wanted(one))
    {
        let name = interpreter.name();
        eprintln!("{test}: {name}");
        let setup = Setup::new(&bleedtrace, interpreter);
        // The others are of interest, too. The message was printed where it failed.
        let passed = catch_unwind(AssertUnwindSafe(|| check(&setup))).is_ok();
        note(interpreter, test, passed);
        ran += 1;
        if !passed {
            failed.push(name);
        }
    }
    if ran == 0 {
        skip(test, &format!("no CPython of {SUPPORTED:?}"));
    }
    assert!(failed.is_empty(), "{test} failed on {}", failed.join(", "));
}

/// Runs a test on one of the main interpreters, or on another where there is none, or says why it cannot.
#[track_caller]
pub fn once(test: &str, check: impl FnOnce(&Setup)) {
    let of = |wanted: fn(&Interpreter) -> bool| {
        interpreters()
            .iter()
            .find(|interpreter| interpreter.is_supported() && wanted(interpreter))
    };
    let first = of(is_main).or_else(|| of(|interpreter| interpreter.root.is_none()));
    match (tracer(), first) {
        (Err(reason), _) => skip(test, &reason),
        (_, None) => skip(test, &format!("no CPython of {SUPPORTED:?}")),
        (Ok(bleedtrace), Some(interpreter)) => check(&Setup::new(&bleedtrace, interpreter)),
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
    untraceable().map_or(Ok(program), Err)
}

/// Why nothing can be traced on this machine, if it cannot.
pub fn untraceable() -> Option<String> {
    if !is_root() {
        return Some("needs root".to_owned());
    }
    let has_types = Path::new("/sys/kernel/btf/vmlinux").exists();
    (!has_types).then(|| "the kernel has no BTF".to_owned())
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

/// An installed CPython that is not supported.
pub fn unsupported_interpreter() -> Option<PathBuf> {
    let found = interpreters()
        .iter()
        .find(|interpreter| !interpreter.is_supported() && interpreter.root.is_none());
    found.map(|interpreter| interpreter.python.clone())
}
