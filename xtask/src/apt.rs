//! apt with directories of its own: what it downloads comes from this machine's mirror, and the machine stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{mirror::Mirror, workspace};

/// One suite's packages.
pub struct Apt(PathBuf);

impl Apt {
    /// Brings the suite's lists to the folder `place`. `types` are what is asked for: `deb`, `deb-src`.
    pub fn new(mirror: &Mirror, suite: &str, types: &str, place: &Path) -> Result<Self> {
        for folder in [
            "state/lists/partial",
            "cache/archives/partial",
            "sources",
            "preferences",
        ] {
            fs::create_dir_all(place.join(folder))?;
        }
        fs::write(place.join("sources/suite.sources"), mirror.source(suite, types))?;
        // Nothing is installed in a root that does not exist yet.
        fs::write(place.join("state/status"), "")?;
        let apt = Self(place.to_owned());
        workspace::run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// `apt-get` or another of its programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::State", "state"),
            ("Dir::State::status", "state/status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourceparts", "sources"),
            ("Dir::Etc::preferencesparts", "preferences"),
        ] {
            command.arg(format!("-o{option}={}", self.0.join(value).display()));
        }
        command.args([
            "-oDir::Etc::sourcelist=/dev/null",
            "-oDir::Etc::preferences=/dev/null",
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Languages=none",
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "--quiet=2",
        ]);
        command
    }

    /// Where `apt-get install --download-only` leaves packages.
    pub fn archives(&self) -> PathBuf {
        self.0.join("cache/archives")
    }
}

/// The files in a folder whose names end so.
pub fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
