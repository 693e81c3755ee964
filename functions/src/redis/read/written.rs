//! What a dump by scan has written, and what somebody should know of it.
//!
//! Takes counts and names from whoever reads. Gives their sums over the shards of a cluster, and warnings. Always holds: no more
//! than [`NAMED`] keys of a shard are kept for a warning.

use aquifer_engine::function::Call;
use bytes::Bytes;

use crate::redis::keys::tally::{PerType, thousands};
use crate::redis::read::big::GUARDED;
use crate::redis::wire::resp::show;

/// How many keys are named in a warning.
pub(super) const NAMED: usize = 10;

/// So many keys that have gone, and a tenth of all, are worth a warning.
const MANY: u64 = 100;

fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{} keys", thousands(count)) }
}

/// What was written so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) types: PerType,
    /// Keys with an expiry.
    pub(crate) expires: u64,
    /// Keys that were found, and had gone when they were to be read.
    pub(crate) vanished: u64,
    /// Keys that a restore keeps for itself, and that are left out.
    pub(crate) reserved: u64,
    /// Keys that the filter leaves out.
    pub(crate) left_out: u64,
    /// Pending entries of streams that no command can make again.
    pub(crate) lost_pending: u64,
    /// Keys that were read at one go, because they changed again and again while they were read in parts.
    pub(crate) at_once: Vec<Bytes>,
    /// Hashes, sets and sorted sets that may have parts of several moments, and the names of some.
    pub(crate) unsteady: u64,
    pub(crate) unsteady_keys: Vec<Bytes>,
    /// Why nobody could watch them, if that is so.
    pub(crate) unguarded: Option<String>,
}

impl Written {
    /// This and that.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        self.at_once.extend(other.at_once);
        self.unsteady_keys.extend(other.unsteady_keys);
        Self {
            types: self.types.plus(&other.types),
            expires: self.expires + other.expires,
            vanished: self.vanished + other.vanished,
            reserved: self.reserved + other.reserved,
            left_out: self.left_out + other.left_out,
            lost_pending: self.lost_pending + other.lost_pending,
            at_once: self.at_once,
            unsteady: self.unsteady + other.unsteady,
            unsteady_keys: self.unsteady_keys,
            unguarded: self.unguarded.or(other.unguarded),
        }
    }

    /// Says what somebody should know of what was written.
    pub(crate) fn say(&self, call: &Call) {
        let written = self;
        if written.reserved > 0 {
            call.warn(format!(
                "{} of the names that a restore keeps for itself are left out (`aquifer:restore:…`): a restore into this server is under way, or did not end; the next one removes what it left",
                keys(written.reserved)
            ));
        }
        let found = written.types.total() + written.vanished;
        if written.vanished >= MANY && written.vanished * 10 >= found {
            call.warn(format!(
                "{} of {} keys that were found had gone when they were to be read: they expired, or somebody removes keys by the thousand (`FLUSHALL`?)",
                thousands(written.vanished),
                thousands(found)
            ));
        }
        if written.lost_pending > 0 {
            call.warn(format!(
                "{} pending entries of big streams are left out: the entries themselves were deleted, and no command makes such a one again",
                written.lost_pending
            ));
        }
        let named = |keys: &[Bytes]| keys.iter().map(|key| show(key)).collect::<Vec<_>>().join(", ");
        if !written.at_once.is_empty() {
            call.warn(format!(
                "changed again and again while they were read in parts, so they were read at one go, for which the server answered nobody else: {}",
                named(&written.at_once)
            ));
        }
        if written.unsteady > 0 {
            let why = match &written.unguarded {
                Some(why) => format!("nobody could watch them, for {why}"),
                None => format!("they were written to in each of {} readings", GUARDED + 1),
            };
            let more = if written.unsteady > written.unsteady_keys.len() as u64 { ", …" } else { "" };
            call.warn(format!(
                "{} big hashes, sets or sorted sets may have parts of several moments: {why}; of one that was exchanged whole meanwhile, parts of both values: {}{more}",
                written.unsteady,
                named(&written.unsteady_keys)
            ));
        }
    }
}
