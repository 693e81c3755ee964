//! What goes wrong: things that are missing, wrong or gone, and what is killed. Each session reaches an end, and says why.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::{ConditionStatus, Readiness};
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::redis_server::RedisServer;
use aquifer_tests::s3_server::S3Server;
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Secret};
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::super::definitions::kubectl;
use super::super::rig::{make, running_of};
use super::guide::restic;
use super::rig::*;

/// A database with its manifests.
pub(super) struct Shop {
    pub(super) server: RedisServer,
    pub(super) place: tempfile::TempDir,
}

/// Makes all that a backup needs.
pub(super) async fn shop(client: &Client, room: &str, more: Value) -> Shop {
    let (server, place) = (server(), folder());
    make::<Secret>(client, room, auth()).await;
    make::<Secret>(client, room, storage_secret()).await;
    make::<AppBinding>(client, room, binding(&server)).await;
    make::<Repository>(client, room, repository(place.path())).await;
    make::<BackupConfiguration>(client, room, configuration(more)).await;
    server.cli(&["-a", "open-sesame", "SET", "key", "value"]);
    Shop { server, place }
}

/// Runs a session; gives how it ended, and why.
async fn run(client: &Client, room: &str, name: &str) -> (BackupPhase, String) {
    make::<BackupSession>(client, room, session(name)).await;
    let status = over(client, room, name).await.status.expect("a status");
    let error = status.targets.first().and_then(|target| target.stats.first()?.error.clone());
    (status.phase.expect("a phase"), error.unwrap_or_default())
}

