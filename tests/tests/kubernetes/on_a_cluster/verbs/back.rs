//! `restore`, and `snapshots`: what there is, and bringing it back.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::RestoreSession;
use aquifer_tests::s3_server::{BUCKET, S3Server};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use super::super::operator::rig::*;
use super::super::rig::make;
use super::{furnish, verb};

async fn ready(client: &kube::Client, room: &str) {
    that(client, room, "backup", "is ready", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == Readiness::Ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_is_brought_back_by_one_command() {
    const ROOM: &str = "back";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    server.cli(&["-a", "open-sesame", "SET", "key", "value"]);
    furnish(&client, ROOM, &server, place.path()).await;
    let mut aliased = target();
    aliased["alias"] = json!("prod");
    make::<BackupConfiguration>(
        &client,
        ROOM,
        configuration(json!({"target": aliased.clone(), "runtimeSettings": {"pod": {"podLabels": {"team": "shop"}}}})),
    )
    .await;
    ready(&client, ROOM).await;
    verb(rig, ROOM, &["trigger", "backup", "--wait"]).await.is(0, "Succeeded", "");
    server.cli(&["-a", "open-sesame", "FLUSHALL"]);

    // Its target and its host are those of the only backup.
    let done = verb(rig, ROOM, &["restore", "first", "--from", "repo", "--wait"]).await;
    done.is(0, "RestoreSession back/first\nphase     Succeeded\nduration  ", "of the host `prod`");
    done.is(0, "\nrestored  the snapshot ", "");
    assert!(done.stdout.contains(": 1 keys were written"), "{done:?}");
    let restores: Api<RestoreSession> = Api::namespaced(client.clone(), ROOM);
    let settings = restores.get("first").await.expect("there").spec.runtime_settings;
    let labels = settings.and_then(|settings| settings.pod).expect("those of its backup").pod_labels;
    assert_eq!(labels.get("team").map(String::as_str), Some("shop"));
    assert_eq!(server.cli(&["-a", "open-sesame", "GET", "key"]).trim(), "value");
    let again = verb(rig, ROOM, &["restore", "first", "--from", "repo"]).await;
    again.is(1, "", "is there already and is Succeeded: choose another name");
    assert!(again.stderr.contains("kubectl delete restoresession first -n back"), "{again:?}");

    // Another one's snapshots look the same: that is said before.
    let mut twin = configuration(json!({"target": aliased}));
    (twin["metadata"]["name"], twin["spec"]["target"]["ref"]["name"]) = (json!("twin"), json!("db3"));
    make::<BackupConfiguration>(&client, ROOM, twin).await;
    that(&client, ROOM, "backup", "is not alone", |one: &BackupConfiguration| one.shares_snapshots()).await;
    let doubtful = verb(rig, ROOM, &["restore", "doubtful", "--from", "repo", "--target", "db"]).await;
    doubtful.is(
        0,
        "RestoreSession back/doubtful",
        "it may be the wrong one: the BackupConfiguration `back/twin` keeps its snapshots in the same place",
    );
    let configurations: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
    configurations.delete("twin", &DeleteParams::default()).await.expect("deleted");

    // What fails is no success.
    let other = verb(rig, ROOM, &["restore", "other", "--from", "repo", "--host", "nobody", "--wait"]).await;
    other.is(1, "phase     Failed", "the RestoreSession `back/other` is Failed: ");
    verb(rig, ROOM, &["status", "other"]).await.is(1, "back/other", "");

    // What cannot be done makes nothing.
    let refused = verb(rig, ROOM, &["restore", "x", "--from", "none"]).await;
    refused.is(1, "", "the Repository `back/none` is not there");
    let refused = verb(rig, ROOM, &["restore", "x", "--from", "repo", "--target", "none"]).await;
    refused.is(1, "", "the AppBinding `back/none` is not there");
    verb(rig, ROOM, &["restore", "x", "--from", "repo", "--snapshot", "last"]).await.is(
        2,
        "",
        "a snapshot is `latest`",
    );
    verb(rig, ROOM, &["restore", "x"]).await.is(2, "", "--from");
    let mut second = configuration(json!({}));
    second["metadata"]["name"] = json!("second");
    second["spec"]["target"]["ref"]["name"] = json!("db2");
    make::<BackupConfiguration>(&client, ROOM, second).await;
    let which = verb(rig, ROOM, &["restore", "x", "--from", "repo"]).await;
    which.is(2, "", "say into which AppBinding with `--target`: `db`, `db2`");
    assert!(restores.get_opt("x").await.expect("an answer").is_none());

    let local = verb(rig, ROOM, &["snapshots", "repo"]).await;
    local.is(1, "", "the Repository `back/repo` lies in a volume of the cluster, which is not on this machine");
}

#[tokio::test]
async fn snapshots_of_a_store_are_listed_from_here() {
    const ROOM: &str = "listed";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, store) = (server(), S3Server::start().await);
    make::<Secret>(&client, ROOM, auth()).await;
    let keys =
        json!({"RESTIC_PASSWORD": "correct-horse", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cr3t"});
    make::<Secret>(&client, ROOM, json!({"metadata": {"name": "storage"}, "stringData": keys})).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    let s3 = json!({"endpoint": store.endpoint(), "bucket": BUCKET, "prefix": "listed"});
    let spec = json!({"backend": {"s3": s3, "storageSecretName": "storage"}});
    make::<Repository>(&client, ROOM, json!({"metadata": {"name": "repo"}, "spec": spec})).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({}))).await;
    ready(&client, ROOM).await;
    let made = verb(rig, ROOM, &["trigger", "backup", "--wait"]).await;
    made.is(0, "Succeeded", "");
    let id = made.stdout.lines().find_map(|line| line.strip_prefix("snapshot  ")).expect("an id");

    let listed = verb(rig, ROOM, &["snapshots", "repo"]).await;
    listed.is(0, &format!("\n{id}  2"), "");
    listed.is(0, "  host-0  ", "");
    let listed = verb(rig, ROOM, &["snapshots", "repo", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert!(all[0]["id"].as_str().is_some_and(|whole| whole.starts_with(id)) && all[1].is_null(), "{all:#}");

    verb(rig, ROOM, &["unlock", "repo"]).await.is(0, "0 locks were removed, 0 stay", "");
    verb(rig, ROOM, &["unlock", "none"]).await.is(1, "", "the Repository `listed/none` is not there");
    verb(rig, ROOM, &["snapshots", "none"]).await.is(1, "", "the Repository `listed/none` is not there");
    let wrong = json!({"stringData": {"RESTIC_PASSWORD": "wrong-horse"}});
    patch::<Secret>(&client, ROOM, "storage", wrong).await;
    let refused = verb(rig, ROOM, &["snapshots", "repo"]).await;
    refused.is(1, "", "the Repository `listed/repo`: ");
    assert!(!format!("{refused:?}").contains("wrong-horse"), "{refused:?}");
}
