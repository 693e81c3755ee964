//! A Repository of a cluster, reached from this machine.
//!
//! Always holds: its Secret is read, and never shown; what lies in a volume of the cluster is refused.

use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use aquifer_engine::run::RunOptions;
use aquifer_operator::manifests::Manifests;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::session::{self, Setting, TASK, Upkeep};
use k8s_openapi::api::core::v1::Secret;

use super::connect::{Cluster, Problem};
use crate::args::{Args, Progress};
use crate::print::Screen;
use crate::progress;
use crate::{inputs, print, summary};

/// A Repository of the cluster with its Secret, where its store can be asked from this machine.
pub(super) async fn within_reach(cluster: &Cluster, name: &str) -> Result<Manifests, Problem> {
    let (what, namespace) = (cluster.name::<Repository>(name), &cluster.namespace);
    let repository: Repository = cluster.get(name).await?;
    if repository.spec.backend.local.is_some() {
        return Err(Problem::Failed(format!(
            "{what} lies in a volume of the cluster, which is not on this machine: `aquifer kube status {name} -n {namespace}` tells how many snapshots it has"
        )));
    }
    let key = |name: &str| (namespace.clone(), name.to_owned());
    let mut manifests = Manifests::default();
    if let Some(secret) = &repository.spec.backend.storage_secret_name {
        manifests.secrets.insert(key(secret), cluster.get::<Secret>(secret).await?);
    }
    manifests.repositories.insert(key(name), repository);
    Ok(manifests)
}

/// Lets the engine do something with a repository.
pub(super) async fn done(
    manifests: &Manifests,
    cluster: &Cluster,
    name: &str,
    what: Upkeep,
    args: &Args,
    screen: &Screen,
) -> Result<Report, Problem> {
    // Certificates of servers.
    let place = |error: std::io::Error| Problem::Failed(format!("no folder for certificates can be made: {error}"));
    let folder = tempfile::tempdir().map_err(place)?;
    let session = session::upkeep(manifests, &cluster.namespace, name, what, Setting::Machine(folder.path()))
        .map_err(|problems| Problem::Failed(format!("{}: mend it in the cluster", problems.join("; "))))?;
    session.write_files(folder.path()).map_err(place)?;
    let mut catalog = inputs::builtin_catalog();
    catalog.add_text("the session", &session.text());
    let plan = catalog.plan(TASK, &session.inputs()).map_err(|problems| {
        print::problems(&problems, args.color, "; nothing was run");
        Problem::Failed(format!("{} cannot be reached: see above", cluster.name::<Repository>(name)))
    })?;
    let (events, _quiet) = progress::sink(Progress::None, args.color, screen);
    let report = aquifer_engine::run::run(plan, RunOptions { events, ..RunOptions::default() }).await;
    if report.status == Status::Succeeded {
        return Ok(report);
    }
    let why = summary::failed(&report).unwrap_or_else(|| "the run was stopped".to_owned());
    Err(Problem::Failed(format!("{}: {why}", cluster.name::<Repository>(name))))
}
