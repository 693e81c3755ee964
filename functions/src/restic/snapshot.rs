//! The tree and the snapshot file that make stored chunks a backup: one file at the root, written as restic's `--stdin` does.
//!
//! Always holds: the file's size in the tree is the stream's length; the snapshot is written last, once everything that it names
//! is durable and indexed; the type of the stream goes with the file (extended attribute `user.mime_type`), so that whoever reads
//! it back knows what it is.

use aquifer_engine::failure::Failure;
use aquifer_engine::stream::StreamType;
use base64::Engine as _;
use rustic_core::Id;
use rustic_core::jiff::{Timestamp, Zoned};
use rustic_core::repofile::{BlobType, Metadata, Node, NodeType, SnapshotFile, SnapshotSummary, Tree};

use super::archive::Archived;
use super::index::Index;
use super::lock::Lock;
use super::open::Repo;
use super::pack::Packer;
use super::seal::id_of;
use super::unchanged::unchanged;
use super::verify::{VERIFIED_DATA, Verify, verify};

/// The extended attribute that holds the stream's type.
pub(crate) const TYPE_ATTRIBUTE: &str = "user.mime_type";

/// What a snapshot is called.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// The file's name at the root.
    pub(crate) filename: String,
    /// The host that the backup is of.
    pub(crate) host: String,
    /// Tags.
    pub(crate) tags: Vec<String>,
    /// What the stream is.
    pub(crate) stream: StreamType,
    /// When the dump began.
    pub(crate) time: Timestamp,
    /// A word on it, which restic passes over.
    pub(crate) description: Option<String>,
}

/// What was saved.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The snapshot's id.
    pub(crate) id: Id,
    /// How many bytes its tree added to the repository.
    pub(crate) stored: u64,
}

/// Makes a snapshot of an archived stream, once what was stored was read back as far as is wanted. For blocking threads.
///
/// # Errors
/// The tree, its index or the snapshot could not be stored; then there is no snapshot.
pub(crate) fn save(
    repo: &Repo,
    index: &Index,
    archived: &Archived,
    label: &Label,
    how: Verify,
    lock: Option<&Lock>,
) -> Result<Saved, Failure> {
    let (tree, stored) = save_tree(repo, index, archived, label)?;
    verify(repo, &tree, archived, how)?;
    let mut summary = SnapshotSummary::default();
    summary.files_new = 1;
    summary.total_files_processed = 1;
    summary.total_bytes_processed = archived.bytes;
    summary.data_blobs = archived.added.blobs;
    summary.tree_blobs = u64::from(stored > 0);
    summary.data_added = archived.new_bytes;
    summary.data_added_files = archived.new_bytes;
    summary.data_added_packed = archived.added.stored + stored;
    summary.data_added_files_packed = archived.added.stored;
    let now = Zoned::now();
    summary.backup_start = label.time.to_zoned(now.time_zone().clone());
    summary.backup_duration = (now.timestamp() - label.time).total(rustic_core::jiff::Unit::Second).unwrap_or_default();
    summary.total_duration = summary.backup_duration;
    summary.backup_end = now;

    let mut snapshot = SnapshotFile {
        time: summary.backup_start.clone(),
        program_version: concat!("aquifer ", env!("CARGO_PKG_VERSION")).to_owned(),
        tree: tree.into(),
        hostname: label.host.clone(),
        username: super::lock::username(),
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        summary: Some(summary),
        description: label.description.clone(),
        ..SnapshotFile::default()
    };
    snapshot.paths.add(format!("/{}", label.filename));
    let verified = (how == Verify::Data).then_some(VERIFIED_DATA);
    for tag in label.tags.iter().map(String::as_str).chain(verified) {
        snapshot.tags.add(tag.to_owned());
    }

    let json = serde_json::to_vec(&snapshot)
        .map_err(|error| Failure::internal(format!("the snapshot is no JSON: {error}")))?;
    let sealed = repo.sealer().seal_file(&json)?;
    // The last look before the one write that makes it a backup.
    if let Some(lock) = lock {
        repo.backend().wait(lock.look())?;
    }
    repo.trouble().check()?;
    repo.backend().check_ended()?;
    let id = repo.backend().runtime().block_on(repo.backend().save("snapshots", sealed))?;
    Ok(Saved { id, stored })
}

/// Stores the tree with the one file, unless the repository has the very same one.
fn save_tree(repo: &Repo, index: &Index, archived: &Archived, label: &Label) -> Result<(Id, u64), Failure> {
    let stream_type = serde_json::json!({
        "name": TYPE_ATTRIBUTE,
        "value": base64::engine::general_purpose::STANDARD.encode(label.stream.to_string()),
    });
    let no_json = |error| Failure::internal(format!("the tree is no JSON: {error}"));
    let meta = Metadata {
        mode: Some(0o600),
        mtime: Some(label.time),
        atime: Some(label.time),
        ctime: Some(label.time),
        uid: Some(nix::unistd::getuid().as_raw()),
        gid: Some(nix::unistd::getgid().as_raw()),
        size: archived.bytes,
        links: 1,
        extended_attributes: vec![serde_json::from_value(stream_type).map_err(no_json)?],
        ..Metadata::default()
    };
    let mut node = Node::new_node(label.filename.as_ref(), NodeType::File, meta);
    node.content = Some(archived.content.iter().map(|id| rustic_core::BlobId::from(*id).into()).collect());
    let tree = serde_json::to_string(&Tree { nodes: vec![node.clone()] }).map_err(no_json)?;
    let mut tree = as_restic_writes_times(tree).into_bytes();
    // As restic ends it.
    tree.push(b'\n');
    let id = id_of(&tree);
    if index.find(BlobType::Tree, &id).is_some() {
        return Ok((id, 0));
    }
    if archived.new_bytes == 0
        && let Some(id) = unchanged(repo, index, &node, &label.host)?
    {
        return Ok((id, 0));
    }
    let mut packer = Packer::new(repo, BlobType::Tree);
    packer.add(&repo.sealer().worker()?.seal(id, tree)?)?;
    Ok((id, packer.finish()?.stored))
}

/// Times in UTC as restic writes them: with `Z` and not with `+00:00`. Its `repair` takes a tree that it would write otherwise for
/// one that was damaged. In the name of a file a quote is never without its backslash, so nothing else is found.
fn as_restic_writes_times(mut tree: String) -> String {
    for field in ["\"mtime\":\"", "\"atime\":\"", "\"ctime\":\""] {
        let Some(from) = tree.find(field).map(|at| at + field.len()) else { continue };
        let Some(to) = tree[from..].find('"').map(|length| from + length) else { continue };
        if let Some(time) = tree[from..to].strip_suffix("+00:00") {
            let time = format!("{time}Z");
            tree.replace_range(from..to, &time);
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_by_restic() {
        let written = r#"{"name":"a\"mtime\":\"1+00:00","mtime":"2026-11-28T05:00:00.5+00:00","atime":"2026-11-28T05:00:00+01:00"}"#;
        let wanted =
            r#"{"name":"a\"mtime\":\"1+00:00","mtime":"2026-11-28T05:00:00.5Z","atime":"2026-11-28T05:00:00+01:00"}"#;
        assert_eq!(as_restic_writes_times(written.to_owned()), wanted);
    }
}
