//! What a file is known by, whatever it is called.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    time::SystemTime,
};

use super::sys::handle;

/// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const OVERLAY: u64 = 0x794c_7630;

/// A file, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    identity: Identity,
    /// Inodes are used again: size, birth and the last writing tell the next file from the last.
    size: u64,
    born: Option<SystemTime>,
    written: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Inode {
        device: u64,
        inode: u64,
    },
    /// A file that an overlay shows, below it: every container of an image has an overlay of its own.
    Layer(Vec<u8>),
}

/// What a file is known by.
pub struct Keys {
    /// Where it is.
    pub own: FileKey,
    /// Whose it is.
    pub owner: u32,
    /// What an overlay shows by it.
    pub layer: Option<FileKey>,
}

impl Keys {
    /// Those of an opened file.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let key = |identity| FileKey {
            identity,
            size: meta.size(),
            born: meta.created().ok(),
            written: (meta.mtime(), meta.mtime_nsec()),
        };
        let is_overlay = rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type as u64 == OVERLAY);
        let layer = is_overlay.then(|| handle(file.as_fd()).ok()).flatten();
        Ok(Self {
            own: key(Identity::Inode {
                device: meta.dev(),
                inode: meta.ino(),
            }),
            owner: meta.uid(),
            layer: layer.map(|handle| key(Identity::Layer(handle))),
        })
    }
}
