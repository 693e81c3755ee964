//! `kube pause` and `kube resume`. Always holds: nothing of the spec but `paused` is written.

use std::time::{Duration, Instant};

use aquifer_operator::resources::backup::BackupConfiguration;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::connect::{Cluster, Problem, failed};
use crate::exit::Exit;
use crate::print;

/// How long the operator may take to look at it, and how often that is looked for.
const TAKEN_UP: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

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
    let patched = api.patch(name, &PatchParams::default(), &patch).await.map_err(|error| failed(&what, &error))?;
    if !is_taken_up(cluster, name, patched.metadata.generation).await {
        print::note("the operator has not looked at it yet: where it does not run, the schedule is as it was");
    }
    Ok(print::result(&format!("{what} is {is}; it was {was}")))
}

/// Whether the operator looks at this generation of one within a moment: until then, its schedule is as it was.
async fn is_taken_up(cluster: &Cluster, name: &str, generation: Option<i64>) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < TAKEN_UP {
        // Whoever may write it but not read it is told the same as where nobody looks.
        let Ok(one) = cluster.get::<BackupConfiguration>(name).await else { return false };
        if one.status.and_then(|status| status.observed_generation) >= generation {
            return true;
        }
        tokio::time::sleep(AGAIN).await;
    }
    false
}

fn word(paused: bool) -> &'static str {
    if paused { "paused" } else { "active" }
}
