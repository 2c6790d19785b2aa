//! The interpreters of this machine that tests run on: installed ones, and those of Debian's suites in directories of their own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use object::Object as _;

/// Minor versions of CPython 3 that every test runs on.
pub const SUPPORTED: &[u32] = &[8, 9, 10, 11, 12, 13, 14, 15];

/// Minor versions that pyenv, where there is one, is expected to have.
const PYENV: &[u32] = &[8, 9, 10, 11, 12, 13];

/// What is taken from a suite of Debian.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// Minor versions of CPython 3; patch releases move.
    pub minors: &'static [u32],
    /// Those of which the shared library is tested as well, in an executable that is linked to it.
    pub linked: &'static [u32],
}

/// Debian's suites.
pub const DEBIAN: &[Suite] = &[
    Suite {
        name: "bullseye",
        minors: &[9],
        linked: &[],
    },
    Suite {
        name: "bookworm",
        minors: &[11],
        linked: &[11],
    },
    Suite {
        name: "trixie",
        minors: &[13],
        linked: &[],
    },
    Suite {
        name: "sid",
        minors: &[13, 14, 15],
        linked: &[14],
    },
];

/// Minor versions that are built without a GIL.
pub const FREE_THREADED: &[u32] = &[13, 14, 15];

/// An environment in which threads begin with an empty context: builds without a GIL have their starter's from 3.14 on, which other
/// builds and versions do not offer, or only if asked.
pub const EMPTY_CONTEXTS: (&str, &str) = ("PYTHON_THREAD_INHERIT_CONTEXT", "0");

/// Where such a build is from, and begins the name of its folder: `built-3.13t`.
pub const BUILT: &str = "built";

/// Ends the name of an executable that was linked to a suite's shared library.
pub const LINKED: &str = "-libpython";

/// One interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Minor version of CPython 3.
    pub minor: u32,
    /// `3.14.10`.
    pub version: String,
    /// Where it is from: `pyenv`, `installed`, `debian-sid`.
    pub origin: String,
    /// The file that holds the interpreter has no symbols.
    pub stripped: bool,
    /// That file is a shared library, not the executable.
    pub shared: bool,
    /// It was built without the GIL.
    pub free_threaded: bool,
    /// The executable, as this machine sees it.
    pub python: PathBuf,
    /// The root directory that it runs in, if that is not this machine's.
    pub root: Option<PathBuf>,
}

impl Interpreter {
    /// What it is called in results: `3.14 debian-sid stripped executable`.
    pub fn name(&self) -> String {
        format!(
            "{} {} {} {}",
            spoken(self.minor, self.free_threaded),
            self.origin,
            if self.stripped { "stripped" } else { "symbols" },
            if self.shared { "libpython" } else { "executable" },
        )
    }

    /// Whether bleedtrace says that it traces this one.
    pub fn is_supported(&self) -> bool {
        SUPPORTED.contains(&self.minor)
    }

    /// What starts it, as words of a command line.
    pub fn words(&self) -> Vec<PathBuf> {
        match &self.root {
            None => vec![self.python.clone()],
            Some(root) => vec!["chroot".into(), root.clone(), inside(root, &self.python)],
        }
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(EMPTY_CONTEXTS.0, EMPTY_CONTEXTS.1);
        command
    }

    /// Makes a file of this machine readable by it, under the same name.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[track_caller]
    pub fn share(&self, file: &Path) {
        let Some(root) = &self.root else { return };
        let copy = root.join(file.strip_prefix("/").expect("an absolute path"));
        let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if fs::read(&copy).is_ok_and(|there| there == text) {
            return;
        }
        let folder = copy.parent().expect("a file lies in a folder");
        // In one go: another test may be reading it.
        let draft = copy.with_extension(format!("{:?}", std::thread::current().id()));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&draft, text))
            .and_then(|()| fs::rename(&draft, &copy))
            .unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    }
}

