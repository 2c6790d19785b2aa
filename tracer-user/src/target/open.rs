//! Opening files that a process runs from. Names are the target's choice: none of them leads to another file than the mapped one.
//!
//! Whatever is opened is a regular file that a file system of the kernel's own keeps. Reading it may not wait for anybody.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};

use super::{
    mapped::Mapped,
    maps::{FileId, Mapping},
    process::{Process, ProcessError},
};
use crate::patience::attempt_within;

/// `FUSE_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const FUSE: u64 = 0x6573_5546;
const SERVED: &str =
    "it stands on a FUSE file system, whose server could stall the whole machine when a probe is set";
/// How long a file system has to answer: a file may have to come from a slow disk.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a file's beginning that are compared with what is mapped of it: ELF headers, and the build id after them.
const HEAD: usize = 4096;
/// Bytes of a list of mounts that are read.
const MAX_MOUNTS: u64 = 16 << 20;

/// Work on files that the target chose.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let silent = |_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "its file system does not answer",
        ))
    };
    attempt_within(PATIENCE, work).unwrap_or_else(silent)
}

impl Process {
    /// Opens the file behind a mapping: proven by device and inode to be the mapped one, whatever its name says.
    pub fn open_mapped(&self, mapping: &Mapping) -> Result<File, ProcessError> {
        let (process, wanted) = (self.clone(), mapping.clone());
        bounded(move || process.find_mapped(&wanted)).map_err(|cause| ProcessError::Unopenable {
            pid: self.pid,
            path: mapping.raw_path.escape_ascii().to_string(),
            cause,
        })
    }

    /// Opens the file behind a mapping, if its beginning still is what is mapped of it: a file may be overwritten in place, and
    /// the next file may get an inode's number.
    pub fn open_image(&self, mapping: &Mapping, maps: &[Mapping]) -> Result<File, ProcessError> {
        let file = self.open_mapped(mapping)?;
        let head = maps.iter().find(|m| {
            m.file == mapping.file && m.offset == 0 && m.readable && m.raw_path == mapping.raw_path
        });
        let Some(start) = head.map(|head| head.range.start) else {
            return Ok(file);
        };
        let (process, copy) = (
            self.clone(),
            file.try_clone().map_err(|e| self.unreadable("file", e))?,
        );
        let same = bounded(move || {
            let (mut stored, mut mapped) = (vec![0; HEAD], vec![0; HEAD]);
            let len = copy.read_at(&mut stored, 0)?;
            process.file("mem")?.read_exact_at(&mut mapped[..len], start)?;
            Ok(stored == mapped)
        });
        match same {
            Ok(true) => Ok(file),
            Ok(false) => Err(ProcessError::Changed {
                pid: self.pid,
                path: mapping.raw_path.escape_ascii().to_string(),
            }),
            Err(error) => Err(self.unreadable("memory", error)),
        }
    }

    /// Opens the program that it runs: the kernel hands out the very file, no name is involved.
    pub fn open_exe(&self) -> Result<File, ProcessError> {
        let process = self.clone();
        let (exe, maps) = (self.exe()?, self.maps()?);
        bounded(move || {
            let served = |m: &Mapping| m.candidates().contains(&exe) && process.is_served(m.file);
            if maps.iter().any(served) {
                return Err(self::served());
            }
            reopen(&process.place("exe")?)
        })
        .map_err(|e| self.unreadable("exe", e))
    }

    /// Opens a path as the target would see it. Links are followed, but none leads out of the target's root; and what the target may not
    /// read by itself is not read for it.
    pub fn open_in_root(&self, path: &Path) -> io::Result<File> {
        let (process, path) = (self.clone(), path.to_owned());
        bounded(move || {
            let root = process.place("root")?;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let place = openat2(&root, &path, flags, Mode::empty(), resolve)?;
            let file = rustix::fs::fstat(&place)?;
            let status = process.status().map_err(io::Error::other)?;
            if !status.may_read(file.st_uid, file.st_gid, file.st_mode) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            reopen(&place)
        })
    }

    /// A path that the kernel showed us, as the target itself sees it: to us, those of a target in a chroot begin with that.
    pub fn seen_from_inside(&self, path: &Path) -> PathBuf {
        let root = readlinkat(&*self.directory, "root", Vec::new()).unwrap_or_default();
        let root = Path::new(std::ffi::OsStr::new(root.to_str().unwrap_or("/"))).to_owned();
        path.strip_prefix(&root)
            .map_or_else(|_| path.to_owned(), |inside| Path::new("/").join(inside))
    }

    /// Whether a file stands on FUSE, as the mounts of the process say: nobody has to be asked who may not answer.
    fn is_served(&self, file: FileId) -> bool {
        let mut mounts = Vec::new();
        // What cannot be read is found out when the file is opened.
        let _ = self
            .file("mountinfo")
            .and_then(|list| list.take(MAX_MOUNTS).read_to_end(&mut mounts));
        is_fuse(&String::from_utf8_lossy(&mounts), file)
    }

    fn find_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        if self.is_served(mapping.file) {
            return Err(served());
        }
        let mut cause = io::Error::from(io::ErrorKind::NotFound);
        for path in mapping.candidates() {
            match self.open_candidate(&path, mapping.file) {
                Ok(file) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
                Err(error) => cause = error,
            }
        }
        // No name is involved here: the kernel hands out the very file that is mapped. It wants more capabilities for it.
        let link = format!("map_files/{:x}-{:x}", mapping.range.start, mapping.range.end);
        if mapping.is_file() {
            match self.place(&link) {
                Ok(place) => return verified(&place, mapping.file),
                Err(error) if error.kind() != io::ErrorKind::NotFound => cause = error,
                Err(_) => {}
            }
        }
        Err(cause)
    }

    /// Opens a path below the target's root, or below ours, as the map prints it for a target in a chroot, if it is the right
    /// file. No link that the target planted is followed.
    fn open_candidate(&self, path: &[u8], wanted: FileId) -> io::Result<File> {
        let root = self.place("root")?;
        let ours = openat(
            rustix::fs::CWD,
            "/",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        open_below(&root, path, wanted).or_else(|first| open_below(&ours, path, wanted).map_err(|_| first))
    }

    fn place(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(
            &*self.directory,
            name,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }
}

fn served() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, SERVED)
}

