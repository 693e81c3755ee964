//! A blueprint: an annotation on a database is all that its backups need.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::blueprint::BackupBlueprint;
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use serde_json::{from_value, json};

use super::super::rig::make;
use super::rig::*;

#[tokio::test]
async fn an_annotation_makes_a_repository_and_a_configuration() {
    const ROOM: &str = "blueprint";
    let (rig, client, ports) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    let blueprint = json!({"metadata": {"name": "of-the-tests"}, "spec": {
        "backend": {
            "local": {"hostPath": {"path": place.path()}, "mountPath": "/safe", "subPath": "${TARGET_NAMESPACE}/${TARGET_APP_RESOURCE}/${TARGET_NAME}"},
            "storageSecretName": "storage",
        },
        "schedule": "0 5 * * *", "retentionPolicy": {"name": "p", "keepLast": 3},
    }});
    let blueprints: Api<BackupBlueprint> = Api::all(client.clone());
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    let mut database = binding(&server);
    database["metadata"]["annotations"] =
        json!({"stash.appscode.com/backup-blueprint": "of-the-tests", "stash.appscode.com/schedule": "0 6 * * *"});
    // The blueprint comes later.
    make::<AppBinding>(&client, ROOM, database).await;
    let told = r#"aquifer_appbinding_without_backup{namespace="blueprint",name="db",blueprint="of-the-tests"} "#;
    until("it is told of", async || page(ports.operator).await.contains(&format!("{told}1")).then_some(())).await;
    blueprints.create(&PostParams::default(), &from_value(blueprint).expect("one")).await.expect("made");
    let schedule = |wanted: &'static str| {
        move |one: &BackupConfiguration| {
            let is_ready = one.status.as_ref()?.phase? == Readiness::Ready;
            (is_ready && one.spec.schedule.as_deref() == Some(wanted)).then_some(())
        }
    };
    that(&client, ROOM, "app-db", "is ready", schedule("0 6 * * *")).await;
    assert!(page(ports.operator).await.contains(&format!("{told}0")));
    let mut by_hand = session("by-hand");
    by_hand["spec"]["invoker"]["name"] = json!("app-db");
    make::<BackupSession>(&client, ROOM, by_hand).await;
    let status = over(&client, ROOM, "by-hand").await.status.expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
    // What the database is called stands in the path.
    assert!(place.path().join(ROOM).join("redis/db/config").is_file());
    // A new word of the database is brought to its configuration; who paused it has paused it.
    patch::<BackupConfiguration>(&client, ROOM, "app-db", json!({"spec": {"paused": true}})).await;
    let annotations = json!({"metadata": {"annotations": {"stash.appscode.com/schedule": "0 7 * * *"}}});
    patch::<AppBinding>(&client, ROOM, "db", annotations).await;
    that(&client, ROOM, "app-db", "has the new schedule", schedule("0 7 * * *")).await;
    let configurations: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
    assert!(configurations.get("app-db").await.expect("there").spec.paused);
    // The repository outlives the database.
    let bindings: Api<AppBinding> = Api::namespaced(client.clone(), ROOM);
    bindings.delete("db", &kube::api::DeleteParams::default()).await.expect("deleted");
    aquifer_tests::kubernetes::wait::until("its configuration is gone", async || {
        configurations.get_opt("app-db").await.ok()?.is_none().then_some(())
    })
    .await;
    let repositories: Api<Repository> = Api::namespaced(client.clone(), ROOM);
    assert!(repositories.get_opt("app-db").await.expect("an answer").is_some());
}
