//! Whether a file has changed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How often it is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// What tells one state of a file from the next: another file under the name, another size, another time of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// Looks at a file from time to time. It is looked up by its name each time: editors and Kubernetes put another one in its place.
#[derive(Debug)]
pub struct Changes {
    path: Option<PathBuf>,
    seen: Option<Stamp>,
    /// As it was when it was last looked at: what is still being written is not read.
    last: Option<Stamp>,
    looked: Instant,
}

impl Changes {
    /// As the file is now. Without one nothing ever changes.
    pub fn of(path: Option<PathBuf>) -> Self {
        let mut changes = Self {
            path,
            seen: None,
            last: None,
            looked: Instant::now(),
        };
        changes.seen = changes.stamp();
        changes.last = changes.seen;
        changes
    }

    /// Whether it is time to look, and the file has changed, and was the same when it was looked at before. One that is gone has not: it may be on its way.
    pub fn happened(&mut self) -> bool {
        if self.looked.elapsed() < PAUSE {
            return false;
        }
        self.looked = Instant::now();
        let now = self.stamp();
        let settled = std::mem::replace(&mut self.last, now) == now;
        let changed = settled && now.is_some() && now != self.seen;
        if changed {
            self.seen = now;
        }
        changed
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(self.path.as_ref()?).ok()?;
        Some(Stamp {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_its_place_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut changes = Changes::of(Some(path.clone()));
        let mut happened = || {
            changes.looked -= PAUSE;
            changes.happened()
        };
        assert!(!happened());
        fs::write(&path, "other").unwrap();
        assert!(!happened(), "it may still be written");
        assert!(happened() && !happened());
        fs::rename(&path, directory.path().join("aside")).unwrap();
        assert!(!happened());
        fs::write(directory.path().join("new"), "other").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(!happened() && happened() && !happened());
    }

    #[test]
    fn it_is_not_looked_at_all_the_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut changes = Changes::of(Some(path.clone()));
        fs::write(&path, "other").unwrap();
        assert!(!changes.happened());
    }
}
