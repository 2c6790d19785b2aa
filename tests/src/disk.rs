//! A small disk.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A disk of some pages, which is taken away with the test.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of this size, like `8k`. None where that cannot be done.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size},mode=755"))
            .arg("none")
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