/// `3.14`, `3.14t`.
fn spoken(minor: u32, free_threaded: bool) -> String {
    format!("3.{minor}{}", if free_threaded { "t" } else { "" })
}

fn inside(root: &Path, file: &Path) -> PathBuf {
    Path::new("/").join(
        file.strip_prefix(root)
            .expect("the interpreter lies below its root"),
    )
}

/// Where `cargo xtask test` unpacks Debian's interpreters, one root directory for each suite.
pub fn roots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .join("target/interpreters")
}

/// Every CPython 3, in order of version: those of `BLEEDTRACE_PYTHONS`, else of pyenv, of PATH, and of Debian's suites.
pub fn interpreters() -> &'static [Interpreter] {
    static FOUND: OnceLock<Vec<Interpreter>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let candidates: Vec<PathBuf> = match env::var_os("BLEEDTRACE_PYTHONS") {
            Some(chosen) => env::split_paths(&chosen).collect(),
            None => everywhere(),
        };
        let mut found: Vec<Interpreter> = Vec::new();
        for python in candidates {
            let Some(interpreter) = identify(&python) else {
                continue;
            };
            // An installed one of a kind is enough; each suite's is one of its own.
            if found.iter().all(|other| other.name() != interpreter.name()) {
                found.push(interpreter);
            }
        }
        found.sort_by_key(|found| (found.minor, found.free_threaded, found.root.is_some()));
        found
    })
}

/// Of those, the supported ones with a GIL that run in this machine's root, one of each minor version.
pub fn installed() -> Vec<&'static Interpreter> {
    let mut found: Vec<&Interpreter> = interpreters()
        .iter()
        .filter(|interpreter| {
            interpreter.is_supported() && !interpreter.free_threaded && interpreter.root.is_none()
        })
        .collect();
    found.dedup_by_key(|interpreter| interpreter.minor);
    found
}

/// What is expected, by the beginning of its name, and is not here.
pub fn missing() -> Vec<String> {
    let mut expected: Vec<String> = PYENV.iter().map(|minor| format!("3.{minor} pyenv ")).collect();
    for Suite { name, minors, linked } in DEBIAN {
        let of = |kind| move |minor: &u32| format!("3.{minor} debian-{name} stripped {kind}");
        expected.extend(minors.iter().map(of("executable")));
        expected.extend(linked.iter().map(of("libpython")));
    }
    expected.extend(
        FREE_THREADED
            .iter()
            .map(|minor| format!("{} {BUILT} ", spoken(*minor, true))),
    );
    expected.retain(|name| interpreters().iter().all(|found| !found.name().starts_with(name)));
    expected
}

fn everywhere() -> Vec<PathBuf> {
    let mut candidates = pyenv();
    candidates.extend((8..=15).map(|minor| PathBuf::from(format!("python3.{minor}"))));
    candidates.push("python3".into());
    for Suite { name, minors, linked } in DEBIAN {
        let programs = roots().join(format!("debian-{name}/rootfs/usr/bin"));
        candidates.extend(
            minors
                .iter()
                .map(|minor| programs.join(format!("python3.{minor}"))),
        );
        candidates.extend(
            linked
                .iter()
                .map(|minor| programs.join(format!("python3.{minor}{LINKED}"))),
        );
    }
    candidates.extend(FREE_THREADED.iter().map(|minor| {
        let name = spoken(*minor, true);
        roots().join(format!("{BUILT}-{name}/bin/python{name}"))
    }));
    candidates
}

fn pyenv_root() -> Option<PathBuf> {
    env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")))
}

/// What pyenv installed: its launchers only give the version that is chosen for a folder.
fn pyenv() -> Vec<PathBuf> {
    let versions = pyenv_root().and_then(|root| fs::read_dir(root.join("versions")).ok());
    let mut found: Vec<_> = versions
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin/python3")))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    found
}

