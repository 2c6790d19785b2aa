//! Looking at one process after the other. A file is looked at once, whatever number of processes map it.

use std::{collections::HashMap, fs::File};

use crate::{
    config::Config,
    elf::{Elf, is_stripped, read_loaded},
    report::{
        privacy::clean,
        processes::{Build, Obstacle, ProcessLine},
    },
    runtime::cpython::{
        binaries::{Binaries, Binary},
        core::{is_debug, is_free_threaded},
    },
    target::{
        arm::candidates,
        follow::maps_greenlet,
        identify::identify,
        maps::Mapping,
        process::{Process, ProcessError},
        user::Database,
    },
};

/// Looks at processes.
pub struct Looker {
    config: Config,
    users: Database,
    /// Why nothing at all can be traced here.
    machine: Option<String>,
    binaries: Binaries,
    /// Builds by number of the file.
    builds: HashMap<u32, Build>,
}

/// An interpreter in a process.
struct Found {
    version: Option<String>,
    build: Build,
    /// Why it cannot be traced.
    refused: Option<String>,
}

type Refusal = (Obstacle, String);

impl Looker {
    /// Looks at processes that are called what the configuration says; `machine` is why nothing can be traced.
    pub fn new(config: Config, machine: Option<String>) -> Self {
        Self {
            config,
            users: Database::read(),
            machine,
            binaries: Binaries::default(),
            builds: HashMap::new(),
        }
    }

    /// Files that were read and parsed.
    pub const fn parsed(&self) -> u32 {
        self.binaries.parsed()
    }

    /// A process, and whether it looks like one that runs Python; none when it is gone.
    pub fn look(&mut self, pid: u32) -> Option<(ProcessLine, bool)> {
        let process = Process::open(pid).ok()?;
        let arguments = process.cmdline().ok()?;
        let uid = process.status().ok()?.uid;
        let service = identify(&process, &self.config, &self.users).map(|found| found.service);
        let called = arguments.first().map(Vec::as_slice).unwrap_or_default();
        let name = called.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let python = name.starts_with(b"python") || name.starts_with(b"pypy");
        let outcome = self.interpreter(&process);
        let (found, refusal) = match outcome {
            Ok(found) => {
                let refusal = self.refusal(&process, &found);
                (Some(found), refusal)
            }
            Err(refusal) => (None, Some(refusal)),
        };
        let fallback = || String::from_utf8_lossy(name).into_owned();
        let line = ProcessLine {
            kind: "process",
            pid,
            user: clean(&self.users.name(uid).unwrap_or_else(|| uid.to_string())),
            service: clean(&service.unwrap_or_else(|_| fallback())),
            version: found.as_ref().and_then(|found| found.version.clone()),
            build: found.map(|found| found.build),
            attachable: refusal.is_none(),
            obstacle: refusal.as_ref().map(|(obstacle, _)| *obstacle),
            reason: refusal.map(|(_, reason)| clean(&reason)),
        };
        let python = python || line.build.is_some();
        // A process that ended meanwhile looks like one that maps nothing.
        process.is_alive().then_some((line, python))
    }

    fn interpreter(&mut self, process: &Process) -> Result<Found, Refusal> {
        let exe = process.exe().map_err(|error| unreadable(&error))?;
        let maps = process.maps().map_err(|error| unreadable(&error))?;
        for mapping in candidates(&maps, &exe) {
            let file = process.open_image(mapping, &maps).map_err(|error| {
                if mapping.says_deleted() {
                    (Obstacle::Deleted, format!("{error}; {}", error.hint()))
                } else {
                    unreadable(&error)
                }
            })?;
            let name = String::from_utf8_lossy(mapping.file_name()).into_owned();
            let looked = self.binaries.look(&file, &name);
            let (number, binary) =
                looked.map_err(|error| (Obstacle::Unreadable, format!("failed to read {name}: {error}")))?;
            let (version, refused) = match binary {
                Binary::Core(core, _) => (Some(core.version), None),
                Binary::Refused { version, reason } => (version, Some(reason)),
                Binary::Queue(_) | Binary::Other(_) => continue,
            };
            let build = self.builds.entry(number).or_insert_with(|| build(&file, mapping));
            return Ok(Found {
                version: version.map(|version| version.to_string()),
                build: *build,
                refused,
            });
        }
        let exe = exe.escape_ascii();
        Err((Obstacle::NotCpython, format!("no cpython in {exe}")))
    }

    /// Why a process with an interpreter cannot be attached to.
    fn refusal(&self, process: &Process, found: &Found) -> Option<Refusal> {
        if let Some(reason) = &found.refused {
            return Some((Obstacle::Unsupported, reason.clone()));
        }
        if let Some(reason) = &self.machine {
            return Some((Obstacle::Machine, reason.clone()));
        }
        if process.maps().is_ok_and(|maps| maps_greenlet(&maps)) {
            let reason = "it maps greenlet, which return probes do not survive; --allow-greenlet insists";
            return Some((Obstacle::Greenlet, reason.to_owned()));
        }
        process.memory().err().map(|error| unreadable(&error))
    }
}

fn unreadable(error: &ProcessError) -> Refusal {
    let obstacle = match error {
        ProcessError::Unreadable { cause, .. } | ProcessError::Unopenable { cause, .. }
            if cause.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Obstacle::Permission
        }
        _ => Obstacle::Unreadable,
    };
    (obstacle, error.to_string())
}

fn build(file: &File, mapping: &Mapping) -> Build {
    let bytes = read_loaded(file).ok();
    let elf = bytes.as_ref().and_then(|bytes| Elf::parse(bytes).ok());
    Build {
        shared: mapping.file_name().starts_with(b"libpython"),
        stripped: is_stripped(file).ok(),
        free_threaded: elf.as_ref().is_some_and(is_free_threaded),
        debug: elf.as_ref().map(is_debug),
    }
}
