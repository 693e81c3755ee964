//! `kube trigger`: a BackupSession by hand. Always holds: with `--wait`, success is a backup that is there.

use std::time::Duration;

use aquifer_operator::cluster::new_session;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use kube::ResourceExt;
use kube::api::PostParams;

use super::args::TriggerArgs;
use super::connect::{Cluster, Problem, failed};
use super::wait::{Far, until_over};
use crate::exit::Exit;
use crate::print;

/// How often a name is tried that is taken: it is made of the second.
const TRIES: u32 = 3;

/// `aquifer kube trigger`.
pub(super) async fn run(wanted: &TriggerArgs, cluster: &Cluster) -> Result<Exit, Problem> {
    let name = &wanted.one.name;
    let configuration: BackupConfiguration = cluster.get(name).await?;
    if configuration.spec.paused {
        let what = cluster.name::<BackupConfiguration>(name);
        return Err(Problem::Failed(format!(
            "{what} is paused: `aquifer kube resume {name} -n {}` lets it make backups again",
            cluster.namespace
        )));
    }
    let status = configuration.status.clone().unwrap_or_default();
    if status.phase == Some(Readiness::Invalid) && status.observed_generation == configuration.metadata.generation {
        let what = cluster.name::<BackupConfiguration>(name);
        return Err(Problem::Failed(format!(
            "{what} is not valid: `aquifer kube status {name} -n {}` says why",
            cluster.namespace
        )));
    }
    let session = make(&configuration, cluster).await?;
    let told = print::result(&format!("BackupSession {}/{session}", cluster.namespace));
    if !wanted.wait || told != Exit::Success {
        return Ok(told);
    }
    let one = until_over(cluster, &session, far).await?;
    tell(&one, cluster)
}

async fn make(of: &BackupConfiguration, cluster: &Cluster) -> Result<String, Problem> {
    let mut tries = 1;
    loop {
        let session = new_session(of, None, 0);
        match cluster.api::<BackupSession>().create(&PostParams::default(), &session).await {
            Ok(made) => return Ok(made.name_any()),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(failed(&cluster.name::<BackupSession>(&session.name_any()), &error)),
        }
    }
}

fn far(one: &BackupSession) -> Far<BackupSession> {
    match one.status.as_ref().and_then(|status| status.phase) {
        None => Far::New,
        Some(BackupPhase::Pending) => Far::Waits(one.why().unwrap_or_else(|| "no reason was given".to_owned())),
        Some(BackupPhase::Running) => Far::Runs,
        Some(_) => Far::Over(one.clone()),
    }
}

/// Says what became of it.
fn tell(one: &BackupSession, cluster: &Cluster) -> Result<Exit, Problem> {
    let status = one.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or(BackupPhase::Unknown);
    let mut text = format!("phase     {phase:?}\n");
    for snapshot in one.snapshots() {
        text.push_str(&format!("snapshot  {snapshot}\n"));
    }
    if let Some(duration) = &status.session_duration {
        text.push_str(&format!("duration  {duration}\n"));
    }
    let told = print::result(&text);
    if phase == BackupPhase::Succeeded {
        return Ok(told);
    }
    let what = cluster.name::<BackupSession>(&one.name_any());
    let why = one.why().unwrap_or_else(|| "no reason was given".to_owned());
    let namespace = &cluster.namespace;
    Err(Problem::Failed(format!(
        "{what} is {phase:?}: {why}: `kubectl describe backupsession {} -n {namespace}` tells more",
        one.name_any()
    )))
}