/// `/proc/PID/mountinfo` (proc(5)): the third field is the device, and the type stands behind a lone hyphen.
fn is_fuse(mounts: &str, file: FileId) -> bool {
    let device = format!("{}:{}", file.major, file.minor);
    mounts.lines().any(|line| {
        let kind = line.split_once(" - ").map_or("", |(_, rest)| rest);
        line.split(' ').nth(2) == Some(&device) && kind.starts_with("fuse")
    })
}

fn open_below(root: &OwnedFd, path: &[u8], wanted: FileId) -> io::Result<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let place = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    verified(&place, wanted)
}

/// Opens the file at a place, if it is the wanted one.
fn verified(place: &OwnedFd, wanted: FileId) -> io::Result<File> {
    let file = reopen(place)?;
    let stat = rustix::fs::fstat(&file)?;
    let found = FileId {
        major: rustix::fs::major(stat.st_dev),
        minor: rustix::fs::minor(stat.st_dev),
        inode: stat.st_ino,
    };
    // Only a map names a file as another map does: an overlay gives it a device of its own in `stat`.
    if found == wanted
        || Mapped::new(&file, 0)
            .and_then(|mapped| mapped.file())
            .is_ok_and(|id| id == wanted)
    {
        Ok(file)
    } else {
        Err(io::Error::other("another file stands at that path"))
    }
}

/// Opens what stands at a place for reading. The place is pinned: this resolves nothing again.
fn reopen(place: &OwnedFd) -> io::Result<File> {
    // A fifo or a device must not be opened at all.
    if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode).is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // The kernel reads a probed page while it keeps every fork on the machine waiting.
    if rustix::fs::fstatfs(place)?.f_type as u64 == FUSE {
        return Err(served());
    }
    // Not blocking: the file's owner may hold a lease on it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(File::from(openat(rustix::fs::CWD, path, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;

    fn me() -> Process {
        Process::open(std::process::id()).unwrap()
    }

    fn id(path: &Path) -> FileId {
        let stat = fs::metadata(path).unwrap();
        FileId {
            major: rustix::fs::major(stat.dev()),
            minor: rustix::fs::minor(stat.dev()),
            inode: stat.ino(),
        }
    }

    fn mapping(path: &Path, file: FileId) -> Mapping {
        Mapping {
            range: 0x1000..0x2000,
            readable: true,
            writable: false,
            executable: true,
            offset: 0,
            file,
            raw_path: path.as_os_str().as_encoded_bytes().to_vec(),
        }
    }

    #[test]
    fn mounts_tell_who_serves_a_file() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n36 35 0:52 / /mnt/a\\040b rw shared:1 - fuse.sshfs x rw\n\
                      37 35 0:53 / /mnt/fuse rw - ext4 fuse rw\n";
        let on = |minor| {
            is_fuse(
                mounts,
                FileId {
                    major: 0,
                    minor,
                    inode: 1,
                },
            )
        };
        assert!(on(52) && !on(20) && !on(53) && !on(5));
    }

    #[test]
    fn a_file_that_is_not_what_is_mapped_is_refused() {
        let process = me();
        let maps = process.maps().unwrap();
        let exe = process.exe().unwrap();
        let own = maps.iter().find(|m| m.raw_path == exe && m.offset == 0).unwrap();
        assert!(process.open_image(own, &maps).is_ok());
        // Another file that has the inode's number by now, as a map that was read before would have it.
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::copy("/proc/self/exe", &other).unwrap();
        let swapped = Mapping {
            file: id(&other),
            raw_path: other.as_os_str().as_encoded_bytes().to_vec(),
            ..own.clone()
        };
        assert!(
            process
                .open_image(&swapped, std::slice::from_ref(&swapped))
                .is_ok(),
            "the same bytes"
        );
        fs::write(&other, "something else").unwrap();
        let swapped = Mapping {
            file: id(&other),
            ..swapped
        };
        let error = process
            .open_image(&swapped, std::slice::from_ref(&swapped))
            .unwrap_err();
        assert!(matches!(error, ProcessError::Changed { .. }), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_never_opened() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("libpython3.12.so");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        // Nobody writes to it: to open it for reading would wait for ever.
        for path in [fifo.as_path(), Path::new("/dev/zero"), directory.path()] {
            let error = me().open_mapped(&mapping(path, id(path))).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
            assert!(me().open_in_root(path).is_err());
        }
    }

    #[test]
    fn a_path_of_a_target_that_sees_what_we_see_stays() {
        assert_eq!(
            me().seen_from_inside(Path::new("/usr/bin/x")),
            Path::new("/usr/bin/x")
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
        let file = id(&real);
        let path = |p: &Path| p.as_os_str().as_encoded_bytes().to_vec();
        assert!(process.open_candidate(&path(&real), file).is_ok());
        assert!(process.open_candidate(&path(&link), file).is_err());
        let other = FileId {
            inode: file.inode + 1,
            ..file
        };
        assert!(process.open_candidate(&path(&real), other).is_err());
        let error = process.open_mapped(&mapping(&real, other)).unwrap_err();
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
}
