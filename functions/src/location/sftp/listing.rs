//! What a folder on an SFTP server holds.
//!
//! Always holds: links are followed, and what the server leaves out is asked for; nothing that is there is left out, whatever it is.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use openssh_sftp_client::metadata::MetaData;

use super::files::{SftpResult, is_missing};
use super::link::Link;

/// A folder to be listed.
pub(super) struct Folder {
    pub(super) name: String,
    /// Whether a link led there: from one that leads upwards, a listing would go on for ever.
    pub(super) linked: bool,
}

/// One of a folder's entries.
pub(super) struct Entry {
    pub(super) name: String,
    /// Whether it is a link; what is told then is what it leads to.
    pub(super) linked: bool,
    pub(super) about: MetaData,
}

/// Whether it is known what it is, and how large: servers may leave both out.
pub(super) fn is_told(found: &MetaData) -> bool {
    found.file_type().is_some_and(|kind| !kind.is_file() || found.len().is_some())
}

/// What a folder holds. What is removed meanwhile may be missing, and nothing else.
pub(super) async fn entries(link: &Link, folder: &Path) -> SftpResult<Vec<Entry>> {
    let mut fs = link.sftp.fs();
    let open = link.sftp.fs().open_dir(folder).await;
    if is_missing(&open) {
        return Ok(Vec::new());
    }
    let (mut all, mut entries) = (Vec::new(), open?.read_dir().boxed());
    while let Some(entry) = entries.try_next().await? {
        let name = entry.filename().to_string_lossy().into_owned();
        if matches!(name.as_str(), "." | "..") {
            continue;
        }
        let path = folder.join(entry.filename());
        let mut about = entry.metadata();
        if !is_told(&about) {
            let looked = fs.symlink_metadata(&path).await;
            if is_missing(&looked) {
                continue;
            }
            about = looked?;
        }
        let linked = about.file_type().is_some_and(|kind| kind.is_symlink());
        if linked {
            let target = fs.metadata(&path).await;
            if !is_missing(&target) {
                about = target?;
            } else if is_missing(&fs.symlink_metadata(&path).await) {
                continue;
            }
        }
        all.push(Entry { name, linked, about });
    }
    Ok(all)
}
