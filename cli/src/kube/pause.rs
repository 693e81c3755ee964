//! `kube pause` and `kube resume`. Always holds: nothing of the spec but `paused` is written.

use aquifer_operator::resources::backup::BackupConfiguration;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::connect::{Cluster, Problem, failed};
use crate::exit::Exit;
use crate::print;

/// Says what it was and what it is.
pub(super) async fn run(name: &str, paused: bool, cluster: &Cluster) -> Result<Exit, Problem> {
    let before: BackupConfiguration = cluster.get(name).await?;
    let what = cluster.name::<BackupConfiguration>(name);
    let (is, was) = (word(paused), word(before.spec.paused));
    if before.spec.paused == paused {
        return Ok(print::result(&format!("{what} was {was} already")));
    }
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    let api = cluster.api::<BackupConfiguration>();
    api.patch(name, &PatchParams::default(), &patch).await.map_err(|error| failed(&what, &error))?;
    Ok(print::result(&format!("{what} is {is}; it was {was}")))
}

fn word(paused: bool) -> &'static str {
    if paused { "paused" } else { "active" }
}
