//! A session to a Job, whose pod runs the engine.
//!
//! Takes a session's document and secrets, and what its runtime settings say. Gives the Job, and a Secret with what cannot be mounted from where it
//! stands. Always holds: no secret is in an argument, a variable or an annotation; the pod has no token for the cluster's API; it passes
//! Kubernetes' restricted standard unless its settings or a volume of the node ask for more; it is run once, and again only where its node
//! was taken from it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use serde_json::{Value as Json, json};

use super::names::{DATABASE, HOST, MANAGED_BY, OF, REPOSITORY, SESSION, SHARDS, US, label};
use crate::resources::backend::LocalBackend;
use crate::resources::runtime::{RuntimeSettings, TempDir};
use crate::session::{Held, Session};

/// The folder of a session's files in its pod.
pub const FOLDER: &str = "/etc/aquifer/session";

/// The task's document in that folder.
pub const TASK_FILE: &str = "task.json";

/// The file in it with a pod's number among those of a session, from 0 on, where several run it.
pub const INDEX: &str = "index";

/// The folder in it with a file for each secret param.
pub const PARAMS: &str = "params";

/// The folder in it with the files that the task names.
pub const FILES: &str = "files";

/// The annotation by which the Job's controller numbers the pods of a Job that has several.
pub(super) const POD_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The annotation that the document stands in.
pub(super) const TASK: &str = "aquifer.dev/task";

/// The name of the pod's only container.
pub(super) const CONTAINER: &str = "aquifer";

/// The user of the pod: `nonroot` in many images, and in ours.
const USER: i64 = 65532;

/// How long a Job stays after its end that goes with nothing, in seconds.
const STAYS: i32 = 600;

/// How long the engine has to stop.
const GRACE: i64 = 60;

/// What a Job is made of.
#[derive(Debug)]
pub(super) struct Wanted<'w> {
    /// Its name and namespace.
    pub(super) name: String,
    /// The namespace, which is that of the session.
    pub(super) namespace: String,
    /// The session's name.
    pub(super) session: &'w str,
    /// The uid of what it is made for.
    pub(super) uid: &'w str,
    /// What its pods are called in repositories' locks, with their numbers where there are several: of what asks for it, one session runs at a time.
    pub(super) host: String,
    /// More labels.
    pub(super) labels: BTreeMap<String, String>,
    /// The database that it reads or writes, as a label has it.
    pub(super) database: Option<String>,
    /// What it goes with; by itself, some time after its end, where that is nothing.
    pub(super) owner: Option<OwnerReference>,
    /// The repository that a backup is stored in, as `namespace/name`.
    pub(super) repository: Option<String>,
    /// What is run.
    pub(super) run: &'w Session,
    /// The image with the engine.
    pub(super) image: &'w str,
    /// How its pod runs.
    pub(super) settings: Option<&'w RuntimeSettings>,
    /// Its room for temporary files.
    pub(super) temp_dir: Option<&'w TempDir>,
    /// The volume that the repository lies on.
    pub(super) volume: Option<&'w LocalBackend>,
    /// How long it may take.
    pub(super) deadline: Duration,
}