/// Prints the minor version, the full one, whether there is no GIL, and the executable itself, behind any launcher.
const WHO: &str = "import sys, os, sysconfig
assert sys.version_info.major == 3 and sys.implementation.name == 'cpython'
print(sys.version_info.minor, '%d.%d.%d' % sys.version_info[:3], sysconfig.get_config_var('Py_GIL_DISABLED') or 0,
    os.path.realpath(sys.executable))";

/// Prints the interpreter's library, if it has one. The file system of processes tells, which a root of its own lacks.
const LIBRARY: &str =
    "print(next((line.split()[-1] for line in open('/proc/self/maps') if '/libpython3.' in line), ''))";

fn identify(python: &Path) -> Option<Interpreter> {
    let suite = python
        .strip_prefix(roots())
        .ok()
        .and_then(|below| below.iter().next()?.to_str());
    let origin = match suite {
        None => "installed",
        Some(folder) if folder.starts_with(BUILT) => BUILT,
        Some(suite) => suite,
    };
    // What was built here runs in this machine's root.
    let suite = suite.filter(|_| origin != BUILT);
    let mut interpreter = Interpreter {
        minor: 0,
        version: String::new(),
        origin: origin.to_owned(),
        stripped: false,
        shared: python.to_str()?.ends_with(LINKED),
        free_threaded: false,
        python: python.to_owned(),
        root: suite.map(|suite| roots().join(suite).join("rootfs")),
    };
    let who = said(&interpreter, WHO)?;
    let mut words = who.splitn(4, ' ');
    interpreter.minor = words.next()?.parse().ok()?;
    words.next()?.clone_into(&mut interpreter.version);
    interpreter.free_threaded = words.next()? == "1";
    let executable = PathBuf::from(words.next()?);
    let holder = match &interpreter.root {
        Some(root) if interpreter.shared => {
            let libraries = root
                .join("usr/lib")
                .join(format!("{}-linux-gnu", env::consts::ARCH));
            libraries.join(format!("libpython3.{}.so.1.0", interpreter.minor))
        }
        Some(_) => python.to_owned(),
        None => {
            interpreter.python.clone_from(&executable);
            if pyenv_root().is_some_and(|root| executable.starts_with(root)) {
                "pyenv".clone_into(&mut interpreter.origin);
            }
            let library = said(&interpreter, LIBRARY)?;
            interpreter.shared = !library.is_empty();
            if library.is_empty() {
                executable
            } else {
                library.into()
            }
        }
    };
    interpreter.stripped = is_stripped(&holder)?;
    Some(interpreter)
}

fn said(interpreter: &Interpreter, script: &str) -> Option<String> {
    let output = interpreter.command().args(["-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn is_stripped(file: &Path) -> Option<bool> {
    let data = fs::read(file).ok()?;
    let file = object::File::parse(&*data).ok()?;
    Some(file.section_by_name(".symtab").is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Interpreter {
        Interpreter {
            minor: 14,
            version: "3.14.10".to_owned(),
            origin: "debian-sid".to_owned(),
            stripped: true,
            shared: false,
            free_threaded: false,
            python: "/roots/sid/usr/bin/python3.14".into(),
            root: Some("/roots/sid".into()),
        }
    }

    #[test]
    fn names_tell_builds_apart() {
        assert_eq!(example().name(), "3.14 debian-sid stripped executable");
        let other = Interpreter {
            shared: true,
            stripped: false,
            free_threaded: true,
            ..example()
        };
        assert_eq!(other.name(), "3.14t debian-sid symbols libpython");
    }

    #[test]
    fn one_in_another_root_is_started_there() {
        let words = ["chroot", "/roots/sid", "/usr/bin/python3.14"].map(PathBuf::from);
        assert_eq!(example().words(), words);
        assert_eq!(
            Interpreter {
                root: None,
                ..example()
            }
            .words(),
            ["/roots/sid/usr/bin/python3.14"].map(PathBuf::from)
        );
    }
}
