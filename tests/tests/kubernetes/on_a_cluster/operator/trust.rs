//! What belongs to others: of another namespace, of a session that was there before, or of a time that has passed.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PropagationPolicy};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::super::definitions::{kubectl, store_unreadable, unreadable};
use super::super::rig::{Rig, job, make, running_of};
use super::bad_days::shop;
use super::rig::*;

/// What gives signals to a pod's program.
fn signals(rig: &Rig, room: &str, pod: &str) -> impl Fn(&str) + use<> {
    signals_to(rig.node.process(room, pod, "aquifer").expect("it runs").unsigned_abs())
}

/// What a configuration's conditions say once it is as ready as asked.
async fn said(client: &Client, room: &str, name: &str, wanted: Readiness) -> String {
    let one = that(client, room, name, "is as asked", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == wanted).then(|| one.clone())
    })
    .await;
    serde_json::to_string(&one.status).expect("JSON")
}

#[tokio::test]
async fn what_lies_in_another_namespace_is_used_only_where_it_says_so() {
    const ROOM: &str = "theirs";
    const OWN: &str = "theirs-not";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    rig.cluster.namespace(OWN, &[]).await;
    let shop = shop(&client, ROOM, json!({})).await;
    let mut theirs = configuration(json!({}));
    theirs["metadata"]["name"] = json!("theirs");
    theirs["spec"]["target"]["ref"]["namespace"] = json!(ROOM);
    make::<Secret>(&client, OWN, storage_secret()).await;
    make::<Repository>(&client, OWN, repository(shop.place.path())).await;
    make::<BackupConfiguration>(&client, OWN, theirs).await;
    let why = said(&client, OWN, "theirs", Readiness::NotReady).await;
    assert!(why.contains("the AppBinding `theirs/db` may not be used from the namespace `theirs-not`"), "{why}");
    let allowed = json!({"metadata": {"annotations": {"aquifer.dev/allowed-namespaces": "a, theirs-not"}}});
    patch::<AppBinding>(&client, ROOM, "db", allowed.clone()).await;
    said(&client, OWN, "theirs", Readiness::Ready).await;

    // Nor is a Secret, and nothing of it is said.
    let mut thief = binding(&shop.server);
    thief["metadata"]["name"] = json!("db");
    thief["spec"]["secret"] = json!({"name": "auth", "namespace": ROOM});
    make::<AppBinding>(&client, OWN, thief).await;
    make::<BackupConfiguration>(&client, OWN, configuration(json!({}))).await;
    let why = said(&client, OWN, "backup", Readiness::NotReady).await;
    assert!(why.contains("the Secret `theirs/auth` may not be used from the namespace `theirs-not`"), "{why}");
    patch::<Secret>(&client, ROOM, "auth", allowed).await;
    said(&client, OWN, "backup", Readiness::Ready).await;

    // Nor is the one of a repository that may be used, whose other keys are none of theirs.
    patch::<Repository>(
        &client,
        ROOM,
        "repo",
        json!({"spec": {"usagePolicy": {"allowedNamespaces": {"from": "All"}}}}),
    )
    .await;
    patch::<AppBinding>(&client, OWN, "db", json!({"spec": {"secret": {"name": "storage", "namespace": ROOM}}})).await;
    let its = json!({"spec": {"repository": {"name": "repo", "namespace": ROOM}}});
    patch::<BackupConfiguration>(&client, OWN, "backup", its).await;
    let why = that(&client, OWN, "backup", "is refused", |one: &BackupConfiguration| {
        let why = serde_json::to_string(&one.status).ok()?;
        (one.status.as_ref()?.phase? == Readiness::NotReady && why.contains("`theirs/storage`")).then_some(why)
    })
    .await;
    assert!(why.contains("the Secret `theirs/storage` may not be used from the namespace `theirs-not`"), "{why}");
}

