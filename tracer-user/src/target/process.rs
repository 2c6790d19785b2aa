//! A process, looked at from outside. Nothing that it can choose, such as a path, is believed.
//!
//! `/proc/PID` is opened once: its descriptor stays bound to that very process, so that a number that is used again never
//! shows a stranger.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, readlinkat, statat};

use crate::{
    patience,
    runtime::cpython::memory::{Memory as _, ProcessMemory},
};

use super::{
    maps::{self, Mapping},
    stat::{Stat, Status, parse_stat, parse_status},
};

/// Bytes that are read of one file under `/proc`.
const MAX_FILE: u64 = 64 << 20;
/// Bytes that are read of arguments or environment.
const MAX_STRINGS: u64 = 256 << 10;

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is none.
    #[error("no process {0}")]
    NoSuchProcess(u32),
    /// The number is that of a thread.
    #[error("{tid} is a thread of process {pid}")]
    Thread {
        /// The thread.
        tid: u32,
        /// Its process.
        pid: u32,
    },
    /// Something of it cannot be read.
    #[error("cannot read {what} of process {pid}: {cause}")]
    Unreadable {
        /// The process.
        pid: u32,
        /// What.
        what: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// Something of it makes no sense.
    #[error("{what} of process {pid} makes no sense: `{text}`")]
    Nonsense {
        /// The process.
        pid: u32,
        /// What.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// No file at the mapping's path is the file that is mapped.
    #[error("cannot open the file that process {pid} maps as `{path}`: {cause}")]
    Unopenable {
        /// The process.
        pid: u32,
        /// The path that the map prints.
        path: String,
        /// What the last attempt met.
        cause: io::Error,
    },
    /// The file is not any more what was mapped.
    #[error("the file `{path}` is not what process {pid} has mapped: it was changed in place")]
    Changed {
        /// The process.
        pid: u32,
        /// The path that the map prints.
        path: String,
    },
}

const OTHER_USER: &str =
    "run as root; for another user's process it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

impl ProcessError {
    /// Whether the kernel refuses to let us read the process's memory.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { what: "memory", cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSuchProcess(_) => "it may have ended; `pgrep -af python` lists what runs".into(),
            Self::Thread { pid, .. } => format!("give --pid {pid}"),
            Self::Unreadable { .. } => OTHER_USER.into(),
            Self::Nonsense { .. } => "is /proc mounted by the kernel's own procfs?".into(),
            Self::Unopenable { path, cause, .. }
                if cause.kind() == io::ErrorKind::PermissionDenied && !path.ends_with("(deleted)") =>
            {
                OTHER_USER.into()
            }
            Self::Unopenable { cause, .. } if cause.kind() == io::ErrorKind::Unsupported => {
                "run it from a file system of the kernel's own".into()
            }
            Self::Unopenable { cause, .. } if cause.kind() == io::ErrorKind::TimedOut => {
                "see who serves the file system that it runs from".into()
            }
            Self::Changed { .. } => "restart the process".into(),
            Self::Unopenable { .. } => {
                "a deleted or replaced file takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; else restart the process".into()
            }
        }
    }
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    pub(super) pid: u32,
    pub(super) directory: Arc<OwnedFd>,
}

