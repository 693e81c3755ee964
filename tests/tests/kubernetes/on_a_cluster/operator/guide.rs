//! The way that Stash's guide goes: backup, what the columns say, pause, disaster, restore, resume.

use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::stores::installed;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::super::definitions::kubectl;
use super::super::rig::{aquifer, make};
use super::rig::*;

#[tokio::test]
async fn a_database_is_backed_up_lost_and_brought_back() {
    const ROOM: &str = "guide";
    let (rig, client, ports) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    for number in 0..50 {
        server.cli(&["-a", "open-sesame", "SET", &format!("key:{number}"), &format!("value {number}")]);
    }
    // In the wrong order: what is missing comes later.
    make::<BackupConfiguration>(
        &client,
        ROOM,
        configuration(json!({"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"})),
    )
    .await;
    let phase = |wanted: Readiness| {
        move |one: &BackupConfiguration| (one.status.as_ref()?.phase? == wanted).then(|| one.clone())
    };
    let missing = that(&client, ROOM, "backup", "is not ready", phase(Readiness::NotReady)).await;
    let said = serde_json::to_string(&missing.status).expect("JSON");
    assert!(
        said.contains("the Repository `guide/repo` is not there") && said.contains("`guide/db` is not there"),
        "{said}"
    );
    make::<Secret>(&client, ROOM, auth()).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    that(&client, ROOM, "backup", "is ready", phase(Readiness::Ready)).await;
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), ROOM);
    let cron_job = cron_jobs.get("stash-trigger-backup").await.expect("a cron job").spec;
    assert_eq!((cron_job.schedule.as_str(), cron_job.time_zone.as_deref()), ("0 3 * * *", Some("Europe/Berlin")));
    assert_eq!(cron_job.suspend, Some(false));

    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = over(&client, ROOM, "first").await;
    let status = first.status.clone().expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}\n{}", rig.cluster.said("operator"));
    let snapshot = status.targets[0].stats[0].snapshots[0].clone();
    let id = snapshot.name.expect("an id");
    assert_eq!((id.len(), snapshot.path.as_deref()), (8, Some("dumpfile.resp")));
    assert_eq!(status.targets[0].stats[0].hostname.as_deref(), Some("host-0"));
    assert!(restic(place.path(), &["snapshots"]).contains(&id));
    assert!(restic(place.path(), &["check", "--read-data"]).contains("no errors"));

    // What the columns say.
    let (_, table, _) = kubectl(rig, &["get", "-n", ROOM, "repository,backupsession,backupconfiguration"], "").await;
    assert!(table.contains("Succeeded") && table.contains("true") && table.contains(" B "), "{table}");
    let stored: Repository = Api::namespaced(client.clone(), ROOM).get("repo").await.expect("there");
    let stored = stored.status.expect("a status");
    assert_eq!((stored.integrity, stored.snapshot_count, stored.phase), (Some(true), Some(1), Some(Readiness::Ready)));
    assert_eq!(stored.references[0].name, "backup");

    // Metrics by Stash's names, in both ways.
    let pushed = page(ports.gateway).await;
    let expected = r#"stash_backup_session_success{driver="Restic",instance="",invoker_kind="BackupConfiguration",invoker_name="backup",job="backupconfiguration-guide-backup",namespace="guide",repository="repo"} 1"#;
    assert!(pushed.contains(expected), "{pushed}");
    assert!(pushed.contains("stash_appscode_com_repository_snapshot_count"), "{pushed}");
    let own = page(ports.operator).await;
    assert!(own.contains(r#"stash_appscode_com_backupsession_info{invoker_kind="BackupConfiguration",invoker_name="backup",namespace="guide",name="first",phase="Succeeded"} 1"#), "{own}");

    // No secret is where it can be read without a right to Secrets, and the pod has no way to the API.
    let pods: Api<Pod> = Api::namespaced(client.clone(), ROOM);
    let ran = pods.list(&ListParams::default()).await.expect("an answer").items;
    let text = serde_json::to_string(&ran).expect("JSON");
    assert!(!text.contains("open-sesame") && !text.contains("correct-horse"), "{text}");
    assert!(!text.contains("kube-api-access"), "a token is mounted: {text}");
    let log = rig.node.log(ROOM, &ran[0].name_any(), "aquifer");
    assert!(log.contains("push") && !log.contains("open-sesame") && !log.contains("correct-horse"), "{log}");

    // Paused: the schedule stands still, and so does who asks by hand.
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"paused": true}})).await;
    that(&client, ROOM, "stash-trigger-backup", "is suspended", |one: &CronJob| one.spec.suspend?.then_some(())).await;
    make::<BackupSession>(&client, ROOM, session("paused")).await;
    let skipped = over(&client, ROOM, "paused").await.status.expect("a status");
    assert_eq!(skipped.phase, Some(BackupPhase::Skipped));
    assert!(skipped.conditions.iter().any(|one| one.r#type == "BackupSkipped"));

    // Disaster, and back.
    server.cli(&["-a", "open-sesame", "FLUSHALL"]);
    let restore = json!({"metadata": {"name": "back"}, "spec": {
        "repository": {"name": "repo"}, "target": target(), "rules": [{"snapshots": [id]}],
    }});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    assert_eq!(server.cli(&["-a", "open-sesame", "GET", "key:7"]).trim(), "value 7");
    assert_eq!(server.cli(&["-a", "open-sesame", "DBSIZE"]).trim(), "50");

    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"paused": false}})).await;
    that(&client, ROOM, "stash-trigger-backup", "goes on", |one: &CronJob| (!one.spec.suspend?).then_some(())).await;
}

