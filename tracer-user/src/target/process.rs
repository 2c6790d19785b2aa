//! A process, looked at from outside. Nothing that it can choose, such as a path, is believed.
//!
//! `/proc/PID` is opened once: its descriptor stays bound to that very process, so that a number that is used again never
//! shows a stranger.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};

use crate::{
    patience,
    runtime::cpython::memory::{Memory as _, ProcessMemory},
};

use super::{
    maps::{self, FileId, Mapping},
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
}

const OTHER_USER: &str =
    "run as root; for another user's process it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

impl ProcessError {
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
            Self::Unopenable { .. } => {
                "a deleted or replaced file takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; else restart the process".into()
            }
        }
    }
}

/// A process.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    directory: OwnedFd,
}

impl Process {
    /// Opens a process by its number.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(rustix::fs::CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|_| ProcessError::NoSuchProcess(pid))?;
        let process = Self { pid, directory };
        let tgid = process.status()?.tgid;
        if tgid == pid {
            Ok(process)
        } else {
            Err(ProcessError::Thread { tid: pid, pid: tgid })
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What `/proc/PID/stat` says.
    pub fn stat(&self) -> Result<Stat, ProcessError> {
        let text = self.read("stat", MAX_FILE)?;
        parse_stat(&text).ok_or_else(|| self.nonsense("stat", &text))
    }

    /// What `/proc/PID/status` says.
    pub fn status(&self) -> Result<Status, ProcessError> {
        let text = self.read("status", MAX_FILE)?;
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
        let path = readlinkat(&self.directory, "exe", Vec::new()).map_err(|e| self.unreadable("exe", e))?;
        Ok(path.into_bytes())
    }

    /// Its arguments, as far as they are not absurdly long.
    pub fn cmdline(&self) -> Result<Vec<Vec<u8>>, ProcessError> {
        Ok(split_strings(&self.read("cmdline", MAX_STRINGS)?))
    }

    /// Its control group in the unified hierarchy.
    pub fn cgroup(&self) -> Result<String, ProcessError> {
        let text = self.read("cgroup", MAX_FILE)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text
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
        self.file("mem").map_err(|e| self.unreadable("mem", e))
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.stat().is_ok()
    }

    /// Opens the file behind a mapping: proven by device and inode to be the mapped one, whatever its name says.
    pub fn open_mapped(&self, mapping: &Mapping) -> Result<File, ProcessError> {
        let mut cause = io::Error::from(io::ErrorKind::NotFound);
        for path in mapping.candidates() {
            match self.open_candidate(&path, mapping.file) {
                Ok(file) => return Ok(file),
                Err(error) => cause = error,
            }
        }
        // No name is involved here: the kernel hands out the very file that is mapped. It wants more capabilities for it.
        let link = format!("map_files/{:x}-{:x}", mapping.range.start, mapping.range.end);
        if mapping.is_file() {
            match self.file(&link) {
                Ok(file) => match file.metadata() {
                    Ok(found) if found.is_file() && found.ino() == mapping.file.inode => return Ok(file),
                    Ok(_) => cause = io::Error::other("another file is mapped there now"),
                    Err(error) => cause = error,
                },
                Err(error) if error.kind() != io::ErrorKind::NotFound => cause = error,
                Err(_) => {}
            }
        }
        Err(ProcessError::Unopenable {
            pid: self.pid,
            path: mapping.raw_path.escape_ascii().to_string(),
            cause,
        })
    }

    /// Opens the program that it runs: the kernel hands out the very file, no name is involved.
    pub fn open_exe(&self) -> Result<File, ProcessError> {
        self.file("exe").map_err(|e| self.unreadable("exe", e))
    }

    /// Opens a path as the target would see it. Links are followed, but none leads out of the target's root.
    pub fn open_in_root(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.directory, "root", flags, Mode::empty())?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let place = openat2(
            &root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        // A fifo or a device must not be opened for reading.
        if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode).is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        File::open(format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()))
    }

    /// Opens a path below the target's root, or below ours, as the map prints it for a target in a chroot, if it is the right
    /// file. No link that the target planted is followed.
    fn open_candidate(&self, path: &[u8], wanted: FileId) -> io::Result<File> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.directory, "root", flags, Mode::empty())?;
        let ours = openat(rustix::fs::CWD, "/", flags, Mode::empty())?;
        open_below(&root, path, wanted).or_else(|first| open_below(&ours, path, wanted).map_err(|_| first))
    }

    fn file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, ProcessError> {
        // Some of it, such as the arguments, comes from the process's memory, which may never answer.
        let read = |file: File| {
            patience::attempt(move || {
                let mut bytes = Vec::new();
                file.take(limit).read_to_end(&mut bytes).map(|_| bytes)
            })
            .unwrap_or_else(|stalled| Err(io::Error::other(stalled)))
        };
        match self.file(name).and_then(read) {
            Ok(bytes) => Ok(bytes),
            // ESRCH: the process behind the open directory has ended.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Err(ProcessError::NoSuchProcess(self.pid))
            }
            Err(e) => Err(self.unreadable(name, e)),
        }
    }

    fn unreadable(&self, what: &'static str, cause: impl Into<io::Error>) -> ProcessError {
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

fn open_below(root: &OwnedFd, path: &[u8], wanted: FileId) -> io::Result<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let place = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let stat = rustix::fs::fstat(&place)?;
    let found = FileId {
        major: rustix::fs::major(stat.st_dev),
        minor: rustix::fs::minor(stat.st_dev),
        inode: stat.st_ino,
    };
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    if found != wanted || !regular {
        return Err(io::Error::other("another file stands at that path"));
    }
    // The place is pinned: this resolves nothing again.
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
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
    use std::{fs, os::unix::fs::symlink};

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
    fn a_path_that_leads_elsewhere_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (
            directory.path().join("real (deleted)"),
            directory.path().join("link"),
        );
        fs::write(&real, "x").unwrap();
        symlink(&real, &link).unwrap();
        let process = me();
        let stat = fs::metadata(&real).unwrap();
        let file = FileId {
            major: rustix::fs::major(stat.dev()),
            minor: rustix::fs::minor(stat.dev()),
            inode: stat.ino(),
        };
        let path = |p: &Path| p.as_os_str().as_encoded_bytes().to_vec();
        assert!(process.open_candidate(&path(&real), file).is_ok());
        assert!(process.open_candidate(&path(&link), file).is_err());
        let other = FileId {
            inode: file.inode + 1,
            ..file
        };
        assert!(process.open_candidate(&path(&real), other).is_err());
        let mapping = Mapping {
            range: 0x1000..0x2000,
            readable: true,
            writable: false,
            executable: true,
            offset: 0,
            file: other,
            raw_path: path(&real),
        };
        let error = process.open_mapped(&mapping).unwrap_err();
        assert!(
            error.to_string().contains("another file stands at that path"),
            "{error}"
        );
    }

    #[test]
    fn a_replaced_program_is_opened_by_what_is_mapped_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nap");
        fs::copy("/bin/sleep", &program).unwrap();
        let wanted = fs::metadata(&program).unwrap().ino();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let replacement = directory.path().join("evil");
        fs::write(&replacement, "evil").unwrap();
        fs::rename(&replacement, &program).unwrap();
        let process = Process::open(child.id()).unwrap();
        let maps = process.maps();
        let mapping = maps
            .unwrap()
            .into_iter()
            .find(|m| m.file.inode == wanted)
            .expect("the program is mapped");
        let opened = process.open_mapped(&mapping);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mapping.says_deleted());
        match opened {
            Ok(file) => assert_eq!(file.metadata().unwrap().ino(), wanted),
            Err(error) => assert!(!rustix::process::geteuid().is_root(), "{error}"),
        }
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