/// The Job, and the Secret that it needs beside those of its namespace.
///
/// # Errors
/// The runtime settings cannot be put into a pod.
pub(super) fn job(wanted: &Wanted<'_>) -> Result<(Job, Option<Secret>), String> {
    let (sources, copied) = sources(wanted);
    let mut labels = wanted.labels.clone();
    labels.insert(MANAGED_BY.to_owned(), US.to_owned());
    labels.insert(SESSION.to_owned(), label(wanted.session));
    labels.insert(OF.to_owned(), wanted.uid.to_owned());
    labels.extend(wanted.database.clone().map(|database| (DATABASE.to_owned(), database)));
    let metadata = ObjectMeta {
        name: Some(wanted.name.clone()),
        namespace: Some(wanted.namespace.clone()),
        labels: Some(labels.clone()),
        annotations: Some(annotations(wanted)),
        owner_references: wanted.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    let template = template(wanted, &labels, sources)?;
    let several = wanted.run.shards;
    let spec = json!({
        "completionMode": several.map(|_| "Indexed"),
        "completions": several,
        "parallelism": several,
        "ttlSecondsAfterFinished": wanted.owner.is_none().then_some(STAYS),
        "backoffLimit": 0,
        // A pod that its node was taken from says nothing about the backup.
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
        "activeDeadlineSeconds": i64::try_from(wanted.deadline.as_secs()).unwrap_or(i64::MAX).max(1),
        "template": template,
    });
    let spec = serde_json::from_value(spec).map_err(|error| format!("`runtimeSettings`: {error}"))?;
    let secret = (!copied.is_empty()).then(|| Secret {
        metadata: metadata.clone(),
        data: Some(copied),
        immutable: Some(true),
        ..Secret::default()
    });
    Ok((Job { metadata, spec: Some(spec), ..Job::default() }, secret))
}

fn annotations(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let repository = wanted.repository.clone().map(|name| (REPOSITORY.to_owned(), name));
    let shards = wanted.run.shards.map(|shards| (SHARDS.to_owned(), shards.to_string()));
    let host = (HOST.to_owned(), wanted.host.clone());
    repository.into_iter().chain(shards).chain([host]).collect()
}

/// The parts of the volume with the session's files, and the values that no Secret of the namespace has.
fn sources(wanted: &Wanted<'_>) -> (Vec<Json>, BTreeMap<String, ByteString>) {
    let task = json!({"path": TASK_FILE, "fieldRef": {"fieldPath": format!("metadata.annotations['{TASK}']")}});
    let index = json!({"path": INDEX, "fieldRef": {"fieldPath": format!("metadata.annotations['{POD_INDEX}']")}});
    let items: Vec<Json> = [task].into_iter().chain(wanted.run.shards.map(|_| index)).collect();
    let mut sources = vec![json!({"downwardAPI": {"items": items}})];
    let mut copied = BTreeMap::new();
    let mut mounted: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    let params = wanted.run.secrets.iter().map(|(name, held)| (format!("{PARAMS}/{name}"), held));
    let files = wanted.run.files.iter().map(|(name, held)| (format!("{FILES}/{name}"), held));
    for (path, Held { bytes, from }) in params.chain(files) {
        match from {
            Some(from) if from.namespace == wanted.namespace => {
                mounted.entry(&from.secret).or_default().push(json!({"key": from.key, "path": path}));
            }
            _ => {
                let key = path.replace('/', ".");
                mounted.entry(&wanted.name).or_default().push(json!({"key": key, "path": path}));
                copied.insert(key, ByteString(bytes.clone()));
            }
        }
    }
    sources.extend(mounted.into_iter().map(|(name, items)| json!({"secret": {"name": name, "items": items}})));
    (sources, copied)
}

fn template(wanted: &Wanted<'_>, labels: &BTreeMap<String, String>, sources: Vec<Json>) -> Result<Json, String> {
    let mut room = json!({});
    if let Some(temp) = wanted.temp_dir {
        merge(&mut room, json!({"medium": temp.medium, "sizeLimit": temp.size_limit}));
    }
    let mut volumes = vec![
        json!({"name": "session", "projected": {"defaultMode": 0o440, "sources": sources}}),
        json!({"name": "tmp", "emptyDir": room}),
    ];
    let mut mounts = vec![
        json!({"name": "session", "mountPath": FOLDER, "readOnly": true}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    if let Some(local) = wanted.volume {
        let mut volume = serde_json::to_value(local).map_err(|error| error.to_string())?;
        if let Some(volume) = volume.as_object_mut() {
            volume.remove("mountPath");
            volume.remove("subPath");
            volume.insert("name".to_owned(), json!("repository"));
        }
        volumes.push(volume);
        mounts.push(json!({"name": "repository", "mountPath": local.mount_path}));
    }
    let mut container = json!({
        "name": CONTAINER,
        "image": wanted.image,
        "command": ["/usr/local/bin/aquifer"],
        // A lock that a pod before it left behind is known by this name, and is nobody's.
        "args": ["kube", "work", FOLDER, format!("--host={}", wanted.host)],
        "volumeMounts": mounts,
        // Its own last words where it has some, else the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    });
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes,
    });
    let task = wanted.run.documents().map(Json::to_string).collect::<Vec<_>>().join("\n---\n");
    let mut metadata = json!({"labels": {}, "annotations": {}});
    if let Some(settings) = wanted.settings {
        own_settings(settings, &mut metadata, &mut pod, &mut container)?;
    }
    // Whatever its settings say: what it does needs no right in the cluster.
    pod["automountServiceAccountToken"] = json!(false);
    merge(&mut metadata, json!({"labels": labels, "annotations": {TASK: task}}));
    pod["containers"] = json!([container]);
    Ok(json!({"metadata": metadata, "spec": pod}))
}

/// Puts what the runtime settings say over what a pod has by itself.
fn own_settings(
    settings: &RuntimeSettings,
    metadata: &mut Json,
    pod: &mut Json,
    container: &mut Json,
) -> Result<(), String> {
    let json = |value: serde_json::Result<Json>| value.map_err(|error| format!("`runtimeSettings`: {error}"));
    if let Some(own) = &settings.pod {
        let mut own = json(serde_json::to_value(own))?;
        let map = own.as_object_mut();
        for (from, to) in [("podLabels", "labels"), ("podAnnotations", "annotations")] {
            let value = map.as_deref().and_then(|map| map.get(from)).cloned().unwrap_or_default();
            merge(&mut metadata[to], value);
        }
        if let Some(map) = map {
            // Its account's annotations are of the account, which is not made here.
            ["podLabels", "podAnnotations", "serviceAccountAnnotations"]
                .iter()
                .for_each(|name| drop(map.remove(*name)));
            map.retain(|_, value| !is_empty(value));
        }
        merge(pod, own);
    }
    if let Some(own) = &settings.container {
        let mut own = json(serde_json::to_value(own))?;
        if let Some(map) = own.as_object_mut() {
            map.remove("nice");
            map.remove("ionice");
            map.retain(|_, value| !is_empty(value));
        }
        merge(container, own);
    }
    // Who asks for root asks for it.
    let roots = [&pod["securityContext"], &container["securityContext"]].map(|context| context["runAsUser"] == 0);
    if roots.contains(&true)
        && let Some(context) = pod["securityContext"].as_object_mut()
    {
        context.remove("runAsNonRoot");
    }
    Ok(())
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(all) => all.is_empty(),
        Json::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// Puts one value over another: maps field by field, and what says nothing changes nothing.
fn merge(to: &mut Json, from: Json) {
    match (to, from) {
        (Json::Object(to), Json::Object(from)) => {
            for (name, value) in from {
                match to.get_mut(&name) {
                    Some(old) => merge(old, value),
                    None if value.is_null() => {}
                    None => drop(to.insert(name, value)),
                }
            }
        }
        (_, Json::Null) => {}
        (to, from) => *to = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SecretKey;

    fn held(namespace: &str, secret: &str, key: &str, value: &str) -> Held {
        let from = SecretKey { namespace: namespace.into(), secret: secret.into(), key: key.into() };
        Held { bytes: value.into(), from: Some(from) }
    }

    fn run() -> Session {
        Session {
            document: json!({"kind": "Task"}),
            functions: Vec::new(),
            secrets: BTreeMap::from([
                ("redisPassword".to_owned(), held("shop", "auth", "password", "open-sesame")),
                ("repositoryPassword".to_owned(), held("store", "keys", "RESTIC_PASSWORD", "correct-horse")),
            ]),
            files: BTreeMap::from([("ca.crt".to_owned(), Held { bytes: b"PEM".into(), from: None })]),
            notes: Vec::new(),
            asker: None,
            shards: None,
        }
    }

    fn made(run: &Session, settings: Json) -> (Json, Option<Secret>) {
        let settings: RuntimeSettings = serde_json::from_value(settings).expect("settings");
        let wanted = Wanted {
            name: "stash-backup-s".into(),
            namespace: "shop".into(),
            session: "s",
            host: "s".into(),
            labels: BTreeMap::new(),
            uid: "6b1d",
            database: None,
            owner: Some(OwnerReference::default()),
            repository: Some("store/repo".into()),
            run,
            image: "aquifer:1",
            settings: Some(&settings),
            temp_dir: None,
            volume: None,
            deadline: Duration::from_secs(60),
        };
        let (job, secret) = job(&wanted).expect("a job");
        (serde_json::to_value(job).expect("JSON"), secret)
    }

    #[test]
    fn secrets_are_mounted_from_where_they_stand_or_copied() {
        let (job, secret) = made(&run(), json!({}));
        let copied = secret.expect("those of another namespace").data.expect("data");
        let keys: Vec<_> = copied.keys().map(String::as_str).collect();
        assert_eq!(keys, ["files.ca.crt", "params.repositoryPassword"]);
        let sources = job["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"].clone();
        assert_eq!(
            sources[1],
            json!({"secret": {"name": "auth", "items": [{"key": "password", "path": "params/redisPassword"}]}})
        );
        assert_eq!(sources[2]["secret"]["name"], "stash-backup-s");
        let text = job.to_string();
        assert!(!text.contains("open-sesame") && !text.contains("correct-horse"), "{text}");
    }

    #[test]
    fn each_shard_has_a_pod_that_knows_its_number() {
        let (job, _) = made(&Session { shards: Some(3), ..run() }, json!({}));
        let spec = &job["spec"];
        assert_eq!(
            (&spec["completionMode"], &spec["completions"], &spec["parallelism"]),
            (&json!("Indexed"), &json!(3), &json!(3))
        );
        let items = &spec["template"]["spec"]["volumes"][0]["projected"]["sources"][0]["downwardAPI"]["items"];
        assert_eq!(items[1]["path"], INDEX);
        assert_eq!(job["metadata"]["annotations"][SHARDS], "3");
        let (job, _) = made(&run(), json!({}));
        assert_eq!(job["spec"]["completions"], Json::Null);
        assert!(!job.to_string().contains(POD_INDEX));
    }

    #[test]
    fn a_pod_is_restricted_until_its_settings_ask_for_more() {
        let (job, _) = made(&run(), json!({}));
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        let asked = json!({
            "pod": {"securityContext": {"runAsUser": 0}, "nodeSelector": {"disk": "fast"}, "podLabels": {"team": "shop"}},
            "container": {"resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "RUST_LOG", "value": "info"}], "nice": {"adjustment": 5}},
        });
        let (job, _) = made(&run(), asked);
        let (pod, labels) = (&job["spec"]["template"]["spec"], &job["spec"]["template"]["metadata"]["labels"]);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], Json::Null);
        assert_eq!(
            (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["fsGroup"]),
            (&json!(0), &json!(USER))
        );
        assert_eq!((&pod["nodeSelector"]["disk"], &labels["team"]), (&json!("fast"), &json!("shop")));
        assert_eq!(labels[MANAGED_BY], US);
        let container = &pod["containers"][0];
        assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
        assert_eq!(container["env"][0]["name"], "RUST_LOG");
    }
}
