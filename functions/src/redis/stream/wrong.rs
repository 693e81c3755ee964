//! What is wrong with a stream, and where.

use aquifer_engine::failure::Failure;

use crate::redis::keys::reserved;
use crate::redis::wire::resp::show;

/// The names that a restore needs for itself are no keys of a dump.
pub(crate) fn refuse_reserved(key: &[u8], offset: u64) -> Result<(), Failure> {
    if reserved::is_reserved(key) {
        return Err(wrong(offset, format_args!("the key {} has a name that is reserved for restores", show(key))));
    }
    Ok(())
}

pub(crate) fn wrong(offset: u64, what: impl std::fmt::Display) -> Failure {
    Failure::corrupt(format!("at byte {offset} of the stream: {what}"))
}

pub(crate) fn refused(offset: u64, name: &[u8]) -> Failure {
    wrong(
        offset,
        format_args!("the command {} is none that a dump holds in this form, and is not carried out", show(name)),
    )
    .with_help("only commands that write keys and functions are restored; `redis-cli --pipe` carries out anything")
}