#[tokio::test]
async fn a_session_made_again_under_its_name_is_run_and_not_believed() {
    const ROOM: &str = "again";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let of = |one: &BackupSession| one.status.as_ref().expect("a status").targets[0].stats[0].snapshots[0].name.clone();
    let first = of(&over(&client, ROOM, "first").await);
    // Its job stays, as after `kubectl delete --cascade=orphan`, or while who cleans up is late.
    let orphans = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    sessions.delete("first", &orphans).await.expect("deleted");
    until("it is gone", async || sessions.get_opt("first").await.ok()?.is_none().then_some(())).await;
    shop.server.cli(&["-a", "open-sesame", "SET", "more", "of it"]);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    // The second one is looked at after it, and of the same, though it does not say of which group.
    let mut second = session("second");
    second["spec"]["invoker"].as_object_mut().expect("a map").remove("apiGroup");
    make::<BackupSession>(&client, ROOM, second).await;
    assert_eq!(over(&client, ROOM, "second").await.status.expect("a status").phase, Some(BackupPhase::Skipped));
    let waits = sessions.get("first").await.expect("there").status.unwrap_or_default();
    assert!(waits.targets.is_empty(), "{waits:#?}");
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    jobs.delete("stash-backup-first", &DeleteParams::background()).await.expect("deleted");
    let again = over(&client, ROOM, "first").await;
    assert_eq!(again.status.as_ref().expect("a status").phase, Some(BackupPhase::Succeeded), "{:#?}", again.status);
    assert_ne!(of(&again), first);
}

#[tokio::test]
async fn a_restore_writes_alone_and_nothing_is_backed_up_meanwhile() {
    const ROOM: &str = "turns";
    const FAR: &str = "turns-far";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    rig.cluster.namespace(FAR, &[]).await;
    let shop = shop(&client, ROOM, json!({})).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(first.phase, Some(BackupPhase::Succeeded), "{first:#?}");
    // It writes nothing until it has been stopped.
    shop.server.cli(&["-a", "open-sesame", "CLIENT", "PAUSE", "60000", "WRITE"]);
    let restore =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    // The first one is of another namespace, which may.
    let all = json!({"spec": {"usagePolicy": {"allowedNamespaces": {"from": "All"}}}});
    patch::<Repository>(&client, ROOM, "repo", all).await;
    let allowed = json!({"metadata": {"annotations": {"aquifer.dev/allowed-namespaces": FAR}}});
    patch::<AppBinding>(&client, ROOM, "db", allowed).await;
    let mut one = restore("one");
    one["spec"]["repository"]["namespace"] = json!(ROOM);
    one["spec"]["target"]["ref"]["namespace"] = json!(ROOM);
    make::<RestoreSession>(&client, FAR, one.clone()).await;
    let pod = running_of(&client, FAR, "stash-restore-one").await;
    let signal = signals(rig, FAR, &pod);
    signal("-STOP");
    shop.server.cli(&["-a", "open-sesame", "CLIENT", "UNPAUSE"]);
    make::<RestoreSession>(&client, ROOM, restore("two")).await;
    make::<BackupSession>(&client, ROOM, session("second")).await;
    let why = "the RestoreSession `turns-far/one` writes to the same database";
    that(&client, ROOM, "two", "waits", |one: &RestoreSession| one.why().filter(|said| said.contains(why))).await;
    that(&client, ROOM, "second", "waits", |one: &BackupSession| {
        let status = one.status.as_ref().filter(|status| status.phase == Some(BackupPhase::Pending))?;
        status.conditions.iter().any(|one| one.message.as_deref() == Some(why)).then_some(())
    })
    .await;
    // Also for one that was removed, and whose pod has not ended, and also where there is one of its name again.
    let elsewhere = json!({"spec": {"target": {"ref": {"name": "other"}}}}).to_string();
    let moved = ["patch", "-n", FAR, "restoresession", "one", "--type=merge", "-p", &elsewhere];
    let (done, _, told) = kubectl(rig, &moved, "").await;
    assert!(!done && told.contains("stays with its repository and its target"), "{told}");
    let restores: Api<RestoreSession> = Api::namespaced(client.clone(), FAR);
    restores.delete("one", &DeleteParams::default()).await.expect("deleted");
    until("it is gone", async || restores.get_opt("one").await.ok()?.is_none().then_some(())).await;
    one["spec"]["repository"]["name"] = json!("none");
    make::<RestoreSession>(&client, FAR, one).await;
    that(&client, ROOM, "two", "waits for a pod", |one: &RestoreSession| one.why().filter(|said| said.contains(&pod)))
        .await;
    signal("-CONT");
    let two = restored(&client, ROOM, "two").await.status.expect("a status");
    assert_eq!(two.phase, Some(RestorePhase::Succeeded), "{two:#?}");
    let second = over(&client, ROOM, "second").await.status.expect("a status");
    assert_eq!(second.phase, Some(BackupPhase::Succeeded), "{second:#?}");
}

