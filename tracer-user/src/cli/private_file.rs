//! Files that are not for everybody's eyes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{Gid, Uid, fchown};

use crate::target::user::Database;

/// Only its owner can read it.
const PRIVATE: u32 = 0o600;
/// Everybody can read it.
const SHARED: u32 = 0o644;

/// Creates a file that only its owner can read. What is there already, a link included, is left alone. Under sudo it belongs to who
/// called that.
pub fn create(path: &Path) -> io::Result<File> {
    create_with(path, PRIVATE)
}

/// The same; what is there already, a device for one, is opened with these options.
pub fn create_or_open(path: &Path, there: &OpenOptions) -> io::Result<File> {
    or_open(path, PRIVATE, there)
}

/// The same with a file that everybody may read.
pub fn create_or_open_shared(path: &Path, there: &OpenOptions) -> io::Result<File> {
    or_open(path, SHARED, there)
}

/// Replaces what a file holds; a device just takes it.
pub fn replace(mut file: File, text: &str) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
        file.rewind()?;
    }
    file.write_all(text.as_bytes())?;
    file.flush()
}

fn or_open(path: &Path, mode: u32, there: &OpenOptions) -> io::Result<File> {
    match create_with(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => there.open(path),
        created => created,
    }
}

fn create_with(path: &Path, mode: u32) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    if rustix::process::geteuid().is_root()
        && let Some(user) = Database::read().caller_of_sudo(|name| std::env::var(name).ok())
    {
        let given = fchown(
            &file,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        );
        if let Err(error) = given {
            // It was made just now: nobody else's is removed.
            let _ = fs::remove_file(path);
            return Err(error.into());
        }
    }
    Ok(file)
}