impl Process {
    /// Opens a process by its number.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(rustix::fs::CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|_| ProcessError::NoSuchProcess(pid))?;
        let mut process = Self {
            pid,
            directory: Arc::new(directory),
        };
        let tgid = process.status()?.tgid;
        if tgid != pid {
            return Err(ProcessError::Thread { tid: pid, pid: tgid });
        }
        if process.stat()?.is_dead
            && let Some(directory) = process.living_thread()
        {
            process.directory = Arc::new(directory);
        }
        Ok(process)
    }

    /// The first thread that lives. A main thread that has ended before the others shows nothing of the process any more.
    fn living_thread(&self) -> Option<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = openat(&*self.directory, "task", flags, Mode::empty()).ok()?;
        Dir::read_from(&tasks)
            .ok()?
            .filter_map(Result::ok)
            .filter(|task| task.file_name().to_bytes()[0].is_ascii_digit())
            .find_map(|task| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = openat(&tasks, task.file_name(), flags, Mode::empty()).ok()?;
                let thread = Self {
                    pid: self.pid,
                    directory: Arc::new(directory),
                };
                let lives = thread.stat().is_ok_and(|stat| !stat.is_dead);
                lives.then(|| Arc::into_inner(thread.directory)).flatten()
            })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What `/proc/PID/stat` says.
    pub fn stat(&self) -> Result<Stat, ProcessError> {
        let text = self.read_at_once("stat")?;
        parse_stat(&text).ok_or_else(|| self.nonsense("stat", &text))
    }

    /// What `/proc/PID/status` says.
    pub fn status(&self) -> Result<Status, ProcessError> {
        let text = self.read_at_once("status")?;
        parse_status(&String::from_utf8_lossy(&text)).ok_or_else(|| self.nonsense("status", &text))
    }

    /// Its memory map.
    pub fn maps(&self) -> Result<Vec<Mapping>, ProcessError> {
        maps::parse(&self.read("maps", MAX_FILE)?).map_err(|text| ProcessError::Nonsense {
            pid: self.pid,
            what: "maps",
            text,
        })
    }

    /// The path of its executable, as bytes that it may have chosen: to show and to match, never to open.
    pub fn exe(&self) -> Result<Vec<u8>, ProcessError> {
        let path = readlinkat(&*self.directory, "exe", Vec::new()).map_err(|e| self.unreadable("exe", e))?;
        Ok(path.into_bytes())
    }

    /// Its arguments, as far as they are not absurdly long.
    pub fn cmdline(&self) -> Result<Vec<Vec<u8>>, ProcessError> {
        Ok(split_strings(&self.read("cmdline", MAX_STRINGS)?))
    }

    /// Its control groups, one a line.
    pub fn cgroups(&self) -> Result<String, ProcessError> {
        let text = self.read_at_once("cgroup")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Its control group in the unified hierarchy.
    pub fn cgroup(&self) -> Result<String, ProcessError> {
        Ok(self
            .cgroups()?
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or_default()
            .to_owned())
    }

    /// The environment that it was started with, read from its memory.
    pub fn environment(&self) -> Result<Vec<Vec<u8>>, ProcessError> {
        let Stat {
            environment_start: start,
            environment_end: end,
            ..
        } = self.stat()?;
        let len = end.saturating_sub(start).min(MAX_STRINGS);
        if start == 0 {
            return Err(self.unreadable("environment", io::ErrorKind::PermissionDenied));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        ProcessMemory::new(self.memory()?)
            .read(start, &mut bytes)
            .map_err(|e| self.unreadable("environment", io::Error::other(e)))?;
        Ok(split_strings(&bytes))
    }

    /// Its memory, to read from.
    pub fn memory(&self) -> Result<File, ProcessError> {
        self.file("mem").map_err(|e| self.unreadable("memory", e))
    }

    /// The root directory that it sees; none when that cannot be told.
    pub fn root(&self) -> Option<(u64, u64)> {
        let root = statat(&*self.directory, "root", AtFlags::empty()).ok()?;
        Some((root.st_dev, root.st_ino))
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.stat().is_ok()
    }

    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(openat(
            &*self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// What comes from the process's memory, such as the arguments, or takes its lock: it may never answer.
    fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, ProcessError> {
        let read = |file: File| {
            patience::attempt(move || whole(file, limit))
                .unwrap_or_else(|stalled| Err(io::Error::other(stalled)))
        };
        self.answer(name, self.file(name).and_then(read))
    }

    /// What the kernel knows by itself. To wait for another thread would take longer than to read, most of all on a busy machine.
    fn read_at_once(&self, name: &'static str) -> Result<Vec<u8>, ProcessError> {
        self.answer(name, self.file(name).and_then(|file| whole(file, MAX_FILE)))
    }

    fn answer(&self, name: &'static str, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, ProcessError> {
        match read {
            Ok(bytes) => Ok(bytes),
            // ESRCH: the process behind the open directory has ended.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Err(ProcessError::NoSuchProcess(self.pid))
            }
            Err(e) => Err(self.unreadable(name, e)),
        }
    }

    pub(super) fn unreadable(&self, what: &'static str, cause: impl Into<io::Error>) -> ProcessError {
        ProcessError::Unreadable {
            pid: self.pid,
            what,
            cause: cause.into(),
        }
    }

    fn nonsense(&self, what: &'static str, text: &[u8]) -> ProcessError {
        let text = text[..text.len().min(80)].escape_ascii().to_string();
        ProcessError::Nonsense {
            pid: self.pid,
            what,
            text,
        }
    }
}

fn whole(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map(|_| bytes)
}

/// Strings that each end in a zero byte; a last one without is taken as it is.
fn split_strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        Vec::new()
    } else {
        bytes.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    fn me() -> Process {
        Process::open(std::process::id()).unwrap()
    }

    #[test]
    fn it_sees_itself() {
        let process = me();
        assert!(process.is_alive());
        assert_eq!(process.status().unwrap().tgid, std::process::id());
        assert_eq!(process.status().unwrap().namespace_pids[0], std::process::id());
        assert!(process.stat().unwrap().start_time > 0);
        let expected: Vec<_> = std::env::args().map(String::into_bytes).collect();
        assert_eq!(process.cmdline().unwrap(), expected);
        assert!(
            process
                .environment()
                .unwrap()
                .iter()
                .any(|v| v.starts_with(b"PATH="))
        );
        let exe = process.exe().unwrap();
        let own = process
            .maps()
            .unwrap()
            .into_iter()
            .find(|m| m.raw_path == exe)
            .unwrap();
        let opened = process.open_mapped(&own).unwrap().metadata().unwrap();
        assert_eq!(
            opened.ino(),
            fs::metadata(std::env::current_exe().unwrap()).unwrap().ino()
        );
    }

    #[test]
    fn who_is_gone_stays_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(matches!(process.maps(), Err(ProcessError::NoSuchProcess(_))));
        assert!(matches!(
            Process::open(u32::MAX - 1),
            Err(ProcessError::NoSuchProcess(_))
        ));
    }

    #[test]
    fn a_thread_is_no_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (hold, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(rustix::thread::gettid()).unwrap();
            let _ = wait.recv();
        });
        let tid = receive.recv().unwrap().as_raw_nonzero().get() as u32;
        let error = Process::open(tid).unwrap_err();
        assert_eq!(error.hint(), format!("give --pid {}", std::process::id()));
        drop(hold);
        thread.join().unwrap();
    }
}