#[tokio::test]
async fn a_restore_waits_for_the_backup_that_runs_and_comes_before_the_next() {
    const ROOM: &str = "turn-of-restores";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    let mut other = configuration(json!({"target": {"alias": "other", "ref": target()["ref"]}}));
    other["metadata"]["name"] = json!("other");
    make::<BackupConfiguration>(&client, ROOM, other).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(first.phase, Some(BackupPhase::Succeeded), "{first:#?}");
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("second")).await;
    running_of(&client, ROOM, "stash-backup-second").await;
    let restore = json!({"metadata": {"name": "back"}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let why = "the BackupSession `turn-of-restores/second` reads the same database";
    that(&client, ROOM, "back", "waits", |one: &RestoreSession| one.why().filter(|said| said.contains(why))).await;
    let mut third = session("third");
    third["spec"]["invoker"]["name"] = json!("other");
    make::<BackupSession>(&client, ROOM, third).await;
    let why = "the RestoreSession `turn-of-restores/back` waits for its turn at the same database";
    that(&client, ROOM, "third", "waits", |one: &BackupSession| {
        let status = one.status.as_ref().filter(|status| status.phase == Some(BackupPhase::Pending))?;
        status.conditions.iter().any(|one| one.message.as_deref() == Some(why)).then_some(())
    })
    .await;
    drop(held);
    for name in ["second", "third"] {
        let ended = over(&client, ROOM, name).await.status.expect("a status");
        assert_eq!(ended.phase, Some(BackupPhase::Succeeded), "{ended:#?}");
    }
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
}

#[tokio::test]
async fn what_strangers_say_of_a_database_and_a_repository_holds_up_nobody() {
    const ROOM: &str = "held-up";
    const FAR: &str = "held-up-far";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    rig.cluster.namespace(FAR, &[]).await;
    let _shop = shop(&client, ROOM, json!({})).await;
    let theirs = shop(&client, FAR, json!({})).await;
    // A restore that waits for a backup of theirs is removed, and kept, and says then that it is into another namespace's database.
    let held = hold(&theirs.server);
    make::<BackupSession>(&client, FAR, session("busy")).await;
    running_of(&client, FAR, "stash-backup-busy").await;
    let mut restore =
        json!({"metadata": {"name": "kept"}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    restore["metadata"]["finalizers"] = json!(["example.com/hold"]);
    make::<RestoreSession>(&client, FAR, restore).await;
    let why = "the BackupSession `held-up-far/busy` reads the same database";
    that(&client, FAR, "kept", "waits", |one: &RestoreSession| one.why().filter(|said| said.contains(why))).await;
    Api::<RestoreSession>::namespaced(client.clone(), FAR)
        .delete("kept", &DeleteParams::default())
        .await
        .expect("deleted");
    let ours = json!({"spec": {"target": {"ref": {"namespace": ROOM}}}});
    patch::<RestoreSession>(&client, FAR, "kept", ours.clone()).await;
    // So does what asks for their backup, which runs; and another one that it keeps its snapshots with somebody else's.
    patch::<BackupConfiguration>(&client, FAR, "backup", ours).await;
    let mut claims = configuration(json!({"repository": {"name": "repo", "namespace": ROOM}}));
    claims["metadata"]["name"] = json!("claims");
    make::<BackupConfiguration>(&client, FAR, claims).await;
    said(&client, FAR, "claims", Readiness::Invalid).await;
    make::<BackupSession>(&client, ROOM, session("mine")).await;
    let mine = over(&client, ROOM, "mine").await.status.expect("a status");
    assert_eq!(mine.phase, Some(BackupPhase::Succeeded), "{mine:#?}");
    let back = json!({"metadata": {"name": "back"}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    make::<RestoreSession>(&client, ROOM, back).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    let repository = Api::<Repository>::namespaced(client.clone(), ROOM).get("repo").await.expect("there");
    let references = repository.status.expect("a status").references;
    let homes: Vec<_> = references.iter().map(|one| one.namespace.as_deref()).collect();
    assert!(!homes.is_empty() && homes.iter().all(|home| *home == Some(ROOM)), "{references:#?}");
    drop(held);
    patch::<RestoreSession>(&client, FAR, "kept", json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_not_run_as_it_was() {
    const ROOM: &str = "unreadable";
    let (rig, client, ports) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let _shop = shop(&client, ROOM, json!({})).await;
    said(&client, ROOM, "backup", Readiness::Ready).await;
    let odd = unreadable().to_string();
    let patch = ["patch", "-n", ROOM, "backupconfiguration", "backup", "--type=merge", "-p", &odd];
    store_unreadable(rig, &patch, "").await;
    let metric = format!(
        "aquifer_unreadable_info{{group=\"stash.appscode.com\",kind=\"BackupConfiguration\",namespace=\"{ROOM}\",name=\"backup\"}} 1"
    );
    until("it is told of", async || page(ports.operator).await.contains(&metric).then_some(())).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    let why = serde_json::to_string(&first.conditions).expect("JSON");
    assert!(first.phase == Some(BackupPhase::Failed) && why.contains("cannot be read here"), "{first:#?}");
    let mended = json!([{"op": "remove", "path": "/spec/hooks"}]).to_string();
    let patch = ["patch", "-n", ROOM, "backupconfiguration", "backup", "--type=json", "-p", &mended];
    let (done, _, told) = kubectl(rig, &patch, "").await;
    assert!(done, "{told}");
    make::<BackupSession>(&client, ROOM, session("second")).await;
    assert_eq!(over(&client, ROOM, "second").await.status.expect("a status").phase, Some(BackupPhase::Succeeded));
    assert!(!page(ports.operator).await.contains(&metric), "it can be read again");
}

#[tokio::test]
async fn what_a_backup_found_is_said_of_the_repository_that_it_was_made_for() {
    const ROOM: &str = "moved";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    let mut other = repository(shop.place.path());
    (other["metadata"]["name"], other["spec"]["backend"]["local"]["subPath"]) = (json!("other"), json!("other"));
    make::<Repository>(&client, ROOM, other).await;
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    running_of(&client, ROOM, "stash-backup-first").await;
    let moved = json!({"repository": {"name": "other"}, "target": {"alias": "other", "ref": {"name": "elsewhere"}}});
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": moved})).await;
    // It is at the database that it was begun for, and in nobody's way at the other one.
    let mut elsewhere = binding(&shop.server);
    elsewhere["metadata"]["name"] = json!("elsewhere");
    make::<AppBinding>(&client, ROOM, elsewhere).await;
    let mut aside =
        json!({"metadata": {"name": "aside"}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    aside["spec"]["target"]["ref"]["name"] = json!("elsewhere");
    make::<RestoreSession>(&client, ROOM, aside).await;
    that(&client, ROOM, "aside", "has begun", |one: &RestoreSession| {
        (one.status.as_ref()?.phase? == RestorePhase::Running).then_some(())
    })
    .await;
    drop(held);
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(first.phase, Some(BackupPhase::Succeeded), "{first:#?}");
    let (name, host) = (&first.targets[0].r#ref.name, first.targets[0].stats[0].hostname.as_deref());
    assert_eq!((name.as_str(), host), ("db", Some("host-0")), "what was backed up, and not what is by now asked for");
    let repositories: Api<Repository> = Api::namespaced(client.clone(), ROOM);
    let of = async |name: &str| repositories.get(name).await.expect("there").status.unwrap_or_default();
    let (old, new) = (of("repo").await, of("other").await);
    assert_eq!((old.snapshot_count, old.integrity), (Some(1), Some(true)), "{old:#?}");
    assert!(new.integrity.is_none() && new.last_backup_time.is_none(), "{new:#?}");
}

#[tokio::test]
async fn a_session_begins_when_the_pod_of_the_one_before_has_ended() {
    const ROOM: &str = "after-another";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let pod = running_of(&client, ROOM, "stash-backup-first").await;
    // A pod that does not hear that it is to end.
    let signal = signals(rig, ROOM, &pod);
    signal("-STOP");
    drop(held);
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    sessions.delete("first", &DeleteParams::default()).await.expect("deleted");
    until("it is gone", async || sessions.get_opt("first").await.ok()?.is_none().then_some(())).await;
    // Under the name of the one before, it is another one all the same, and waits for no more than its pod.
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let waits = that(&client, ROOM, "first", "waits", |one: &BackupSession| {
        let status = one.status.as_ref().filter(|status| status.phase == Some(BackupPhase::Pending))?;
        status.conditions.iter().find_map(|one| one.message.clone())
    })
    .await;
    assert!(waits.contains(&pod), "{waits}");
    signal("-CONT");
    let second = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(second.phase, Some(BackupPhase::Succeeded), "{second:#?}");
}

/// What names no configuration ends with words, also where the API server would take it for one that is there.
#[tokio::test]
async fn of_many_sessions_at_once_one_runs_and_of_odd_names_none() {
    const ROOM: &str = "at-once";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, ROOM, json!({})).await;
    said(&client, ROOM, "backup", Readiness::Ready).await;
    shop.server.cli(&["-a", "open-sesame", "DEBUG", "POPULATE", "100000", "key", "100"]);
    // The names are in an order of their own: of one second, the first by name is not the first that was seen.
    let names: Vec<String> = (0..12).map(|number| format!("s{:02}", (number * 7) % 12)).collect();
    futures::future::join_all(names.iter().map(|name| make::<BackupSession>(&client, ROOM, session(name)))).await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    let goes_on = |job: &&Job| {
        job.status.as_ref().is_none_or(|status| status.completion_time.is_none() && status.failed.is_none())
    };
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    until("all are over", async || {
        let running = jobs.list(&ListParams::default()).await.ok()?.items;
        let running: Vec<String> = running.iter().filter(goes_on).map(ResourceExt::name_any).collect();
        assert!(running.len() <= 1, "{running:?}");
        let all = sessions.list(&ListParams::default()).await.ok()?.items;
        let open = |one: &BackupSession| {
            !one.status
                .as_ref()
                .is_some_and(|status| matches!(status.phase, Some(BackupPhase::Skipped | BackupPhase::Succeeded)))
        };
        let failed =
            all.iter().find(|one| one.status.as_ref().is_some_and(|status| status.phase == Some(BackupPhase::Failed)));
        assert!(failed.is_none(), "{failed:#?}");
        (!all.iter().any(open)).then_some(())
    })
    .await;
    for (number, odd) in ["backup?x=1", "a b", "../backup", "%zz", "a\nb"].into_iter().enumerate() {
        let mut one = session(&format!("odd-{number}"));
        one["spec"]["invoker"]["name"] = json!(odd);
        make::<BackupSession>(&client, ROOM, one).await;
        let status = over(&client, ROOM, &format!("odd-{number}")).await.status.expect("a status");
        let said = serde_json::to_string(&status).expect("JSON");
        assert!(status.phase == Some(BackupPhase::Failed) && said.contains("` is not there"), "{said}");
    }
    let mut nameless = repository(std::path::Path::new("/nowhere"));
    nameless["metadata"]["name"] = json!("nameless");
    nameless["spec"]["backend"]["storageSecretName"] = json!("storage?a=b");
    make::<Repository>(&client, ROOM, nameless).await;
    that(&client, ROOM, "nameless", "is not ready", |one: &Repository| {
        let said = serde_json::to_string(one.status.as_ref()?).expect("JSON");
        said.contains("no Secret can be called `storage?a=b`").then_some(())
    })
    .await;
}

/// What is watched knows nothing of it yet: no session of it is there, and it has no pod.
#[tokio::test]
async fn a_session_waits_for_a_job_of_another_that_has_just_been_made() {
    const ROOM: &str = "just-made";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let _shop = shop(&client, ROOM, json!({})).await;
    said(&client, ROOM, "backup", Readiness::Ready).await;
    let mut other = job("stash-backup-other", "true");
    let of =
        json!({"stash.appscode.com/invoker-type": "BackupConfiguration", "stash.appscode.com/invoker-name": "backup"});
    other["metadata"]["labels"] = of;
    other["spec"]["suspend"] = json!(true);
    make::<Job>(&client, ROOM, other).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    that(&client, ROOM, "first", "waits", |one: &BackupSession| {
        let status = one.status.as_ref().filter(|status| status.phase == Some(BackupPhase::Pending))?;
        let said = serde_json::to_string(status).expect("JSON");
        said.contains("the Job `stash-backup-other` of another session has not ended").then_some(())
    })
    .await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    assert!(jobs.get_opt("stash-backup-first").await.expect("an answer").is_none());
    jobs.delete("stash-backup-other", &DeleteParams::background()).await.expect("deleted");
    assert_eq!(over(&client, ROOM, "first").await.status.expect("a status").phase, Some(BackupPhase::Succeeded));
}

/// Neither what its status says nor what its Secret is called.
#[tokio::test]
async fn who_may_not_use_a_repository_changes_nothing_of_it_and_learns_nothing() {
    const ROOM: &str = "kept";
    const OTHER: &str = "kept-from";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    rig.cluster.namespace(OTHER, &[]).await;
    let _theirs = shop(&client, ROOM, json!({})).await;
    let mut hidden = repository(std::path::Path::new("/nowhere"));
    hidden["metadata"]["name"] = json!("hidden");
    hidden["spec"]["backend"]["storageSecretName"] = json!("whose-name-is-not-told");
    make::<Repository>(&client, ROOM, hidden).await;
    let _own = shop(&client, OTHER, json!({})).await;
    for name in ["repo", "hidden"] {
        let mut one = configuration(json!({"repository": {"name": name, "namespace": ROOM}}));
        one["metadata"]["name"] = json!(name);
        make::<BackupConfiguration>(&client, OTHER, one).await;
        let mut asked = session(name);
        asked["spec"]["invoker"]["name"] = json!(name);
        make::<BackupSession>(&client, OTHER, asked).await;
        let ended = over(&client, OTHER, name).await.status.expect("a status");
        let said = serde_json::to_string(&ended).expect("JSON");
        assert!(ended.phase == Some(BackupPhase::Failed) && said.contains("usagePolicy"), "{said}");
        assert!(!said.contains("whose-name-is-not-told"), "{said}");
        let status = Api::<Repository>::namespaced(client.clone(), ROOM).get(name).await.expect("there").status;
        let kinds: Vec<String> = status.unwrap_or_default().conditions.into_iter().map(|one| one.r#type).collect();
        assert!(!kinds.iter().any(|kind| kind == "RepositoryIntegrityVerified"), "{kinds:?}");
    }
    // Nor is a hook run for a database of theirs.
    let hook = json!({"postBackup": {"executionPolicy": "Always", "tcpSocket": {"port": 1}}});
    let mut hooked = configuration(json!({"hooks": hook}));
    hooked["metadata"]["name"] = json!("hooked");
    hooked["spec"]["target"]["ref"]["namespace"] = json!(ROOM);
    make::<BackupConfiguration>(&client, OTHER, hooked).await;
    let mut asked = session("hooked");
    asked["spec"]["invoker"]["name"] = json!("hooked");
    make::<BackupSession>(&client, OTHER, asked).await;
    let ended = over(&client, OTHER, "hooked").await.status.expect("a status");
    assert_eq!(ended.phase, Some(BackupPhase::Failed));
    let jobs = Api::<Job>::namespaced(client.clone(), OTHER).list(&ListParams::default()).await.expect("an answer");
    let jobs: Vec<String> = jobs.items.iter().map(ResourceExt::name_any).collect();
    assert!(!jobs.iter().any(|name| name.starts_with("stash-hook-")), "{jobs:?}");
}

#[tokio::test]
async fn a_schedule_of_another_program_is_replaced_whatever_it_is_called() {
    const ROOM: &str = "schedules";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let _shop = shop(&client, ROOM, json!({})).await;
    said(&client, ROOM, "backup", Readiness::Ready).await;
    let one: BackupConfiguration = Api::namespaced(client.clone(), ROOM).get("backup").await.expect("there");
    let owner = json!({"apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupConfiguration", "name": "backup", "uid": one.metadata.uid});
    let template = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "debian"}]}}}});
    let cron_job = |name: &str, owners: serde_json::Value| json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template}});
    make::<CronJob>(&client, ROOM, cron_job("stash-trigger-otherwise", json!([owner]))).await;
    make::<CronJob>(&client, ROOM, cron_job("mine", json!([]))).await;
    make::<CronJob>(&client, ROOM, cron_job("my-report", json!([owner]))).await;
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"schedule": "0 3 * * *"}})).await;
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), ROOM);
    until("one schedule of it is left", async || {
        let all = cron_jobs.list(&ListParams::default()).await.ok()?.items;
        let mut names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
        names.sort();
        (names == ["mine", "my-report", "stash-trigger-backup"]).then_some(())
    })
    .await;
    // What is wrong with it does not keep it from being paused.
    let wrong = json!({"spec": {"driver": "VolumeSnapshotter", "paused": true}});
    patch::<BackupConfiguration>(&client, ROOM, "backup", wrong).await;
    said(&client, ROOM, "backup", Readiness::Invalid).await;
    let suspended = async || cron_jobs.get("stash-trigger-backup").await.ok()?.spec.suspend?.then_some(());
    until("its schedule rests", suspended).await;
}

