//! `kube snapshots`: what a repository has, looked at from this machine.
//!
//! Always holds: nothing is written to the repository; its Secret is read, and never shown.

use aquifer_operator::resources::repository::Repository;
use aquifer_operator::session::Upkeep;
use serde_json::Value as Json;

use super::args::{Form, SnapshotsArgs};
use super::connect::{Cluster, Problem};
use super::reach::{done, within_reach};
use super::table::Table;
use crate::args::Args;
use crate::exit::Exit;
use crate::print;
use crate::print::Screen;
use crate::progress::words;

/// `aquifer kube snapshots`.
pub(super) async fn run(
    wanted: &SnapshotsArgs,
    cluster: &Cluster,
    args: &Args,
    screen: &Screen,
) -> Result<Exit, Problem> {
    let name = &wanted.name;
    let what = cluster.name::<Repository>(name);
    let manifests = within_reach(cluster, name).await?;
    let report = done(&manifests, cluster, name, Upkeep::Snapshots, args, screen).await?;
    let snapshots = report.output(Upkeep::Snapshots.step(), "snapshots").clone();
    if wanted.output == Form::Json {
        return Ok(print::result(&format!("{snapshots:#}")));
    }
    let text = text(&snapshots);
    if text.is_empty() {
        print::note(&format!("{what} has no snapshots"));
        return Ok(Exit::Success);
    }
    Ok(print::result(&text))
}

fn text(snapshots: &Json) -> String {
    let mut table = Table::new(&["ID", "TIME", "HOST", "SIZE", "PATHS", "TAGS"]);
    for one in snapshots.as_array().into_iter().flatten() {
        let word = |name: &str| one.get(name).and_then(Json::as_str).map(str::to_owned);
        let words_of = |name: &str| {
            let all = one.get(name).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
            Some(all.collect::<Vec<_>>().join(","))
        };
        let id = word("id").map(|id| id.chars().take(8).collect());
        let size = one.get("bytes").and_then(Json::as_u64).map(words::bytes);
        table.row(vec![id, word("time"), word("host"), size, words_of("paths"), words_of("tags")], Vec::new());
    }
    table.text()
}
