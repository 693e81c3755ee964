//! The built-ins: a file each, and the rooms that several of them share.
//!
//! Takes nothing; gives the one list that the command, the checks and the reference pages are made from. Always holds:
//! the order of the list is the documentation's, and a function that is not in it does not exist.

use aquifer_engine::registry::Registry;

pub mod checksum;
pub mod compress;
pub mod decompress;
pub mod decrypt;
pub mod download;
pub mod encrypt;
pub mod exec;
pub mod file_read;
pub mod file_write;
pub mod http_request;
pub mod metrics_push;
pub mod rdb_read;
pub mod redis_diff;
pub mod redis_digest;
pub mod redis_dump;
pub mod redis_restore;
pub mod redis_verify;
pub mod restic_check;
pub mod restic_copy;
pub mod restic_forget;
pub mod restic_join;
pub mod restic_key;
pub mod restic_prune;
pub mod restic_pull;
pub mod restic_push;
pub mod restic_snapshots;
pub mod restic_stats;
pub mod restic_unlock;
pub mod restic_wipe;
pub mod tcp_connect;
pub mod throttle;
pub mod upload;

mod codec;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod location;
mod metrics;
mod objects;
mod rdb;
mod redis;
mod restic;
mod shared;
pub mod units;

pub use restic::lock_file::host_is_ours_alone;

/// Every built-in function, in the order of the documentation.
pub fn builtins() -> Registry {
    Registry::new()
        .with(redis_dump::RedisDump)
        .with(redis_restore::RedisRestore)
        .with(redis_digest::RedisDigest)
        .with(redis_verify::RedisVerify)
        .with(redis_diff::RedisDiff)
        .with(rdb_read::RdbRead)
        .with(restic_push::ResticPush)
        .with(restic_pull::ResticPull)
        .with(restic_join::ResticJoin)
        .with(restic_forget::ResticForget)
        .with(restic_prune::ResticPrune)
        .with(restic_check::ResticCheck)
        .with(restic_copy::ResticCopy)
        .with(restic_snapshots::ResticSnapshots)
        .with(restic_stats::ResticStats)
        .with(restic_key::ResticKey)
        .with(restic_unlock::ResticUnlock)
        .with(restic_wipe::ResticWipe)
        .with(upload::Upload)
        .with(download::Download)
        .with(file_read::FileRead)
        .with(file_write::FileWrite)
        .with(compress::Compress)
        .with(decompress::Decompress)
        .with(encrypt::Encrypt)
        .with(decrypt::Decrypt)
        .with(checksum::Checksum)
        .with(throttle::Throttle)
        .with(exec::Exec)
        .with(metrics_push::MetricsPush)
        .with(http_request::HttpRequest)
        .with(tcp_connect::TcpConnect)
}

/// A catalog of the built-in functions and the shipped documents.
pub fn catalog() -> aquifer_engine::catalog::Catalog {
    let mut catalog = aquifer_engine::catalog::Catalog::new(builtins());
    for (name, text) in shipped() {
        catalog.add_builtin(name, text);
    }
    catalog
}

/// The Task and Function documents shipped with the program: file name and text, in the order of the documentation.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &[
        ("redis-backup.yaml", include_str!("../../tasks/redis-backup.yaml")),
        ("redis-backup-two.yaml", include_str!("../../tasks/redis-backup-two.yaml")),
        ("redis-restore.yaml", include_str!("../../tasks/redis-restore.yaml")),
        ("redis-drill.yaml", include_str!("../../tasks/redis-drill.yaml")),
        ("redis-backup-object.yaml", include_str!("../../tasks/redis-backup-object.yaml")),
        ("redis-restore-object.yaml", include_str!("../../tasks/redis-restore-object.yaml")),
        ("redis-backup-file.yaml", include_str!("../../tasks/redis-backup-file.yaml")),
        ("redis-restore-file.yaml", include_str!("../../tasks/redis-restore-file.yaml")),
        ("repository.yaml", include_str!("../../tasks/repository.yaml")),
        ("redis-copy.yaml", include_str!("../../tasks/redis-copy.yaml")),
        ("redis-digest.yaml", include_str!("../../tasks/redis-digest.yaml")),
        ("redis-verify.yaml", include_str!("../../tasks/redis-verify.yaml")),
        ("redis-diff.yaml", include_str!("../../tasks/redis-diff.yaml")),
        ("postgres.yaml", include_str!("../../tasks/postgres.yaml")),
    ]
}
