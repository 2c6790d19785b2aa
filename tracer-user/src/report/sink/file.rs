//! A file with one JSON object a line, put aside when it has grown large.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::{Item, Later, Sink, Taken};
use crate::report::json;

/// Bytes that a file may be limited to, at least: the longest line fits into a few of these.
pub const LEAST_BYTES: u64 = 4_096;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The file.
    pub path: PathBuf,
    /// Bytes beyond which it is put aside.
    pub most_bytes: u64,
    /// Files that are kept aside, as `FILE.1` (the latest) and so on.
    pub keep: u32,
}

/// The file.
#[derive(Debug)]
pub struct EventFile {
    rotation: Rotation,
    file: File,
    /// Bytes up to the end of the last whole line.
    size: u64,
}

impl EventFile {
    /// Opens the file, or makes it, and goes on at its end.
    pub fn open(rotation: Rotation) -> io::Result<Self> {
        let (file, size) = open(&rotation.path, OFlags::empty())?;
        Ok(Self { rotation, file, size })
    }

    fn write_line(&mut self, item: &Item) -> io::Result<()> {
        let line = line(item)? + "\n";
        if self.size > 0 && self.size + line.len() as u64 > self.rotation.most_bytes {
            self.rotate()?;
        }
        self.append(&line)
    }

    /// Appends a whole line, or nothing.
    fn append(&mut self, text: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += text.len() as u64;
        Ok(())
    }

