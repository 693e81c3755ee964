//! A small file system in memory, which fills up soon.
//!
//! Takes a folder. Always holds: it is gone with the value. Mounting takes root's rights; what is wrong with the rig panics.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Of so many mebibytes.
    ///
    /// # Panics
    /// This is not root.
    pub fn small(at: &Path, mebibytes: u32) -> Self {
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(at)
            .output()
            .expect("mount is there");
        assert!(done.status.success(), "this test runs as root: {}", String::from_utf8_lossy(&done.stderr));
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
