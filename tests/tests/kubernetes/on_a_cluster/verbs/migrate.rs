//! `migrate check`: what Stash left in a cluster.

use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::RestoreSession;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};

use super::super::definitions::kubectl;
use super::super::deployment::installed;
use super::super::operator::rig::*;
use super::super::rig::{Rig, make};
use super::{furnish, verb};

/// What Stash has in a cluster, as far as it can be had without Stash, and harmless to the other tests.
const STASH: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: stash, namespace: migrate, labels: {app.kubernetes.io/name: stash-enterprise}}
spec:
  replicas: 1
  selector: {matchLabels: {app: stash}}
  template:
    metadata: {labels: {app: stash}}
    spec: {containers: [{name: operator, image: debian, command: [sleep, "1000"]}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: admission.stash.appscode.com}
webhooks:
- name: validator.nothing.stash.appscode.com
  clientConfig: {service: {name: stash, namespace: migrate}}
  rules: [{apiGroups: [nothing.stash.appscode.com], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}]
  admissionReviewVersions: [v1]
  sideEffects: None
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1alpha1.admission.stash.appscode.com}
spec:
  group: admission.stash.appscode.com
  version: v1alpha1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {name: stash, namespace: migrate}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: backupbatches.stash.appscode.com}
spec:
  group: stash.appscode.com
  scope: Namespaced
  names: {kind: BackupBatch, plural: backupbatches, singular: backupbatch}
  versions:
  - {name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"#;

const BATCH: &str = r#"{"apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupBatch", "metadata": {"name": "all", "namespace": "migrate"}}"#;

async fn apply(rig: &Rig, text: &str) {
    aquifer_tests::kubernetes::wait::until("it is applied", async || {
        let (done, _, _) = kubectl(rig, &["apply", "-f", "-"], text).await;
        done.then_some(())
    })
    .await;
}

fn configured(name: &str, more: Value) -> Value {
    let mut one = configuration(more);
    one["metadata"]["name"] = json!(name);
    one
}

fn cron_job(name: &str, owner: Option<&BackupConfiguration>) -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "debian"}]});
    let spec = json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": pod}}}});
    let owner = owner.map(|one| {
        json!({"apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupConfiguration", "name": one.metadata.name, "uid": one.metadata.uid})
    });
    json!({"metadata": {"name": name, "ownerReferences": owner.into_iter().collect::<Vec<_>>()}, "spec": spec})
}

