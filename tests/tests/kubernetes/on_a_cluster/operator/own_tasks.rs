//! Steps of a user's own in the place of a session's.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::s3_server::S3Server;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use super::super::definitions::kubectl;
use super::super::rig::{make, pods_of};
use super::guide::restic;
use super::rig::*;

const WORD: &str = "a long word of one's own";

/// What a configuration's conditions say once it is as ready as asked, and says these words.
async fn said(client: &kube::Client, room: &str, wanted: Readiness, words: &str) -> String {
    that(client, room, "backup", words, |one: &BackupConfiguration| {
        let status = one.status.as_ref()?;
        let text = serde_json::to_string(&status.conditions).ok()?;
        (status.phase? == wanted && text.contains(words)).then_some(text)
    })
    .await
}

#[tokio::test]
async fn steps_of_ones_own_back_up_and_bring_back() {
    const ROOM: &str = "own-tasks";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place, store) = (server(), folder(), S3Server::start().await);
    for number in 0..20 {
        server.cli(&["-a", "open-sesame", "SET", &format!("key:{number}"), "value"]);
    }
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    let copies = store.location()["s3"].clone();
    let text = |name: &str, value: &Value| json!({"name": name, "value": value});
    let secret =
        |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "copies", "key": key}}});
    let params = json!([
        secret("word", "word"),
        secret("key", "key"),
        text("endpoint", &copies["endpoint"]),
        text("bucket", &copies["bucket"]),
        text("keyId", &copies["accessKeyId"]),
    ]);
    let task = json!({"apiGroup": "aquifer.dev", "name": "proven-backup", "params": params});
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({"task": task}))).await;

    // What is missing may come later, in any order.
    said(&client, ROOM, Readiness::NotReady, "the Task `own-tasks/proven-backup` is not there").await;
    let apply = async |manifests: &str| {
        let (done, _, told) = kubectl(rig, &["apply", "-n", ROOM, "-f", "-"], manifests).await;
        assert!(done, "{told}");
    };
    let tasks = include_str!("../../../../../examples/kubernetes/tasks.yaml");
    apply(tasks).await;
    said(&client, ROOM, Readiness::NotReady, "the Secret `own-tasks/copies` is not there").await;
    let keys = json!({"word": WORD, "key": copies["secretAccessKey"]});
    make::<Secret>(&client, ROOM, json!({"metadata": {"name": "copies"}, "stringData": keys})).await;
    said(&client, ROOM, Readiness::Ready, "\"TaskFound\",\"status\":\"True\"").await;

    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(first.phase, Some(BackupPhase::Succeeded), "{first:#?}");
    let snapshot = first.targets[0].stats[0].snapshots[0].name.clone().expect("a name");
    assert!(restic(place.path(), &["snapshots"]).contains(&snapshot));
    let names = store.names().await;
    let copy = names.iter().find(|name| name.starts_with("redis/")).expect("the second copy");
    let bytes = store.get(copy).await.expect("it is there");
    assert!(bytes.starts_with(b"age-encryption.org/v1"), "{names:?}");
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    let job = jobs.get("stash-backup-first").await.expect("there");
    let pods = pods_of(&client, ROOM, "stash-backup-first").await;
    let shown =
        format!("{}{}", serde_json::to_string(&job).expect("JSON"), serde_json::to_string(&pods).expect("JSON"));
    let words = [WORD, "open-sesame", "correct-horse", copies["secretAccessKey"].as_str().expect("a key")];
    assert!(shown.contains("proven") || shown.contains("redis-verify"), "{shown}");
    assert!(words.iter().all(|word| !shown.contains(word)), "{shown}");

    // What a restore of one's own leaves alone stays.
    server.cli(&["-a", "open-sesame", "DEL", "key:7"]);
    server.cli(&["-a", "open-sesame", "SET", "key:8", "newer"]);
    let task = json!({"apiGroup": "aquifer.dev", "name": "gentle-restore"});
    let restore = json!({"metadata": {"name": "back"}, "spec": {"repository": {"name": "repo"}, "target": target(), "task": task}});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    let get = |key: &str| server.cli(&["-a", "open-sesame", "GET", key]).trim().to_owned();
    assert_eq!((get("key:7").as_str(), get("key:8").as_str()), ("value", "newer"));

    // A mistake is told of before anything runs, and heals; also one in a Function.
    apply(&tasks.replace("function: redis-verify", "function: redis-verifi")).await;
    said(
        &client,
        ROOM,
        Readiness::Invalid,
        "at `redis-verifi`: there is no function `redis-verifi`: did you mean `redis-verify`?",
    )
    .await;
    make::<BackupSession>(&client, ROOM, session("wrong")).await;
    let wrong = over(&client, ROOM, "wrong").await.status.expect("a status");
    assert_eq!(wrong.phase, Some(BackupPhase::Failed), "{wrong:#?}");
    assert!(jobs.get_opt("stash-backup-wrong").await.expect("an answer").is_none());
    apply(&tasks.replace("function: compress", "function: compres")).await;
    said(&client, ROOM, Readiness::Invalid, "the Function `sealed`, at `compres`").await;
    apply(tasks).await;
    said(&client, ROOM, Readiness::Ready, "it can be run").await;

    // Where the proof fails nothing older is removed: here it reads what is not there.
    let none = "{{ steps.push.outputs.snapshot }}";
    apply(&tasks.replace(none, "0000000000")).await;
    make::<BackupSession>(&client, ROOM, session("unproven")).await;
    let unproven = over(&client, ROOM, "unproven").await.status.expect("a status");
    let error = unproven.targets[0].stats[0].error.clone().unwrap_or_default();
    assert!(unproven.phase == Some(BackupPhase::Failed) && error.contains("`again` failed"), "{unproven:#?}");
    let applied = unproven.conditions.iter().any(|one| one.r#type == "RetentionPolicyApplied");
    assert!(!applied && restic(place.path(), &["snapshots"]).contains("2 snapshots"), "{unproven:#?}");
}
