//! The names of a session's steps, by which it is told of: in its document, in what a pod says at its end, and so in statuses and metrics.

/// All of them.
pub const ALL: [&str; 7] = [DUMP, PUSH, FORGET, CHECK, STATS, PULL, RESTORE];

/// A database is read.
pub const DUMP: &str = "dump";

/// What is read is stored: of a shard a part, and of parts the whole.
pub const PUSH: &str = "push";

/// Old snapshots are removed.
pub const FORGET: &str = "forget";

/// The repository is looked over.
pub const CHECK: &str = "check";

/// What the repository holds is counted.
pub const STATS: &str = "stats";

/// A snapshot is read.
pub const PULL: &str = "pull";

/// What is read is written into a database.
pub const RESTORE: &str = "restore";
