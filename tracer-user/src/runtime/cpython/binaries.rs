//! What files turned out to be. Each is read and parsed once, whatever number of processes map it.

use std::{collections::HashMap, fs::File, io, os::unix::fs::MetadataExt as _, sync::Arc};

use super::{
    core::{Core, CoreError, Version},
    queue::{QueueError, QueueModule},
};
use crate::elf::read_loaded;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
    /// Inodes are used again: size and time of the last change tell the next file from the last.
    size: u64,
    changed: (i64, i64),
}

impl FileKey {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// What a file carries.
#[derive(Clone, Debug)]
pub enum Binary {
    /// An interpreter; some distributions build `_queue` into it.
    Core(Arc<Core>, Option<Arc<QueueModule>>),
    /// An interpreter that cannot be traced.
    Refused {
        /// Its version, when that could be told.
        version: Option<Version>,
        /// Why, in words.
        reason: String,
    },
    /// The extension module `_queue`.
    Queue(Arc<QueueModule>),
    /// Neither; why it is no usable `_queue`, if it is an ELF file at all.
    Other(Option<String>),
}

/// The files that were looked at.
#[derive(Debug, Default)]
pub struct Binaries {
    known: HashMap<FileKey, (u32, Binary)>,
    parsed: u32,
}

impl Binaries {
    /// What a file carries, and its number among those that were looked at. `name` is for messages only.
    pub fn look(&mut self, file: &File, name: &str) -> io::Result<(u32, Binary)> {
        let key = FileKey::of(file)?;
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = (self.parsed, inspect(&read_loaded(file)?, name));
        self.parsed += 1;
        self.known.insert(key, found.clone());
        Ok(found)
    }

    /// How many files were read and parsed so far.
    pub const fn parsed(&self) -> u32 {
        self.parsed
    }
}

fn inspect(bytes: &[u8], name: &str) -> Binary {
    match Core::inspect(bytes, name) {
        Ok(core) => Binary::Core(Arc::new(core), QueueModule::inspect(bytes).ok().map(Arc::new)),
        Err(CoreError::Unsupported { version, reason }) => Binary::Refused {
            version,
            reason: CoreError::Unsupported { version, reason }.to_string(),
        },
        Err(CoreError::NotCPython | CoreError::Elf(_)) => match QueueModule::inspect(bytes) {
            Ok(queue) => Binary::Queue(Arc::new(queue)),
            Err(QueueError::Elf(_)) => Binary::Other(None),
            Err(error) => Binary::Other(Some(error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_parsed_once_whatever_it_is_called() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, "no elf file").expect("written");
        fs::hard_link(&one, &two).expect("linked");
        let open = |path| File::open(path).expect("opened");
        let mut binaries = Binaries::default();
        for _ in 0..3 {
            let (number, found) = binaries.look(&open(&one), "one").expect("read");
            assert!(number == 0 && matches!(found, Binary::Other(None)), "{found:?}");
            binaries.look(&open(&two), "two").expect("read");
        }
        assert_eq!(binaries.parsed(), 1);
        // Another file at that name is another file.
        fs::remove_file(&one).expect("removed");
        fs::write(&one, "another").expect("written");
        assert_eq!(binaries.look(&open(&one), "one").expect("read").0, 1);
    }
}
