//! `trigger`, `pause` and `resume`.

use std::os::unix::process::CommandExt;

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tokio::process::Command;

use super::super::operator::rig::*;
use super::super::rig::{aquifer, make};
use super::{furnish, said, verb};

#[tokio::test]
async fn a_backup_is_made_by_hand_and_waited_for() {
    const ROOM: &str = "trigger";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    furnish(&client, ROOM, &server, place.path()).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({}))).await;
    that(&client, ROOM, "backup", "is ready", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == Readiness::Ready).then_some(())
    })
    .await;

    let done = verb(rig, ROOM, &["trigger", "backup", "--wait"]).await;
    done.is(0, "phase     Succeeded\nsnapshot  ", "");
    let name = done.stdout.lines().next().expect("a line").strip_prefix("BackupSession trigger/").expect("its name");
    let session: BackupSession = Api::namespaced(client.clone(), ROOM).get(name).await.expect("the session");
    assert_eq!(session.status.as_ref().and_then(|status| status.phase), Some(BackupPhase::Succeeded));
    let snapshot = session.snapshots().next().expect("a snapshot");
    assert!(done.stdout.contains(&format!("snapshot  {snapshot}\nduration  ")), "{done:?}");

    // Without `--wait` it is made, and that is all.
    let made = verb(rig, ROOM, &["trigger", "backup"]).await;
    made.is(0, "BackupSession trigger/backup-", "");
    assert_eq!(made.stdout.lines().count(), 1, "{made:?}");
    let name = made.stdout.trim().strip_prefix("BackupSession trigger/").expect("its name");
    over(&client, ROOM, name).await;

    // One that fails is no success, and says why.
    let bindings: Api<AppBinding> = Api::namespaced(client.clone(), ROOM);
    bindings.delete("db", &DeleteParams::default()).await.expect("removed");
    that(&client, ROOM, "backup", "is not ready", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == Readiness::NotReady).then_some(())
    })
    .await;
    let failed = verb(rig, ROOM, &["trigger", "backup", "--wait"]).await;
    failed.is(1, "phase     Failed", "the AppBinding `trigger/db` is not there");
    assert!(failed.stderr.contains("kubectl describe backupsession backup-"), "{failed:?}");
}

#[tokio::test]
async fn what_is_paused_is_not_triggered_until_it_is_resumed() {
    const ROOM: &str = "pause";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({}))).await;
    let is_paused = async || {
        let api: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
        api.get("backup").await.expect("there").spec.paused
    };

    verb(rig, ROOM, &["pause", "backup"]).await.is(0, "`pause/backup` is paused; it was active", "");
    assert!(is_paused().await);
    verb(rig, ROOM, &["pause", "backup"]).await.is(0, "was paused already", "");
    let refused = verb(rig, ROOM, &["trigger", "backup"]).await;
    refused.is(1, "", "is paused: `aquifer kube resume backup -n pause`");

    // As kubectl's plugin.
    let mut plugin = std::process::Command::new(aquifer());
    plugin.arg0("kubectl-aquifer").args(["resume", "backup", "--namespace", ROOM]);
    said(rig.cluster.kubeconfig(), Command::from(plugin)).await.is(0, "is active; it was paused", "");
    assert!(!is_paused().await);
    verb(rig, ROOM, &["trigger", "backup"]).await.is(0, "BackupSession pause/backup-", "");
}

#[tokio::test]
async fn wrong_names_and_clusters_are_refused_with_a_next_step() {
    const ROOM: &str = "misnamed";
    let (rig, _, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    for verb_name in ["trigger", "pause", "resume"] {
        let refused = verb(rig, ROOM, &[verb_name, "none"]).await;
        refused.is(1, "", "the BackupConfiguration `misnamed/none` is not there: `kubectl get backupconfigurations");
        verb(rig, ROOM, &[verb_name, "../secrets/x"]).await.is(2, "", "a name in Kubernetes has");
        verb(rig, ROOM, &[verb_name]).await.is(2, "", "<NAME>");
    }
    let args = ["pause", "none", "--kubeconfig", "/there/is/none"];
    verb(rig, ROOM, &args).await.is(2, "", "/there/is/none");
    verb(rig, ROOM, &["pause", "none", "--context", "nowhere"]).await.is(2, "", "nowhere");
}
