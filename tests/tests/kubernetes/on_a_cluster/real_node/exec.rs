//! Hooks that are commands in a pod of the database: run in it by a real kubelet, as the chart's right allows, and not without.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession, BackupSessionStatus};
use aquifer_operator::resources::condition::{Condition, ConditionStatus};
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::RealNode;
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, from_value, json};
use tokio::sync::OnceCell;

use super::super::deployment::{OPERATOR, may, right};
use super::super::operator::guide::restic;
use super::super::operator::rig::*;
use super::super::rig::make;
use super::rig::*;

const IMAGE: &str = "localhost/database:tests";

/// Stands for a database's container: it keeps what it is told, and fails or waits where it is told to.
const DATABASE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
  if (count == 1) for (;;) pause();
  FILE *heard = fopen("/heard", "a");
  if (!heard) return 9;
  for (int at = 1; at < count; at++) fprintf(heard, at + 1 < count ? "%s " : "%s\n", words[at]);
  fclose(heard);
  if (!strcmp(words[1], "fail")) { fprintf(stderr, "no: %s\n", words[2]); return 3; }
  if (!strcmp(words[1], "wait")) while (access("/go", F_OK)) usleep(20000);
  return 0;
}
"#;

/// What the chart gives with `hooks.exec`, for the rest of the test program.
async fn allowed(client: &Client) {
    static ALLOWED: OnceCell<()> = OnceCell::const_new();
    ALLOWED
        .get_or_init(async || {
            let role = json!({"metadata": {"name": "exec"}, "rules": [
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
            ]});
            let account: Vec<&str> = OPERATOR.rsplit(':').collect();
            let bound = json!({"metadata": {"name": "exec"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "exec"},
                "subjects": [{"kind": "ServiceAccount", "name": account[0], "namespace": account[1]}],
            });
            let roles: Api<ClusterRole> = Api::all(client.clone());
            roles.create(&PostParams::default(), &from_value(role).expect("a role")).await.expect("made");
            let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
            bindings.create(&PostParams::default(), &from_value(bound).expect("a binding")).await.expect("made");
            until("the right is there", async || {
                let asked = right("exec", "", "pods/exec", "", "create");
                may(client, OPERATOR, &asked).await.then_some(())
            })
            .await;
        })
        .await;
}

/// A pod of the database, with its Service; the second container is the one that is meant unless another is named.
async fn pod(client: &Client, node: &RealNode, room: &str) -> Pod {
    node.program(IMAGE, DATABASE);
    let container = |name: &str| json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "securityContext": {"runAsUser": 0}});
    let annotations = json!({"kubectl.kubernetes.io/default-container": "redis"});
    let pod = json!({"metadata": {"name": "db-0", "labels": {"app": "db"}, "annotations": annotations},
        "spec": {"nodeName": RealNode::NAME, "terminationGracePeriodSeconds": 0, "containers": [container("proxy"), container("redis")]}});
    make::<Pod>(client, room, pod).await;
    let service = json!({"metadata": {"name": "db"}, "spec": {"selector": {"app": "db"}, "ports": [{"port": 6379}]}});
    make::<Service>(client, room, service).await;
    that(client, room, "db-0", "is ready", |pod: &Pod| {
        let mut all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        all.any(|one| one.type_ == "Ready" && one.status == "True").then(|| pod.clone())
    })
    .await
}

/// A file of the pod's containers; the one of each that has it.
fn files(node: &RealNode, pod: &Pod, name: &str) -> Vec<std::path::PathBuf> {
    let processes = node.processes(&pod.uid().expect("an id"), "program");
    let all = processes.iter().map(|process| std::path::PathBuf::from(format!("/proc/{process}/root{name}")));
    all.filter(|path| path.exists()).collect()
}