#[tokio::test]
async fn what_is_wrong_is_said_and_heals() {
    const ROOM: &str = "wrong";
    let (rig, client, ports) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let mut shop = shop(&client, ROOM, json!({"backupHistoryLimit": 10})).await;
    assert_eq!(run(&client, ROOM, "good").await, (BackupPhase::Succeeded, String::new()));

    // A wrong password.
    patch::<Secret>(&client, ROOM, "auth", json!({"stringData": {"password": "close-sesame"}})).await;
    let (phase, error) = run(&client, ROOM, "password").await;
    assert!(phase == BackupPhase::Failed && error.contains("`dump` failed") && error.contains("WRONGPASS"), "{error}");
    patch::<Secret>(&client, ROOM, "auth", json!({"stringData": {"password": "open-sesame"}})).await;

    // A wrong word of the repository.
    patch::<Secret>(&client, ROOM, "storage", json!({"stringData": {"RESTIC_PASSWORD": "wrong-horse"}})).await;
    let (phase, error) = run(&client, ROOM, "word").await;
    assert!(phase == BackupPhase::Failed && error.contains("`push` failed"), "{error}");
    patch::<Secret>(&client, ROOM, "storage", json!({"stringData": {"RESTIC_PASSWORD": "correct-horse"}})).await;

    // A Secret that is gone.
    let secrets: Api<Secret> = Api::namespaced(client.clone(), ROOM);
    secrets.delete("auth", &DeleteParams::default()).await.expect("deleted");
    let (phase, error) = run(&client, ROOM, "secret").await;
    assert_eq!((phase, error.as_str()), (BackupPhase::Failed, "the Secret `wrong/auth` is not there"));
    let pushed = page(ports.gateway).await;
    assert!(pushed.lines().any(|line| line.starts_with("stash_backup_session_success{")
        && line.contains("wrong")
        && line.ends_with(" 0")));
    make::<Secret>(&client, ROOM, auth()).await;

    // The server is down.
    shop.server.kill();
    let (phase, error) = run(&client, ROOM, "down").await;
    assert!(phase == BackupPhase::Failed && error.contains("`dump` failed"), "{error}");

    // What was stored is whole after all that, and nothing that failed says otherwise.
    assert!(restic(shop.place.path(), &["check", "--read-data"]).contains("no errors"));
    let one: Repository = Api::namespaced(client.clone(), ROOM).get("repo").await.expect("there");
    let status = one.status.expect("a status");
    let verified = status.conditions.iter().find(|one| one.r#type == "RepositoryIntegrityVerified");
    assert_eq!(verified.map(|one| one.status), Some(ConditionStatus::True), "{status:#?}");
}

#[tokio::test]
async fn what_is_in_a_repository_goes_with_it_where_that_is_asked_for() {
    const ROOM: &str = "wiped";
    const ENDING: &str = "wiped-namespace";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    assert_eq!(run(&client, ROOM, "first").await, (BackupPhase::Succeeded, String::new()));
    let inside = shop.place.path().join("redis");
    std::fs::write(inside.join("mine"), "not a repository's").expect("room");
    let keeps = |one: &Repository| one.metadata.finalizers.iter().flatten().any(|one| one == "aquifer.dev/wipe-out");
    patch::<Repository>(&client, ROOM, "repo", json!({"spec": {"wipeOut": true}})).await;
    that(&client, ROOM, "repo", "is kept", |one: &Repository| keeps(one).then_some(())).await;
    patch::<Repository>(&client, ROOM, "repo", json!({"spec": {"wipeOut": false}})).await;
    that(&client, ROOM, "repo", "is not kept", |one: &Repository| (!keeps(one)).then_some(())).await;
    // What is given up is not done later: its pod waits for a claim that nobody has made.
    let mut late = repository(shop.place.path());
    late["metadata"]["name"] = json!("late");
    late["spec"]["wipeOut"] = json!(true);
    let claim = json!({"persistentVolumeClaim": {"claimName": "none"}, "mountPath": "/safe"});
    late["spec"]["backend"]["local"] = claim;
    make::<Repository>(&client, ROOM, late).await;
    that(&client, ROOM, "late", "is kept", |one: &Repository| keeps(one).then_some(())).await;
    let repositories: Api<Repository> = Api::namespaced(client.clone(), ROOM);
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    repositories.delete("late", &DeleteParams::default()).await.expect("deleted");
    until("its job is made", async || jobs.get_opt("stash-wipe-late").await.ok()?.map(drop)).await;
    patch::<Repository>(&client, ROOM, "late", json!({"spec": {"wipeOut": false}})).await;
    until("it is gone", async || repositories.get_opt("late").await.ok()?.is_none().then_some(())).await;
    let left = jobs.get_opt("stash-wipe-late").await.expect("an answer");
    assert!(left.is_none_or(|job| job.metadata.deletion_timestamp.is_some()), "it would be emptied later");
    // What another one keeps, too, stays with it, also where that one says the place in other words.
    let mut copy = repository(&shop.place.path().join("redis"));
    (copy["metadata"]["name"], copy["spec"]["wipeOut"]) = (json!("copy"), json!(true));
    (copy["spec"]["backend"]["local"]["subPath"], copy["spec"]["backend"]["local"]["mountPath"]) =
        (json!("/"), json!("/other"));
    make::<Repository>(&client, ROOM, copy).await;
    that(&client, ROOM, "copy", "is kept", |one: &Repository| keeps(one).then_some(())).await;
    repositories.delete("copy", &DeleteParams::default()).await.expect("deleted");
    until("the copy is gone", async || repositories.get_opt("copy").await.ok()?.is_none().then_some(())).await;
    assert!(restic(shop.place.path(), &["snapshots"]).contains("1 snapshots"), "it is the other one's");
    // One of somebody else's that only says it lies there does not.
    rig.cluster.namespace(ENDING, &[]).await;
    let mut stranger = repository(shop.place.path());
    stranger["metadata"]["name"] = json!("stranger");
    make::<Repository>(&client, ENDING, stranger).await;
    that(&client, ENDING, "stranger", "is seen", |one: &Repository| one.status.as_ref()?.phase.map(drop)).await;
    patch::<Repository>(&client, ROOM, "repo", json!({"spec": {"wipeOut": true}})).await;
    // As the guide has it.
    let page = include_str!("../../../../../docs/howto/kubernetes.md");
    let until_kept =
        page.lines().find_map(|line| line.strip_prefix("kubectl wait repository redis-repo --for=")).expect("a line");
    let until_kept = format!("--for={}", until_kept.replace('\'', ""));
    let (done, _, said) = kubectl(rig, &["-n", ROOM, "wait", "repository", "repo", &until_kept], "").await;
    let one = Api::<Repository>::namespaced(client.clone(), ROOM).get("repo").await.expect("there");
    assert!(done && keeps(&one), "{said}");
    assert!(restic(shop.place.path(), &["snapshots"]).contains("1 snapshots"), "nothing is removed before");
    repositories.delete("repo", &DeleteParams::default()).await.expect("deleted");
    until("it is gone", async || repositories.get_opt("repo").await.ok()?.is_none().then_some(())).await;
    for gone in ["config", "keys", "snapshots", "index", "data", "locks"] {
        let left = std::fs::read_dir(inside.join(gone)).into_iter().flatten().flatten();
        let left: Vec<_> = left.filter(|entry| entry.path().is_file()).collect();
        assert!(!inside.join(gone).is_file() && left.is_empty(), "{gone}: {left:?}");
    }
    assert!(inside.join("mine").is_file());

    // Where nothing can be run any more, what is in it stays, and nothing hangs.
    make::<Secret>(&client, ENDING, storage_secret()).await;
    let mut other = repository(shop.place.path());
    other["spec"]["wipeOut"] = json!(true);
    make::<Repository>(&client, ENDING, other).await;
    that(&client, ENDING, "repo", "is kept", |one: &Repository| keeps(one).then_some(())).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.delete(ENDING, &DeleteParams::default()).await.expect("deleted");
    until("the namespace is gone", async || namespaces.get_opt(ENDING).await.ok()?.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_bucket_that_is_gone_and_a_manifest_that_is_wrong_are_said() {
    const ROOM: &str = "bucket";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, store) = (server(), S3Server::start().await);
    make::<Secret>(&client, ROOM, auth()).await;
    let keys = json!({"metadata": {"name": "storage"}, "stringData": {"RESTIC_PASSWORD": "correct-horse", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}});
    make::<Secret>(&client, ROOM, keys).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    let s3 = |bucket: &str| json!({"bucket": bucket, "endpoint": store.endpoint(), "prefix": "/shop", "region": "us-east-1"});
    make::<Repository>(&client, ROOM, json!({"metadata": {"name": "repo"}, "spec": {"backend": {"s3": s3("nowhere"), "storageSecretName": "storage"}}})).await;
    make::<BackupConfiguration>(
        &client,
        ROOM,
        configuration(json!({"task": {"name": "", "params": [{"name": "args", "value": "-what"}]}})),
    )
    .await;
    let phase = |wanted: Readiness| {
        move |one: &BackupConfiguration| (one.status.as_ref()?.phase? == wanted).then(|| one.clone())
    };
    let invalid = that(&client, ROOM, "backup", "is invalid", phase(Readiness::Invalid)).await;
    let said = serde_json::to_string(&invalid.status).expect("JSON");
    assert!(said.contains("`-what` is none of the flags"), "{said}");
    patch::<BackupConfiguration>(
        &client,
        ROOM,
        "backup",
        json!({"spec": {"task": {"params": [{"name": "args", "value": "-db 0"}]}}}),
    )
    .await;
    that(&client, ROOM, "backup", "is ready", phase(Readiness::Ready)).await;
    // What is wrong next is another event, and not the same one once more.
    let says = |args: &str| json!({"spec": {"task": {"params": [{"name": "args", "value": args}]}}});
    patch::<BackupConfiguration>(&client, ROOM, "backup", says("-next")).await;
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(client.clone(), ROOM);
    let of_it = ListParams::default().fields("regarding.name=backup,reason=Invalid");
    for flag in ["`-what`", "`-next`"] {
        until(&format!("an event about {flag}"), async || {
            let told = events.list(&of_it).await.ok()?.items;
            told.iter().any(|event| event.note.as_ref().is_some_and(|note| note.contains(flag))).then_some(())
        })
        .await;
    }
    patch::<BackupConfiguration>(&client, ROOM, "backup", says("-db 0")).await;
    that(&client, ROOM, "backup", "is ready again", phase(Readiness::Ready)).await;
    let (ended, error) = run(&client, ROOM, "nowhere").await;
    assert!(ended == BackupPhase::Failed && error.contains("nowhere"), "{error}");
    patch::<Repository>(&client, ROOM, "repo", json!({"spec": {"backend": {"s3": s3("backups")}}})).await;
    until("the operator has heard of the bucket", async || {
        let name = format!("again-{}", k8s_openapi::jiff::Timestamp::now().as_millisecond());
        (run(&client, ROOM, &name).await.0 == BackupPhase::Succeeded).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_cannot_begin_ends_its_session() {
    const ROOM: &str = "unbegun";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let nowhere = json!({"runtimeSettings": {"pod": {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}}, "retryConfig": {"maxRetry": 1, "delay": "1s"}});
    let _shop = shop(&client, ROOM, nowhere).await;
    let mut first = session("first");
    first["spec"]["retryLeft"] = json!(1);
    make::<BackupSession>(&client, ROOM, first).await;
    // It is tried again, as a session of its own, and is remembered until that is made.
    let again = over(&client, ROOM, "first-r").await;
    let status = again.status.expect("a status");
    let error = status.targets[0].stats[0].error.clone().unwrap_or_default();
    assert!(status.phase == Some(BackupPhase::Failed) && error.starts_with("its pod did not begin in 15s"), "{error}");
    assert_eq!((again.spec.retry_left, status.next_retry), (None, None), "it is not tried once more");
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    until("its job is gone", async || jobs.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(()))
        .await;

    // One that cannot be made: who forbids it says so in an event alone.
    let quota = json!({"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}});
    make::<ResourceQuota>(&client, ROOM, quota).await;
    that(&client, ROOM, "no-pods", "counts", |one: &ResourceQuota| one.status.as_ref()?.hard.as_ref().map(drop)).await;
    make::<BackupSession>(&client, ROOM, session("forbidden")).await;
    let status = over(&client, ROOM, "forbidden").await.status.expect("a status");
    let error = status.targets[0].stats[0].error.clone().unwrap_or_default();
    let begins = "its pod did not begin in 15s: it has no pod yet: FailedCreate: ";
    assert!(error.starts_with(begins) && error.contains("no-pods"), "{error}");
}

#[tokio::test]
async fn a_session_that_is_deleted_ends_its_pod_and_the_next_one_succeeds() {
    const ROOM: &str = "session-deleted";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    // One that somebody keeps is brought to its end all the same.
    let held = hold(&shop.server);
    let mut kept = session("kept");
    kept["metadata"]["finalizers"] = json!(["example.com/hold"]);
    make::<BackupSession>(&client, ROOM, kept).await;
    running_of(&client, ROOM, "stash-backup-kept").await;
    sessions.delete("kept", &DeleteParams::default()).await.expect("deleted");
    drop(held);
    let ended = over(&client, ROOM, "kept").await.status.expect("a status");
    assert_eq!(ended.phase, Some(BackupPhase::Succeeded), "{ended:#?}");
    patch::<BackupSession>(&client, ROOM, "kept", json!({"metadata": {"finalizers": null}})).await;
    until("it is gone", async || sessions.get_opt("kept").await.ok()?.is_none().then_some(())).await;
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    that(&client, ROOM, "first", "runs", |one: &BackupSession| {
        (one.status.as_ref()?.phase? == BackupPhase::Running).then_some(())
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), ROOM);
    until("its pod is there", async || (!pods.list(&ListParams::default()).await.ok()?.items.is_empty()).then_some(()))
        .await;
    sessions.delete("first", &DeleteParams::default()).await.expect("deleted");
    until("its pod is gone", async || pods.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(()))
        .await;
    drop(held);
    assert_eq!(run(&client, ROOM, "second").await, (BackupPhase::Succeeded, String::new()));
    assert!(restic(shop.place.path(), &["check", "--read-data"]).contains("no errors"));
    // A configuration that goes takes all of its with it, and never hangs.
    let configurations: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
    configurations.delete("backup", &DeleteParams::default()).await.expect("deleted");
    until("nothing of it is left", async || {
        let sessions = sessions.list(&ListParams::default()).await.ok()?.items;
        let left = sessions.into_iter().filter(|one| one.metadata.owner_references.is_some()).count();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn long_names_and_a_long_history() {
    const ROOM: &str = "long";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let _shop = shop(&client, ROOM, json!({"paused": true, "backupHistoryLimit": 3})).await;
    futures::stream::iter(0..500)
        .for_each_concurrent(10, async |number| {
            make::<BackupSession>(&client, ROOM, session(&format!("s{number:03}"))).await;
        })
        .await;
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    until("only the newest are left", async || {
        let left = sessions.list(&ListParams::default()).await.ok()?.items;
        let all_over =
            left.iter().all(|one| one.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Skipped));
        (left.len() == 3 && all_over).then_some(())
    })
    .await;
    let name = format!("{}z", "long-name-".repeat(25));
    assert_eq!(name.len(), 251);
    let mut long = configuration(json!({"schedule": "* * * * *"}));
    long["metadata"]["name"] = json!(name);
    make::<BackupConfiguration>(&client, ROOM, long).await;
    let slot = until("a session of the long name's slot", async || {
        let all = sessions.list(&ListParams::default()).await.ok()?.items;
        all.into_iter().find(|one| one.spec.invoker.name == name).map(|one| one.name_any())
    })
    .await;
    let status = over(&client, ROOM, &slot).await.status.expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
}

#[tokio::test]
async fn a_restore_waits_for_what_it_needs_and_fails_where_there_is_nothing() {
    const ROOM: &str = "waits";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let restore = |name: &str, rules: Value| {
        json!({"metadata": {"name": name}, "spec": {"repository": {"name": "repo"}, "target": {
            "ref": target()["ref"], "rules": rules,
        }}})
    };
    make::<RestoreSession>(&client, ROOM, restore("early", json!([]))).await;
    let phase =
        |wanted: RestorePhase| move |one: &RestoreSession| (one.status.as_ref()?.phase? == wanted).then(|| one.clone());
    that(&client, ROOM, "early", "waits", phase(RestorePhase::Pending)).await;
    make::<RestoreSession>(&client, ROOM, restore("wrong", json!([{"snapshots": ["a", "b"]}]))).await;
    let _shop = shop(&client, ROOM, json!({})).await;
    let early = restored(&client, ROOM, "early").await.status.expect("a status");
    let error = early.stats[0].error.clone().unwrap_or_default();
    assert!(early.phase == Some(RestorePhase::Failed) && error.contains("`pull` failed"), "{error}");
    let wrong = that(&client, ROOM, "wrong", "is invalid", phase(RestorePhase::Invalid)).await;
    let said = serde_json::to_string(&wrong.status).expect("JSON");
    assert!(said.contains("several snapshots"), "{said}");
}