/// An operator whose clock is hours ahead, in the place of the first one.
fn ahead(rig: &Rig, ports: &Ports) {
    rig.cluster.kill("operator");
    // The program itself starts another one, which would outlive it.
    let asked = std::process::Command::new("faketime").args(["-f", "+2h", "sh", "-c", "echo $LD_PRELOAD"]).output();
    let asked = asked.expect("faketime must be installed: run `./test`");
    let library = String::from_utf8(asked.stdout).expect("a path").trim().to_owned();
    assert!(!library.is_empty(), "faketime does not say where its library is");
    let kubeconfig = rig.cluster.kubeconfig_of(super::super::deployment::OPERATOR).display().to_string();
    let variables = [
        ("KUBECONFIG", kubeconfig),
        ("RUST_LOG", "info,kube_client=warn".to_owned()),
        ("LD_PRELOAD", library),
        ("FAKETIME", "+2h".to_owned()),
        // The wall clock jumps, and the steady one does not.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let args = arguments(ports.operator, ports.gateway, "operator");
    rig.cluster.run("operator", &super::super::rig::aquifer(), &args, &variables);
}

#[tokio::test]
async fn a_clock_that_jumps_ends_nothing_and_an_old_restore_waits_for_a_word() {
    const ROOM: &str = "clock";
    let (rig, client, ports) = operated(ROOM).await;
    let _alone = rig.whole.write().await;
    let shop = shop(&client, ROOM, json!({"timeOut": "5m"})).await;
    let held = hold(&shop.server);
    // What one of somebody's says, and no operator can read, hides nothing else from the next one.
    let mut odd = configuration(unreadable()["spec"].clone());
    odd["apiVersion"] = json!("stash.appscode.com/v1beta1");
    odd["kind"] = json!("BackupConfiguration");
    odd["metadata"]["name"] = json!("odd");
    store_unreadable(rig, &["apply", "-n", ROOM, "-f", "-"], &odd.to_string()).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    running_of(&client, ROOM, "stash-backup-first").await;
    ahead(rig, ports);
    drop(held);
    let first = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(first.phase, Some(BackupPhase::Succeeded), "{first:#?}");
    // A pod that is to end is not lost for that.
    let held = hold(&shop.server);
    make::<BackupSession>(&client, ROOM, session("second")).await;
    let pod = running_of(&client, ROOM, "stash-backup-second").await;
    let signal = signals(rig, ROOM, &pod);
    signal("-STOP");
    drop(held);
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    sessions.delete("second", &DeleteParams::default()).await.expect("deleted");
    until("it is gone", async || sessions.get_opt("second").await.ok()?.is_none().then_some(())).await;
    make::<BackupSession>(&client, ROOM, session("third")).await;
    that(&client, ROOM, "third", "waits for the pod", |one: &BackupSession| {
        let all = &one.status.as_ref()?.conditions;
        all.iter().any(|one| one.message.as_ref().is_some_and(|why| why.contains(&pod))).then_some(())
    })
    .await;
    signal("-CONT");
    let third = over(&client, ROOM, "third").await.status.expect("a status");
    assert_eq!(third.phase, Some(BackupPhase::Succeeded), "{third:#?}");
    // Two hours old, by that clock.
    let restore = json!({"metadata": {"name": "back"}, "spec": {"repository": {"name": "repo"}, "target": target()}});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let held = that(&client, ROOM, "back", "is held", |one: &RestoreSession| {
        (one.status.as_ref()?.phase? == RestorePhase::Pending).then(|| one.clone())
    })
    .await;
    let why = serde_json::to_string(&held.status).expect("JSON");
    // A word without a time would be one for ever.
    let word = |word: &str| json!({"metadata": {"annotations": {"aquifer.dev/run": word}}});
    patch::<RestoreSession>(&client, ROOM, "back", word("yes")).await;
    let time = why.split("aquifer.dev/run=").nth(1).and_then(|rest| rest.split('`').next()).expect("what to write");
    patch::<RestoreSession>(&client, ROOM, "back", word(time)).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    rig.cluster.kill("operator");
    start(rig, "operator", ports.operator, ports.gateway);
}