/// What its containers were told since this was asked last, in the order of the words.
fn heard(node: &RealNode, pod: &Pod) -> Vec<String> {
    let all = files(node, pod, "/heard").into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(&path).expect("its own");
        std::fs::remove_file(&path).expect("its own");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

fn is(conditions: &[Condition], kind: &str) -> Option<ConditionStatus> {
    conditions.iter().find(|one| one.r#type == kind).map(|one| one.status)
}

fn error(status: &BackupSessionStatus) -> &str {
    status.targets[0].stats[0].error.as_deref().unwrap_or_default()
}

/// Changes the hooks; `null` takes one away.
async fn hooked(client: &Client, room: &str, before: Value, after: Value) {
    patch::<BackupConfiguration>(client, room, "backup", json!({"spec": {"hooks": null}})).await;
    patch::<BackupConfiguration>(
        client,
        room,
        "backup",
        json!({"spec": {"hooks": {"preBackup": before, "postBackup": after}}}),
    )
    .await;
    that(client, room, "backup", "is looked over", |one: &BackupConfiguration| {
        let status = one.status.as_ref()?;
        let is_new = status.observed_generation == one.metadata.generation;
        (is_new && is(&status.conditions, "ValidationPassed") == Some(ConditionStatus::True)).then_some(())
    })
    .await;
}

async fn run(client: &Client, room: &str, name: &str) -> BackupSessionStatus {
    make::<BackupSession>(client, room, session(name)).await;
    over(client, room, name).await.status.expect("a status")
}

/// All that a backup needs, with a Service beside the address.
async fn served(client: &Client, node: &RealNode, room: &str) -> Shop {
    let shop = shop(client, node, room, json!({"runtimeSettings": on_it("300Mi"), "backupHistoryLimit": 10})).await;
    let service = json!({"name": "db", "port": 6379, "scheme": "redis"});
    patch::<AppBinding>(client, room, "db", json!({"spec": {"clientConfig": {"service": service}}})).await;
    shop
}

fn exec(words: &[&str]) -> Value {
    let command = [&["/program"], words].concat();
    json!({"exec": {"command": command}})
}

#[tokio::test]
async fn commands_are_run_in_a_pod_of_the_database_before_and_after() {
    const ROOM: &str = "exec";
    let (rig, client, node) = real(ROOM).await;
    let _free = rig.whole.read().await;
    allowed(&client).await;
    let shop = served(&client, node, ROOM).await;

    // Without the Service there is no pod to run it in: nothing is backed up, and nothing is done after it.
    let after = || exec(&["after", "{{ .Namespace }}", "{{ .Status.Phase }}"]);
    hooked(&client, ROOM, exec(&["before", "{{ .Name }}"]), after()).await;
    let done = run(&client, ROOM, "nowhere").await;
    assert_eq!(error(&done), "the hook before it failed: the Service `exec/db` is not there");
    assert_eq!(is(&done.conditions, "PreBackupHookExecutionSucceeded"), Some(ConditionStatus::False));
    assert_eq!(is(&done.conditions, "PostBackupHookExecutionSucceeded"), None);

    let pod = pod(&client, node, ROOM).await;
    let done = run(&client, ROOM, "both").await;
    assert_eq!(done.phase, Some(BackupPhase::Succeeded), "{done:#?}");
    assert_eq!(heard(node, &pod), ["after exec Succeeded", "before both"]);
    for hook in ["PreBackupHookExecutionSucceeded", "PostBackupHookExecutionSucceeded"] {
        assert_eq!(is(&done.conditions, hook), Some(ConditionStatus::True), "{hook}: {done:#?}");
    }

    // It fails before: in the container that was named, and what it said is told, but not what it was told.
    let mut fails = exec(&["fail", "the disk is full"]);
    fails["containerName"] = json!("proxy");
    hooked(&client, ROOM, fails.clone(), after()).await;
    let done = run(&client, ROOM, "before").await;
    let why = "`/program` in the pod `db-0` ended with the status 3: no: the disk is full";
    assert_eq!(error(&done), format!("the hook before it failed: {why}"));
    assert_eq!(heard(node, &pod), ["fail the disk is full"]);
    assert!(done.targets[0].stats[0].snapshots.is_empty(), "{done:#?}");

    // And after: the snapshot is there.
    hooked(&client, ROOM, exec(&["before"]), fails).await;
    let done = run(&client, ROOM, "after").await;
    let stored = done.targets[0].stats[0].snapshots[0].name.clone().unwrap_or_default();
    assert_eq!(error(&done), format!("the hook after it failed, and the snapshot {stored} is there: {why}"));
    assert!(done.phase == Some(BackupPhase::Failed) && done.targets[0].stats[0].snapshots.len() == 1, "{done:#?}");
    assert_eq!(heard(node, &pod), ["before", "fail the disk is full"]);

    hooked(&client, ROOM, json!({"exec": {"command": ["/none"]}}), Value::Null).await;
    let done = run(&client, ROOM, "none").await;
    assert!(error(&done).contains("could not be run") && error(&done).contains("/none"), "{done:#?}");
    let elsewhere = json!({"exec": {"command": ["/program", "x"]}, "containerName": "mysql"});
    hooked(&client, ROOM, elsewhere, Value::Null).await;
    let done = run(&client, ROOM, "elsewhere").await;
    assert!(error(&done).contains("has no container `mysql`: it has `proxy`, `redis`"), "{done:#?}");

    shop.server.cli(&["-a", "open-sesame", "SET", "key", "other"]);
    let restore = |name: &str, before: Value| {
        json!({"metadata": {"name": name}, "spec": {
            "repository": {"name": "repo"}, "target": target(), "runtimeSettings": on_it("300Mi"),
            "hooks": {"preRestore": before, "postRestore": exec(&["restored", "{{ .Status.Phase }}"])},
        }})
    };
    make::<RestoreSession>(&client, ROOM, restore("not", exec(&["fail", "it is in use"]))).await;
    let not = restored(&client, ROOM, "not").await.status.expect("a status");
    assert_eq!(not.phase, Some(RestorePhase::Failed), "{not:#?}");
    assert_eq!(is(&not.conditions, "PreRestoreHookExecutionSucceeded"), Some(ConditionStatus::False));
    assert_eq!(heard(node, &pod), ["fail it is in use"]);
    assert_eq!(shop.server.cli(&["-a", "open-sesame", "GET", "key"]).trim(), "other", "nothing was restored");
    make::<RestoreSession>(&client, ROOM, restore("back", exec(&["restores"]))).await;
    let back = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(back.phase, Some(RestorePhase::Succeeded), "{back:#?}");
    assert_eq!(heard(node, &pod), ["restored Succeeded", "restores"]);
    assert!(restic(shop.place.path(), &["check", "--read-data"]).contains("no errors"));
}

/// A command whose operator has died is run again by the next one, which cannot know how it ended; and a session that has begun goes on.
#[tokio::test]
async fn a_command_outlives_no_operator_and_its_session_does() {
    const ROOM: &str = "exec-killed";
    let (rig, client, node) = real(ROOM).await;
    let _alone = rig.whole.write().await;
    let ports = ports();
    allowed(&client).await;
    let _shop = served(&client, node, ROOM).await;
    let pod = pod(&client, node, ROOM).await;
    hooked(&client, ROOM, exec(&["wait"]), Value::Null).await;
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let begun = async |times: usize| {
        let what = format!("the command has begun {times} times");
        until(&what, async || {
            let all = files(node, &pod, "/heard");
            let text = std::fs::read_to_string(all.first()?).expect("its own");
            (text.lines().count() == times).then_some(())
        })
        .await;
    };
    begun(1).await;
    let waits = that(&client, ROOM, "first", "waits", |one: &BackupSession| {
        let status = one.status.as_ref()?;
        (status.phase? == BackupPhase::Pending).then(|| status.conditions.clone())
    })
    .await;
    let says = |one: &Condition| one.message.as_deref() == Some("the hook before it runs");
    assert!(waits.iter().any(says), "{waits:?}");
    assert_eq!(is(&waits, "PreBackupHookExecutionSucceeded"), Some(ConditionStatus::Unknown));
    // What has begun is not left, though nothing would begin any more.
    patch::<BackupConfiguration>(&client, ROOM, "backup", json!({"spec": {"paused": true}})).await;
    rig.cluster.kill("operator");
    start(rig, "operator", ports.operator, ports.gateway);
    begun(2).await;
    let told = files(node, &pod, "/heard");
    std::fs::write(told[0].with_file_name("go"), "").expect("its own");
    let done = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(done.phase, Some(BackupPhase::Succeeded), "{done:#?}");
    assert_eq!(heard(node, &pod), ["wait", "wait"]);
}
