//! What of an RDB is not in the stream that was made of it, said as warnings.

use aquifer_engine::function::Call;

use crate::rdb::copy::Copied;
use crate::rdb::reader::PassedOver;
use crate::redis::keys::tally::so_many_keys;

/// Says what of an RDB is not in the stream.
pub(crate) fn say(copied: &Copied, passed_over: PassedOver, call: &Call) {
    if copied.reserved > 0 {
        call.warn("the temporary key of a restore is left out (`aquifer:restore:…`): a restore into this server was under way, or did not end");
    }
    if copied.empty > 0 {
        call.warn(format!("{} without elements left out, as a server leaves them out", so_many_keys(copied.empty)));
    }
    if copied.lost_pending > 0 {
        call.warn(format!(
            "{} pending entries of streams cannot be made again by commands, because their entries were deleted",
            copied.lost_pending
        ));
    }
    if copied.pending_unknown > 0 {
        call.warn(format!(
            "of {} pending entries of very long streams it was not looked up whether their entries are still there; those whose are not cannot be made again",
            copied.pending_unknown
        ));
    }
    let modules = passed_over.module_aux + passed_over.key_meta;
    if modules > 0 {
        call.warn(format!("what modules keep beside the values of keys is left out, {modules} times"));
    }
    if passed_over.slot_imports > 0 {
        call.warn("an import of slots from another server was under way: some of the keys may not be complete");
    }
}
