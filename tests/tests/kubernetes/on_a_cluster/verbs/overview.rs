//! `status`: what is well, what is not, and why.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::{ConditionStatus, Readiness};
use aquifer_operator::resources::repository::Repository;
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::operator::rig::*;
use super::super::rig::make;
use super::{furnish, verb};

#[tokio::test]
async fn what_is_not_well_is_said_with_its_reason() {
    const ROOM: &str = "overview";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let nothing = verb(rig, ROOM, &["status"]).await;
    nothing.is(0, "", "no BackupConfiguration, Repository or RestoreSession is in the namespace `overview`");
    let (server, place) = (server(), folder());
    let more = json!({"schedule": "0 3 1 1 *"});
    make::<BackupConfiguration>(&client, ROOM, configuration(more)).await;
    is(&client, ROOM, Readiness::NotReady).await;
    let missing = verb(rig, ROOM, &["status"]).await;
    missing.is(1, "overview/backup", "");
    missing.is(1, "    BackupTargetFound is False: the AppBinding `overview/db` is not there\n", "");

    furnish(&client, ROOM, &server, place.path()).await;
    is(&client, ROOM, Readiness::Ready).await;
    that(&client, ROOM, "repo", "is ready", |one: &Repository| {
        (one.status.as_ref()?.phase? == Readiness::Ready).then_some(())
    })
    .await;
    verb(rig, ROOM, &["trigger", "backup", "--wait"]).await.is(0, "Succeeded", "");
    let slot = json!({"status": {"lastScheduleTime": "2025-01-01T03:00:00Z"}});
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), ROOM);
    cron_jobs
        .patch_status("stash-trigger-backup", &PatchParams::default(), &Patch::Merge(slot))
        .await
        .expect("patched");
    let well = verb(rig, ROOM, &["status"]).await;
    well.is(0, "BACKUPCONFIGURATION  PHASE", "");
    well.is(0, "0 3 1 1 *  Succeeded 2", "");
    let all = verb(rig, ROOM, &["status", "-o", "json"]).await;
    all.is(0, "", "");
    let all: Value = serde_json::from_str(&all.stdout).expect("JSON");
    let (backup, repository) = (&all[0], &all[1]);
    assert_eq!((&backup["phase"], &backup["well"]), (&json!("Ready"), &json!(true)), "{all:#}");
    assert_eq!(backup["lastSession"]["phase"], "Succeeded", "{all:#}");
    assert_eq!(backup["lastSlot"], "2025-01-01T03:00:00Z", "{all:#}");
    assert!(backup["lastSuccess"].is_string(), "{all:#}");
    assert_eq!((&repository["snapshots"], &repository["integrity"]), (&json!(1), &json!(true)), "{all:#}");

    // A backup that failed is not well, whatever its configuration is when somebody looks.
    let bindings: Api<AppBinding> = Api::namespaced(client.clone(), ROOM);
    bindings.delete("db", &DeleteParams::default()).await.expect("removed");
    is(&client, ROOM, Readiness::NotReady).await;
    verb(rig, ROOM, &["trigger", "backup", "--wait"]).await.is(1, "Failed", "");
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    is(&client, ROOM, Readiness::Ready).await;
    let failed = verb(rig, ROOM, &["status", "backup"]).await;
    failed.is(1, "    its last backup failed: the AppBinding `overview/db` is not there\n", "");
    assert!(!failed.stdout.contains("REPOSITORY"), "{failed:?}");
    // One that was skipped since says nothing of that.
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"paused": true}})).await;
    make::<BackupSession>(&client, ROOM, session("skipped")).await;
    assert_eq!(over(&client, ROOM, "skipped").await.status.expect("a status").phase, Some(BackupPhase::Skipped));
    let skipped = verb(rig, ROOM, &["status", "backup"]).await;
    skipped.is(1, "    its last backup failed: the AppBinding `overview/db` is not there\n", "");
    skipped.is(1, "Skipped 2", "");
    verb(rig, ROOM, &["status", "repo"]).await.is(0, "overview/repo", "");

    // Another one whose snapshots look the same. It is backed up all the same.
    let mut twin = configuration(json!({}));
    twin["metadata"]["name"] = json!("twin");
    make::<BackupConfiguration>(&client, ROOM, twin).await;
    are_apart(&client, ROOM, ConditionStatus::False).await;
    for (one, other) in [("backup", "twin"), ("twin", "backup")] {
        let said = format!("    the BackupConfiguration `overview/{other}` keeps its snapshots in the same place");
        verb(rig, ROOM, &["status", one]).await.is(1, &said, "");
    }
    is(&client, ROOM, Readiness::Ready).await;
    patch::<BackupConfiguration>(&client, ROOM, "twin", json!({"spec": {"target": {"alias": "twin"}}})).await;
    are_apart(&client, ROOM, ConditionStatus::True).await;

    // A database whose blueprint is not there has no backup, and nothing else would say so.
    let mut lost = binding(&server);
    lost["metadata"] = json!({"name": "lost", "annotations": {"stash.appscode.com/backup-blueprint": "of-nobody"}});
    lost["spec"]["type"] = json!("redis\u{1b}[2J");
    make::<AppBinding>(&client, ROOM, lost).await;
    let lost = verb(rig, ROOM, &["status", "lost"]).await;
    lost.is(
        1,
        "overview/lost  of-nobody\n    it has no backup: the BackupBlueprint `of-nobody` that it names is not there\n",
        "",
    );
    let told = page(ports().operator).await;
    assert!(
        told.contains(r#"aquifer_appbinding_without_backup{namespace="overview",name="lost",blueprint="of-nobody"} 1"#),
        "{told}"
    );
    // One that was made again under the name of another has none of its successes.
    let configurations: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
    configurations.delete("twin", &DeleteParams::default()).await.expect("removed");
    configurations.delete("backup", &DeleteParams::default()).await.expect("removed");
    let mut fresh = configuration(json!({}));
    fresh["metadata"]["name"] = json!("fresh");
    make::<BackupConfiguration>(&client, ROOM, fresh).await;
    that(&client, ROOM, "fresh", "is ready", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == Readiness::Ready).then_some(())
    })
    .await;
    let fresh = verb(rig, ROOM, &["status", "fresh", "-o", "json"]).await;
    let fresh: Value = serde_json::from_str(&fresh.stdout).expect("JSON");
    assert_eq!(fresh[0]["lastSuccess"], Value::Null, "{fresh:#}");

    // Wrong uses.
    for what in [&["status"][..], &["migrate", "check"]] {
        verb(rig, "overveiw", what).await.is(1, "", "the namespace `overveiw` is not there");
    }
    verb(rig, ROOM, &["status", "none"]).await.is(1, "", "no BackupConfiguration, Repository or RestoreSession `none`");
    verb(rig, ROOM, &["status", "--all-namespaces"]).await.is(2, "", "cannot be used with");
    verb(rig, ROOM, &["status", "-o", "yaml"]).await.is(2, "", "possible values: text, json");
}

/// Waits until both say so.
async fn are_apart(client: &kube::Client, room: &str, wanted: ConditionStatus) {
    for name in ["backup", "twin"] {
        that(client, room, name, &format!("has snapshots of its own: {wanted:?}"), |one: &BackupConfiguration| {
            let status = one.status.as_ref()?;
            let is = status.conditions.iter().find(|is| is.r#type == "SnapshotsToldApart")?;
            (is.status == wanted).then_some(())
        })
        .await;
    }
}

pub(super) async fn is(client: &kube::Client, room: &str, wanted: Readiness) {
    that(client, room, "backup", &format!("is {wanted:?}"), |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == wanted).then_some(())
    })
    .await;
}
