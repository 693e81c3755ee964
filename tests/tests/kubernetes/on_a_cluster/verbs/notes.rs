//! What is odd about a manifest, or only tried, and stops nothing: it is noted where people look.

use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::{ConditionStatus, Readiness};
use aquifer_operator::resources::repository::Repository;
use serde_json::{Value, json};

use super::super::definitions::{store_unreadable, unreadable};
use super::super::operator::rig::*;
use super::super::rig::make;
use super::overview::is;
use super::{furnish, verb};

#[tokio::test]
async fn what_is_odd_is_noted_and_is_well_all_the_same() {
    const ROOM: &str = "notes";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    furnish(&client, ROOM, &server, place.path()).await;
    let mut odd = configuration(json!({"task": {"name": "", "params": [{"name": "arg", "value": "-db 1"}]}}));
    odd["spec"]["retentionPolicy"] = json!({"name": "none", "prune": true});
    odd["spec"]["target"]["ref"]["apiVersion"] = json!("v1");
    make::<BackupConfiguration>(&client, ROOM, odd).await;
    is(&client, ROOM, Readiness::Ready).await;
    let told = verb(rig, ROOM, &["status", "backup"]).await;
    for note in ["`prune` and no rule with a number", "`v1`: an AppBinding is of", "did you mean `args`?"] {
        told.is(0, note, "");
    }
    told.is(0, "    note: ", "");
    let told = verb(rig, ROOM, &["status", "backup", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert!(told[0]["notes"].as_array().is_some_and(|notes| notes.len() == 3), "{told:#}");
    verb(rig, ROOM, &["migrate", "check"]).await.is(0, "the task's param `arg` is read by nobody", "");

    // A retention that only looks removes nothing, and does not say that it was applied.
    let plain = json!({"spec": {
        "task": {"params": null}, "retentionPolicy": {"keepLast": 1, "dryRun": true},
        "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1"}},
    }});
    patch::<BackupConfiguration>(&client, ROOM, "backup", plain).await;
    that(&client, ROOM, "backup", "is plain", |one: &BackupConfiguration| {
        let conditions = &one.status.as_ref()?.conditions;
        conditions.iter().any(|one| one.message.as_deref() == Some("it can be run")).then_some(())
    })
    .await;
    let plain = verb(rig, ROOM, &["status", "backup"]).await;
    assert!(plain.status == Some(0) && !plain.stdout.contains("note: "), "{plain:?}");
    for name in ["first", "second"] {
        make::<BackupSession>(&client, ROOM, session(name)).await;
        let status = over(&client, ROOM, name).await.status.expect("a status");
        assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
        let applied = status.conditions.iter().find(|one| one.r#type == "RetentionPolicyApplied").expect("it is told");
        assert_eq!((applied.status, applied.reason.as_deref()), (ConditionStatus::Unknown, Some("DryRun")));
    }
    that(&client, ROOM, "repo", "has both", |one: &Repository| {
        (one.status.as_ref()?.snapshot_count? == 2).then_some(())
    })
    .await;

    // What nobody can read is not as well as it was.
    let odd = unreadable().to_string();
    let patch = ["patch", "-n", ROOM, "backupconfiguration", "backup", "--type=merge", "-p", &odd];
    store_unreadable(rig, &patch, "").await;
    let told = verb(rig, ROOM, &["status", "backup"]).await;
    told.is(1, "notes/backup", "");
    told.is(1, "it cannot be read, so the operator does nothing for it", "");
}
