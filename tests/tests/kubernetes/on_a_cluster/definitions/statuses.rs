//! Statuses: whoever writes one writes nothing else, none of it is lost, and `kubectl get` shows it.

use std::fmt::Debug;

use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::BackupSession;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::RestoreSession;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::rig::make;
use super::{defined, kubectl, missing};

const ROOM: &str = "statuses";

/// Makes a resource, and writes its status, together with a label and a spec that are not taken.
async fn with_status<K>(client: &Client, spec: Value, status: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let made: K = make(client, ROOM, json!({"metadata": {"name": "one"}, "spec": spec, "status": status})).await;
    let made = serde_json::to_value(made).expect("JSON");
    assert!(made["status"].is_null(), "a status comes by its own way: {made}");
    let api: Api<K> = Api::namespaced(client.clone(), ROOM);
    let other = json!({"repository": {"name": "other"}, "wipeOut": true, "retryLeft": 9});
    let patch = json!({"status": status, "spec": other});
    let params = PatchParams::default();
    let written = api.patch_status("one", &params, &Patch::Merge(&patch)).await.expect("written");
    let generation = written.meta().generation;
    let written = serde_json::to_value(&written).expect("JSON");
    assert_eq!((&written["spec"], generation), (&made["spec"], Some(1)), "the spec is untouched");
    let mut lost = Vec::new();
    // Also by the types, which the operator reads and writes.
    missing(&status, &written["status"], "status", &mut lost);
    assert!(lost.is_empty(), "{}: {lost:#?}", K::kind(&()));
    let wrong = json!({"status": {"phase": "Splendid"}});
    let refused = api.patch_status("one", &params, &Patch::Merge(&wrong)).await.expect_err("no such phase");
    assert!(refused.to_string().contains("Unsupported value: \"Splendid\""), "{refused}");
    // And who writes the spec leaves the status alone.
    let touched = json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": null, "conditions": null}});
    let touched = api.patch("one", &params, &Patch::Merge(&touched)).await.expect("written");
    assert_eq!(touched.labels().len(), 1);
    assert_eq!(serde_json::to_value(&touched).expect("JSON")["status"], written["status"]);
}

fn columns(table: &str) -> (Vec<&str>, &str) {
    let (head, row) = table.split_once('\n').expect("a head");
    (head.split_whitespace().collect(), row.trim_end())
}

#[tokio::test]
async fn statuses_are_whole_and_apart_and_shown() {
    let (rig, client) = defined(ROOM).await;
    let _free = rig.whole.read().await;
    let condition = json!({
        "type": "RepositoryFound", "status": "True", "observedGeneration": 1, "lastTransitionTime": "2031-02-03T04:05:06Z",
        "severity": "Info", "reason": "RepositoryAvailable", "message": "it is there",
    });
    let binding = json!({"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"});
    let files = json!({"totalFiles": 1, "newFiles": 1, "modifiedFiles": 0, "unmodifiedFiles": 0});
    let snapshot = json!({
        "name": "1a2b3c4d", "path": "/dumpfile.resp", "totalSize": "1 MiB", "uploaded": "1 KiB", "processingTime": "0:08",
        "fileStats": files,
    });
    with_status::<Repository>(
        &client,
        json!({"backend": {"rest": {"url": "u"}, "storageSecretName": "k"}}),
        json!({
            "observedGeneration": 1, "firstBackupTime": "2021-02-03T04:05:06Z", "lastBackupTime": "2021-02-03T04:05:06Z",
            "integrity": true, "totalSize": "1.205MiB", "snapshotCount": 3, "snapshotsRemovedOnLastCleanup": 2,
            "references": [{"apiGroup": "stash.appscode.com", "kind": "BackupConfiguration", "namespace": "n", "name": "b"}],
            "conditions": [condition], "phase": "Ready",
        }),
    )
    .await;
    with_status::<BackupConfiguration>(
        &client,
        json!({"repository": {"name": "r"}, "schedule": "@daily", "task": {"name": "redis-backup-7.0.5"}}),
        json!({"observedGeneration": 1, "conditions": [condition], "phase": "NotReady"}),
    )
    .await;
    with_status::<BackupSession>(
        &client,
        json!({"invoker": {"kind": "BackupConfiguration", "name": "nightly"}}),
        json!({
            "phase": "Skipped", "sessionDuration": "1m12s", "sessionDeadline": "2031-02-03T04:05:06Z", "retried": true,
            "nextRetry": "2031-02-03T04:05:06Z", "conditions": [condition], "observedGeneration": 1,
            "targets": [{
                "ref": binding, "totalHosts": 1, "phase": "Succeeded", "preBackupActions": ["InitializeBackendRepository"],
                "postBackupActions": ["ApplyRetentionPolicy"], "conditions": [condition],
                "stats": [{"hostname": "host-0", "phase": "Succeeded", "snapshots": [snapshot], "duration": "8.2s", "error": "e"}],
            }],
        }),
    )
    .await;
    with_status::<RestoreSession>(
        &client,
        json!({"repository": {"name": "r"}}),
        json!({
            "phase": "Running", "totalHosts": 1, "sessionDuration": "8.2s", "conditions": [condition],
            "stats": [{"hostname": "host-0", "phase": "Unknown", "duration": "8.2s", "error": "e"}],
            "sessionDeadline": "2031-02-03T04:05:06Z", "observedGeneration": 1,
        }),
    )
    .await;
    let binding = json!({"type": "redis", "version": "7.0.5"});
    let _: aquifer_operator::resources::app_binding::AppBinding =
        make(&client, ROOM, json!({"metadata": {"name": "one"}, "spec": binding})).await;

    for (kind, head, row) in [
        ("repo", "NAME INTEGRITY SIZE SNAPSHOT-COUNT LAST-SUCCESSFUL-BACKUP AGE", "one true 1.205MiB 3 "),
        ("bc", "NAME TASK SCHEDULE PAUSED PHASE AGE", "one redis-backup-7.0.5 @daily false NotReady "),
        ("bs", "NAME INVOKER-TYPE INVOKER-NAME PHASE DURATION AGE", "one BackupConfiguration nightly Skipped 1m12s "),
        ("restore", "NAME REPOSITORY PHASE DURATION AGE", "one r Running 8.2s "),
        ("appbinding", "NAME TYPE VERSION AGE", "one redis 7.0.5 "),
        ("bb", "", ""),
    ] {
        let (done, table, told) = kubectl(rig, &["get", "-n", ROOM, kind], "").await;
        assert!(done, "{told}");
        if !head.is_empty() {
            let (found, shown) = columns(&table);
            assert_eq!(found.join(" "), head);
            let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(shown.starts_with(row), "{shown}");
        }
    }
    let (_, all, told) = kubectl(rig, &["get", "-n", ROOM, "stash", "-o", "name"], "").await;
    for one in ["repository", "backupconfiguration", "backupsession", "restoresession"] {
        assert!(all.contains(&format!("{one}.stash.appscode.com/one")), "{all}{told}");
    }
}
