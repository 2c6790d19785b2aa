//! Files that are not for everybody's eyes.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{Gid, Uid, fchown};

use crate::target::user::Database;

/// Creates a file that only its owner can read. What is there already, a link included, is left alone. Under sudo it belongs to who
/// called that.
pub fn create(path: &Path) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
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
