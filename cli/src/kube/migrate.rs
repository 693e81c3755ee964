//! `kube migrate check`: what stands in the way of who comes from Stash. Always holds: nothing is changed; the exit status says whether something would not work.

use aquifer_operator::migrate::check;

use super::args::CheckArgs;
use super::connect::{Cluster, Problem, failed};
use crate::exit::Exit;
use crate::print;

/// `aquifer kube migrate check`.
pub(super) async fn run(wanted: &CheckArgs, cluster: &Cluster) -> Result<Exit, Problem> {
    let namespace = (!wanted.all_namespaces).then_some(cluster.namespace.as_str());
    if namespace.is_some() {
        cluster.is_there().await?;
    }
    let found = check(&cluster.client, namespace).await.map_err(|error| failed("what Stash left", &error))?;
    let stops = found.iter().filter(|one| one.stops).count();
    let text: String = found
        .iter()
        .map(|one| {
            let line = format!("{}  {}; next: {}", if one.stops { "stops" } else { "note " }, one.what, one.next);
            line.replace(['\n', '\r'], " ") + "\n"
        })
        .collect();
    let told = if text.is_empty() { Exit::Success } else { print::result(&text) };
    let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("the namespace `{name}`"));
    print::note(&match stops {
        0 => format!("nothing in {place} stands in the way"),
        1 => format!("in {place}, 1 thing would not work, or could not be looked at"),
        _ => format!("in {place}, {stops} things would not work, or could not be looked at"),
    });
    Ok(if told == Exit::Success && stops > 0 { Exit::Failed } else { told })
}
