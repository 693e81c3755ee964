//! What types cannot say of a dump's params.
//!
//! Takes [`RedisDumpParams`]. Always holds: what the way of reading that is asked for would pass over in silence is refused.

use aquifer_engine::function::ParamError;

use super::{Order, RedisDumpParams, SourceKind, ValueForm};
use crate::redis::wire::address::Found;

/// Checks the params when the plan is made.
///
/// # Errors
/// The param that is wrong.
pub(super) fn check(params: &RedisDumpParams) -> Result<(), ParamError> {
    let target = params.server().target()?;
    shards(params, &target.address.found)?;
    params.filter.filter("filter")?;
    if params.hints && params.form == ValueForm::Logical {
        return Err(ParamError::new("hints", "plain commands have no place for them").with_help("say `form: native`"));
    }
    if params.databases.as_ref().is_some_and(Vec::is_empty) {
        return Err(ParamError::new("databases", "the list is empty").with_help("leave it out to read all of them"));
    }
    params.fits_source(&target.address.found)
}

fn shards(params: &RedisDumpParams, found: &Found) -> Result<(), ParamError> {
    for (name, number) in [("shard", params.shard), ("shards", params.shards)] {
        if number.is_some() && matches!(found, Found::Sentinels(_)) {
            return Err(ParamError::new(name, "what sentinels watch has no shards"));
        }
        if number == Some(0) {
            return Err(ParamError::new(name, "the first shard is 1"));
        }
    }
    match (params.shard, params.shards) {
        (None, _) | (_, None) if params.joined => {
            Err(ParamError::new("joined", "it is for the stream of one shard of a number that is known")
                .with_help("say `shard` and `shards` beside it, or leave it out"))
        }
        (Some(shard), Some(shards)) if shard > shards => {
            Err(ParamError::new("shard", format!("there is no shard {shard} where there are {shards}"))
                .with_help("`shards` is how many the whole cluster has"))
        }
        _ => Ok(()),
    }
}

impl RedisDumpParams {
    /// Refuses what the way of reading that is asked for would pass over in silence.
    fn fits_source(&self, found: &Found) -> Result<(), ParamError> {
        let cluster = self.shard.is_some() || self.shards.is_some() || *found == Found::Cluster;
        let scans = self.source == SourceKind::Scan || self.order == Order::Name || cluster;
        let (param, message, help) = match self.source {
            _ if scans && self.server_disk => (
                "serverDisk",
                "a scan sends nothing over the server's disk",
                "leave it out, or let a single server be read by `source: replication`",
            ),
            SourceKind::Replication if cluster => ("source", "a cluster is read by scan only", "leave `source` out"),
            SourceKind::Replication if scans => (
                "order",
                "keys are brought into the order of their names by scan only",
                "leave `order` or `source` out",
            ),
            SourceKind::Replication if self.impact.is_some() => {
                ("impact", "it is for a scan, and replication is asked for", "leave it out, or say `source: auto`")
            }
            _ => return Ok(()),
        };
        Err(ParamError::new(param, message).with_help(help))
    }
}
