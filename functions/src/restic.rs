//! The room of the restic functions: repositories in restic's format (version 2, and 1 where it is there already), by
//! `rustic_core` where it serves, and our own writing and reading of streams where it does not.
//!
//! In the order of the data: `open` (a location and a password to a repository), `lock` (restic's own locks), `index` (which
//! blobs there are), `chunk` → `seal` → `pack` → `archive` (a stream to packs), `snapshot` (the one small file that makes them
//! a backup, written last), `fetch` (a snapshot back to a stream), `keep` and `retention` (what is kept), `prune` (the removal of what
//! nobody needs), `copy` (snapshots to another repository), `join` (several as one), `part` and `examine` (packs read and held against the index), `measure`
//! (how much there is), `keys` (who can open it), `clear` (locks and whole repositories removed). Always holds: nothing is written
//! that looks like a backup before the stream was finished (docs/decisions/0008-own-archiver.md); where restic works alone, we
//! wait; the first failure of the store is the one that is told.

pub(crate) mod archive;
pub(crate) mod backend;
pub(crate) mod blobs;
pub(crate) mod chunk;
pub(crate) mod cipher;
pub(crate) mod clear;
pub(crate) mod copy;
pub(crate) mod examine;
pub(crate) mod fetch;
mod filling;
pub(crate) mod index;
pub(crate) mod index_file;
pub(crate) mod join;
pub(crate) mod keep;
pub(crate) mod keys;
pub(crate) mod lock;
pub(crate) mod lock_file;
pub(crate) mod measure;
pub(crate) mod open;
pub(crate) mod pack;
pub(crate) mod part;
pub(crate) mod polynomial;
pub(crate) mod prune;
mod rabin;
pub(crate) mod retention;
pub(crate) mod seal;
pub(crate) mod select;
mod sequence;
pub(crate) mod snapshot;
pub(crate) mod span;
pub(crate) mod structure;
pub(crate) mod trouble;
mod unchanged;
mod unlock;
pub(crate) mod used;
pub(crate) mod verify;