    /// Somebody else may have put the file aside, as logrotate does.
    fn follow_path(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let same = |there: Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if fs::metadata(&self.rotation.path).is_ok_and(same) {
            // It may have been emptied in its place.
            self.size = self.size.min(ours.len());
        } else {
            (self.file, self.size) = open(&self.rotation.path, OFlags::NOFOLLOW)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let aside = |number: u32| {
            let mut name = self.rotation.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.rotation.keep == 0 {
            fs::remove_file(&self.rotation.path)?;
        }
        for number in (1..self.rotation.keep).rev() {
            missing_is_fine(fs::rename(aside(number), aside(number + 1)))?;
        }
        if self.rotation.keep > 0 {
            fs::rename(&self.rotation.path, aside(1))?;
        }
        (self.file, self.size) = open(&self.rotation.path, OFlags::NOFOLLOW)?;
        Ok(())
    }
}

impl Sink for EventFile {
    fn write(&mut self, items: &[Arc<Item>]) -> Result<Taken, Later> {
        self.follow_path().map_err(|error| error.to_string())?;
        for (taken, item) in items.iter().enumerate() {
            self.write_line(item).map_err(|error| Later {
                taken,
                error: error.to_string(),
            })?;
        }
        Ok(Taken::default())
    }

    fn close(&mut self) -> Result<(), String> {
        self.file.sync_data().map_err(|error| error.to_string())
    }
}

fn line(item: &Item) -> io::Result<String> {
    Ok(match item {
        Item::Finding(finding) => json::finding(finding)?,
        Item::Summary(summary) => json::summary(summary)?,
    })
}

/// Opens a regular file to append to, and gives its size. For nobody else's eyes: with --reveal there are identities in it. A link is
/// followed for who names it on the command line, and not later: somebody else may have put it there.
fn open(path: &Path, more: OFlags) -> io::Result<(File, u64)> {
    let mut file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        // Opening a pipe that nobody reads would wait for ever.
        .custom_flags((OFlags::NONBLOCK | more).bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("another bleedtrace writes to it"))?;
    let mut size = file.seek(SeekFrom::End(0))?;
    // What was cut off when an earlier run was killed is not to run into our first line.
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

fn missing_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{correlate::finding::Kind, report::samples};

    fn item(service: &str) -> Arc<Item> {
        let mut finding = samples::export(&samples::finding(Kind::Bleed), false);
        finding.service = service.to_owned();
        Arc::new(Item::Finding(Box::new(finding)))
    }

    fn rotation(folder: &Path, most_bytes: u64, keep: u32) -> Rotation {
        Rotation {
            path: folder.join("events"),
            most_bytes,
            keep,
        }
    }

    /// The services of the findings in a file; nothing if it is not there.
    fn services(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let service = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["service"].as_str().unwrap().to_owned()
        };
        text.lines().map(service).collect()
    }

    #[test]
    fn files_are_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let size = line(&item("0")).unwrap().len() as u64 + 1;
        let mut file = EventFile::open(rotation(folder.path(), 2 * size, 2)).unwrap();
        let items: Vec<_> = (0..9).map(|number| item(&number.to_string())).collect();
        file.write(&items[..3]).unwrap();
        file.write(&items[3..]).unwrap();
        file.close().unwrap();
        let of = |name: &str| services(&folder.path().join(name));
        assert_eq!(of("events"), ["8"]);
        assert_eq!(of("events.1"), ["6", "7"]);
        assert_eq!(of("events.2"), ["4", "5"]);
        assert!(!folder.path().join("events.3").exists());
        let mode = fs::metadata(folder.path().join("events"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn without_files_aside_it_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let size = line(&item("0")).unwrap().len() as u64 + 1;
        let mut file = EventFile::open(rotation(folder.path(), size, 0)).unwrap();
        file.write(&[item("0"), item("1")]).unwrap();
        assert_eq!(services(&folder.path().join("events")), ["1"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_goes_on_where_an_earlier_run_ended() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = rotation(folder.path(), 1 << 20, 1);
        EventFile::open(rotation.clone())
            .unwrap()
            .write(&[item("0")])
            .unwrap();
        let mut torn = File::options().append(true).open(&rotation.path).unwrap();
        torn.write_all(b"{\"type\":\"fin").unwrap();
        EventFile::open(rotation.clone())
            .unwrap()
            .write(&[item("1")])
            .unwrap();
        let text = fs::read_to_string(&rotation.path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[1]), (3, "{\"type\":\"fin"));
        assert!(lines[2].contains("\"service\":\"1\""));
    }

    #[test]
    fn a_file_that_was_put_aside_by_others_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = rotation(folder.path(), 1 << 20, 1);
        let mut file = EventFile::open(rotation.clone()).unwrap();
        file.write(&[item("0")]).unwrap();
        let aside = folder.path().join("aside");
        fs::rename(&rotation.path, &aside).unwrap();
        file.write(&[item("1")]).unwrap();
        assert_eq!(
            (services(&aside), services(&rotation.path)),
            (vec!["0".into()], vec!["1".into()])
        );
    }

    #[test]
    fn what_was_written_before_an_error_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let size = line(&item("0")).unwrap().len() as u64 + 1;
        let rotation = rotation(folder.path(), 2 * size, 1);
        let mut file = EventFile::open(rotation.clone()).unwrap();
        // A folder that is not empty cannot be replaced by a file.
        let aside = folder.path().join("events.1");
        fs::create_dir_all(aside.join("in the way")).unwrap();
        let items = [item("0"), item("1"), item("2")];
        assert_eq!(file.write(&items).unwrap_err().taken, 2);
        assert_eq!(file.write(&items[2..]).unwrap_err().taken, 0);
        assert_eq!(services(&rotation.path), ["0", "1"]);
        fs::remove_dir_all(&aside).unwrap();
        file.write(&items[2..]).unwrap();
        assert_eq!(
            (services(&aside), services(&rotation.path)),
            (vec!["0".into(), "1".into()], vec!["2".into()])
        );
        file.write(&[item("3")]).unwrap();
        assert_eq!(services(&rotation.path), ["2", "3"]);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("events");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let error = EventFile::open(rotation(folder.path(), 1 << 20, 1)).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
        assert!(EventFile::open(rotation(&folder.path().join("none"), 1 << 20, 1)).is_err());
    }
}