#[tokio::test]
async fn what_stash_left_is_found() {
    const ROOM: &str = "migrate";
    let (rig, client) = installed(ROOM).await;
    // An API that nobody answers for is felt by all who ask which there are.
    let _alone = rig.whole.write().await;
    let (server, place) = (server(), folder());
    furnish(&client, ROOM, &server, place.path()).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({"schedule": "0 3 1 1 *"}))).await;
    // What the operator itself keeps a Repository by is nobody's leftover.
    let own = json!({"metadata": {"finalizers": ["aquifer.dev/wipe-out"]}});
    patch::<Repository>(&client, ROOM, "repo", own).await;
    let clean = verb(rig, ROOM, &["migrate", "check"]).await;
    clean.is(0, "", "nothing in the namespace `migrate` stands in the way");
    assert_eq!(clean.stdout, "");
    // Who may see nothing is not told that all is well.
    let mut command = tokio::process::Command::new(super::aquifer());
    command.args(["kube", "migrate", "check", "-n", ROOM]);
    let blind = super::said(rig.cluster.kubeconfig_of("nobody").as_path(), command).await;
    blind.is(1, "the repositories could not be looked at", "could not be looked at");

    let exec = json!({"preBackup": {"exec": {"command": ["true"]}}});
    make::<BackupConfiguration>(&client, ROOM, configured("hooked", json!({"hooks": exec}))).await;
    let deployment = json!({"ref": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    let files = configured("files", json!({"target": deployment}));
    let files = make::<BackupConfiguration>(&client, ROOM, files).await;
    make::<BackupConfiguration>(&client, ROOM, configured("volume", json!({"driver": "VolumeSnapshotter"}))).await;
    make::<BackupConfiguration>(&client, ROOM, configured("sql", json!({"task": {"name": "postgres-backup-14"}})))
        .await;
    let mars = json!({"schedule": "0 3 * * 8", "timeZone": "Mars/Phobos"});
    make::<BackupConfiguration>(&client, ROOM, configured("mars", mars)).await;
    let lost = configured("lost", json!({"repository": {"name": "gone"}}));
    make::<BackupConfiguration>(&client, ROOM, lost).await;
    let two = json!({"metadata": {"name": "two"}, "spec": {
        "repository": {"name": "repo"}, "target": target(), "rules": [{"snapshots": ["aaaaaaaa", "bbbbbbbb"]}],
    }});
    make::<RestoreSession>(&client, ROOM, two).await;
    patch::<Repository>(&client, ROOM, "repo", json!({"metadata": {"finalizers": ["stash.appscode.com/wait"]}})).await;
    make::<CronJob>(&client, ROOM, cron_job("stash-trigger-files", Some(&files))).await;
    make::<CronJob>(&client, ROOM, cron_job("stash-trigger-volume", None)).await;
    make::<CronJob>(&client, ROOM, cron_job("stash-trigger-old", None)).await;
    apply(rig, STASH).await;
    apply(rig, BATCH).await;

    let found = verb(rig, ROOM, &["migrate", "check"]).await;
    let (undone, _, told) = kubectl(rig, &["delete", "--wait=false", "-f", "-"], STASH).await;
    assert!(undone, "{told}");
    found.is(1, "", "in the namespace `migrate`, 13 things would not work");
    for expected in [
        "stops  the Deployment `migrate/stash` is Stash's operator, and runs",
        "kubectl scale -n migrate deployment/stash --replicas=0",
        "stops  the ValidatingWebhookConfiguration `admission.stash.appscode.com` is Stash's",
        "stops  the APIService `v1alpha1.admission.stash.appscode.com` is answered by Stash's Service `migrate/stash`",
        "stops  the BackupConfiguration `migrate/hooked`: its hook before: it has an `exec`",
        "note   the BackupConfiguration `migrate/backup`: the BackupConfiguration `migrate/files` keeps its snapshots in the same place",
        "stops  the BackupConfiguration `migrate/files`: its target is of the kind `Deployment`",
        "stops  the BackupConfiguration `migrate/volume`: its driver is `VolumeSnapshotter`",
        "stops  the BackupConfiguration `migrate/sql`: the task `postgres-backup-14` is not among",
        "stops  the BackupConfiguration `migrate/mars` has a schedule that is none: ",
        "unknown time zone Mars/Phobos",
        "note   the BackupConfiguration `migrate/hooked` has no schedule",
        "stops  the BackupConfiguration `migrate/lost`: the Repository `migrate/gone` is not there",
        "stops  the RestoreSession `migrate/two`: its rule names several snapshots",
        "stops  the Repository `migrate/repo` has the finalizer `stash.appscode.com/wait`",
        r#"kubectl patch repositories repo -n migrate --type=merge -p '{"metadata":{"finalizers":null}}'"#,
        "note   the CronJob `migrate/stash-trigger-files` is Stash's, of the BackupConfiguration `files`",
        "stops  the CronJob `migrate/stash-trigger-volume` has the name of that of the BackupConfiguration `volume`",
        "note   the CronJob `migrate/stash-trigger-old` is of nothing that is known here",
        "stops  the BackupBatch `migrate/all` is of a kind that is not known here",
    ] {
        assert!(found.stdout.contains(expected), "`{expected}` is missing: {found:#?}");
    }

    verb(rig, ROOM, &["migrate", "check", "-A"]).await.is(2, "", "cannot be used with");
    verb(rig, ROOM, &["migrate"]).await.is(2, "", "kube migrate [OPTIONS] <COMMAND>");
}
