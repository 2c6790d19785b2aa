//! Which PID namespace the numbers in `/proc` belong to. The kernel side has to number processes the same way.

use std::{fs, io, os::unix::fs::MetadataExt as _};

/// Inode of the initial PID namespace: `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
const INITIAL: u64 = 0xefff_fffc;

/// Why the numbers cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `/proc` does not say.
    #[error("failed to read {path}: {error}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// `/proc` numbers processes otherwise than the kernel does for us.
    #[error("the procfs mounted at /proc belongs to another PID namespace than this process")]
    Foreign,
}

/// The inode of the PID namespace that `/proc` shows; none when that is the initial one.
pub fn shown() -> Result<Option<u32>, NamespaceError> {
    let unreadable = |path| move |error| NamespaceError::Unreadable { path, error };
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        // That of a namespace in which this process has no number.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NamespaceError::Foreign),
        Err(error) => return Err(unreadable("/proc/self/status")(error)),
    };
    if !is_own(&status, std::process::id()) {
        return Err(NamespaceError::Foreign);
    }
    let inode = fs::metadata("/proc/self/ns/pid")
        .map_err(unreadable("/proc/self/ns/pid"))?
        .ino();
    Ok((inode != INITIAL).then_some(inode as u32))
}

/// Whether this `status` numbers its process as that sees itself, and no namespace lies between.
fn is_own(status: &str, pid: u32) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.trim() == pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfs_of_another_namespace_is_told() {
        assert!(is_own("Name:\tx\nNSpid:\t12\n", 12));
        assert!(!is_own("NSpid:\t12\t1\n", 12));
        assert!(!is_own("NSpid:\t12\t1\n", 1));
        assert!(!is_own("Name:\tx\n", 12));
    }

    #[test]
    fn our_own_namespace_has_a_number() {
        let inode = fs::metadata("/proc/self/ns/pid").unwrap().ino();
        assert_eq!(shown().unwrap(), (inode != INITIAL).then_some(inode as u32));
    }
}
