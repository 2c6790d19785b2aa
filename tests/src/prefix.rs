//! Copies of an interpreter: other files, in other places.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// An interpreter's own files, copied; its standard library is linked to. It goes when the test ends.
#[derive(Debug)]
pub struct Prefix {
    /// Where it is.
    pub root: PathBuf,
    minor: String,
}

impl Prefix {
    /// Copies the interpreter at `python` to `root`, which must not exist.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[track_caller]
    pub fn copy(python: &Path, root: &Path) -> Self {
        let original = python
            .parent()
            .and_then(Path::parent)
            .expect("PREFIX/bin/python3");
        let name = fs::canonicalize(python).expect("the interpreter exists");
        let name = name
            .file_name()
            .and_then(OsStr::to_str)
            .expect("a name in ASCII")
            .to_owned();
        let minor = name.trim_start_matches("python").to_owned();
        let (bin, lib) = (root.join("bin"), root.join("lib"));
        let library = lib.join(format!("python{minor}"));
        fs::create_dir_all(&bin).expect("a new directory");
        fs::create_dir_all(&library).expect("a new directory");
        fs::copy(python, bin.join("python3")).expect("the interpreter is readable");
        let shared = format!("libpython{minor}.so.1.0");
        if original.join("lib").join(&shared).is_file() {
            fs::copy(original.join("lib").join(&shared), lib.join(&shared)).expect("the library is readable");
        }
        let originals = original.join(format!("lib/python{minor}"));
        for entry in fs::read_dir(&originals).expect("a standard library") {
            let entry = entry.expect("a name");
            if entry.file_name() == "lib-dynload" {
                continue;
            }
            symlink(entry.path(), library.join(entry.file_name())).expect("a new link");
        }
        let modules = library.join("lib-dynload");
        fs::create_dir(&modules).expect("a new directory");
        for entry in fs::read_dir(originals.join("lib-dynload")).expect("extension modules") {
            let entry = entry.expect("a name");
            fs::copy(entry.path(), modules.join(entry.file_name())).expect("the module is readable");
        }
        Self {
            root: root.to_owned(),
            minor,
        }
    }

    /// The same files, seen elsewhere.
    #[must_use]
    pub fn seen_at(&self, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            minor: self.minor.clone(),
        }
    }

    /// The interpreter.
    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python3")
    }

    /// The file that carries the interpreter's core.
    pub fn core(&self) -> PathBuf {
        let shared = self.root.join(format!("lib/libpython{}.so.1.0", self.minor));
        if shared.is_file() { shared } else { self.python() }
    }

    /// A command that runs a fixture.
    pub fn fixture(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.python());
        command
            .env("LD_LIBRARY_PATH", self.root.join("lib"))
            .arg(crate::fixture(name))
            .args(arguments);
        command
    }
}

/// A directory of a test, with what is mounted in it; both go when the test ends.
#[derive(Debug)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Place {
    /// An empty one.
    ///
    /// # Panics
    /// When there cannot be one.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bleedtrace-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new directory");
        Self {
            path,
            mounts: Vec::new(),
        }
    }

    /// A new directory in it.
    ///
    /// # Panics
    /// When there cannot be one.
    #[track_caller]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).expect("a new directory");
        path
    }

    /// Mounts something on a directory in it. False when the machine does not let it.
    pub fn mount(&mut self, arguments: &[&str], on: &Path) -> bool {
        let mounted = Command::new("mount").args(arguments).arg(on).status();
        if mounted.is_ok_and(|status| status.success()) {
            self.mounts.push(on.to_owned());
            true
        } else {
            false
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gone = true;
        for mount in self.mounts.iter().rev() {
            gone &= Command::new("umount")
                .arg("--lazy")
                .arg(mount)
                .status()
                .is_ok_and(|status| status.success());
        }
        // Never through a mount that stayed.
        if gone {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