/// The commands of the page as they stand there, on its manifests with the addresses of this server and this store.
#[tokio::test]
async fn the_page_of_the_first_backup_leads_to_the_first_restore() {
    const ROOM: &str = "first-backup";
    let (rig, _, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place, files) = (server(), folder(), folder());
    server.cli(&["-a", "open-sesame", "SET", "key", "value"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("it is there");
    let mut own = read("examples/kubernetes/redis.yaml");
    for (old, new) in [
        ("service: {name: redis, port: 6379, scheme: redis}", format!("url: \"redis://127.0.0.1:{}\"", server.port())),
        (
            "s3: {endpoint: s3.amazonaws.com, region: eu-central-1, bucket: example-backups, prefix: shop/redis}",
            format!("local: {{hostPath: {{path: {}}}, mountPath: /safe}}", place.path().display()),
        ),
    ] {
        assert!(own.contains(old), "{own}");
        own = own.replace(old, &new);
    }
    std::fs::write(files.path().join("redis.yaml"), own).expect("room");
    std::fs::write(files.path().join("restore.yaml"), read("examples/kubernetes/restore.yaml")).expect("room");
    let page = read("docs/howto/kubernetes-first-backup.md");
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("its end")).collect();
    let [apply, look, back_up, restore] = blocks[..] else { panic!("{blocks:#?}") };
    let run = async |commands: &str| {
        let commands = commands.replace("-n shop", &format!("-n {ROOM}"));
        let commands = commands.replace("examples/kubernetes", &files.path().display().to_string());
        let (ours, theirs) = (aquifer(), PathBuf::from(installed("kubernetes/kubectl")));
        let [ours, theirs] = [&ours, &theirs].map(|program| program.parent().expect("its folder").display());
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-ec", &format!("PATH={ours}:{theirs}:$PATH\n{commands}")]).kill_on_drop(true);
        shell.env("KUBECONFIG", rig.cluster.kubeconfig()).env("HOME", files.path());
        let done = shell.output().await.expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.success(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    };
    let (done, said) = run(apply).await;
    assert!(done, "{said}");
    let (well, said) = run(look).await;
    assert!(well && said.contains("Ready"), "{said}");
    let (done, said) = run(back_up).await;
    assert!(done && said.contains("Succeeded"), "{said}\n{}", rig.cluster.said("operator"));
    server.cli(&["-a", "open-sesame", "FLUSHALL"]);
    let (done, said) = run(restore).await;
    assert!(done, "{said}\n{}", rig.cluster.said("operator"));
    assert_eq!(server.cli(&["-a", "open-sesame", "GET", "key"]).trim(), "value");
}

#[tokio::test]
async fn each_slot_is_a_session_and_no_pod_asks_for_it() {
    const ROOM: &str = "slots";
    let (rig, client, _) = operated(ROOM).await;
    let _free = rig.whole.read().await;
    let (server, place) = (server(), folder());
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({"schedule": "* * * * *"}))).await;
    let sessions: Api<BackupSession> = Api::namespaced(client.clone(), ROOM);
    let name = until("a session of a slot", async || {
        let all = sessions.list(&ListParams::default()).await.ok()?.items;
        all.first().map(ResourceExt::name_any)
    })
    .await;
    let ended = over(&client, ROOM, &name).await.status.expect("a status");
    assert_eq!(ended.phase, Some(BackupPhase::Succeeded), "{ended:#?}");
    let pods: Api<Pod> = Api::namespaced(client.clone(), ROOM);
    for pod in pods.list(&ListParams::default()).await.expect("an answer").items {
        assert!(pod.name_any().starts_with("stash-backup-"), "{}", pod.name_any());
    }
}

pub(in super::super) fn restic(folder: &std::path::Path, args: &[&str]) -> String {
    let mut command = Command::new("restic");
    command.args(args).arg("--no-cache").arg("-r").arg(folder.join("redis")).env("RESTIC_PASSWORD", "correct-horse");
    let done = command.output().expect("restic must be installed: run `./test`");
    assert!(done.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
