//! `kube unlock`: locks of a repository that nobody holds any more, removed from this machine.
//!
//! Always holds: unless all are meant, a lock stays that somebody may hold, and is told of.

use aquifer_operator::session::Upkeep;
use serde_json::Value as Json;

use super::args::UnlockArgs;
use super::connect::{Cluster, Problem};
use super::reach::{done, within_reach};
use crate::args::Args;
use crate::exit::Exit;
use crate::print;
use crate::print::Screen;

/// `aquifer kube unlock`.
pub(super) async fn run(wanted: &UnlockArgs, cluster: &Cluster, args: &Args, screen: &Screen) -> Result<Exit, Problem> {
    let what = Upkeep::Unlock { all: wanted.all };
    let manifests = within_reach(cluster, &wanted.name).await?;
    let report = done(&manifests, cluster, &wanted.name, what, args, screen).await?;
    let removed = report.output(what.step(), "removed").as_u64().unwrap_or_default();
    let kept = report.output(what.step(), "kept").as_array().cloned().unwrap_or_default();
    for owner in kept.iter().filter_map(Json::as_str) {
        print::note(&format!("kept, since somebody may hold it: {owner}"));
    }
    Ok(print::result(&format!("{removed} locks were removed, {} stay", kept.len())))
}
