//! The definitions of our kinds, given to a real API server by a real `kubectl`, and what it makes of manifests.

mod manifests;
mod statuses;
mod wrong;

use std::process::Stdio;

use aquifer_operator::crds;
use aquifer_tests::kubernetes::wait::until;
use aquifer_tests::stores::installed;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell};

use super::rig::{Rig, room};

static DEFINED: OnceCell<()> = OnceCell::const_new();

/// A namespace of a cluster that has the definitions.
pub(super) async fn defined(name: &'static str) -> (&'static Rig, kube::Client) {
    let (rig, client) = room(name).await;
    DEFINED
        .get_or_init(async || {
            let _free = rig.whole.read().await;
            let documents = crds::documents().expect("YAML");
            let (done, stdout, told) = kubectl(rig, &["apply", "--server-side", "-f", "-"], &documents).await;
            assert!(done && told.is_empty(), "{stdout}{told}");
            let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
            for definition in crds::all() {
                let name = definition.metadata.name.expect("a name");
                until(&format!("{name} is established"), async || {
                    let stored = definitions.get(&name).await.ok()?;
                    is_so(&stored, "Established").then_some(())
                })
                .await;
            }
        })
        .await;
    (rig, client)
}

fn is_so(definition: &CustomResourceDefinition, what: &str) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == what && one.status == "True")
}

/// A hook with a port that nobody can read, for what is said of a BackupConfiguration that was stored before the schema refused it.
pub(super) fn unreadable() -> Value {
    json!({"spec": {"hooks": {"preBackup": {"tcpSocket": {"port": 99_999_999_999_i64}}}}})
}

/// Has `kubectl` store that by a schema that takes it, as older ones did; then the schema is ours again.
pub(super) async fn store_unreadable(rig: &Rig, args: &[&str], stdin: &str) {
    static ONE: Mutex<()> = Mutex::const_new(());
    let bound = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/hooks/properties/preBackup/properties/tcpSocket/properties/port/maximum";
    let change = async |change: Value| {
        let patch = json!([change]).to_string();
        let definition = "backupconfigurations.stash.appscode.com";
        let (done, _, told) = kubectl(rig, &["patch", "crd", definition, "--type=json", "-p", &patch], "").await;
        assert!(done, "{told}");
    };
    let alone = ONE.lock().await;
    change(json!({"op": "remove", "path": bound})).await;
    until("the schema takes any port", async || kubectl(rig, args, stdin).await.0.then_some(())).await;
    change(json!({"op": "add", "path": bound, "value": 65535})).await;
    drop(alone);
}

/// Runs `kubectl` as the administrator; gives whether it succeeded, its stdout and its stderr.
pub(super) async fn kubectl(rig: &Rig, args: &[&str], stdin: &str) -> (bool, String, String) {
    let mut command = Command::new(installed("kubernetes/kubectl"));
    command
        .arg("--kubeconfig")
        .arg(rig.cluster.kubeconfig())
        .arg("--cache-dir")
        .arg(rig.cluster.folder().join("cache"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("`./test all` builds it");
    let mut pipe = child.stdin.take().expect("piped");
    let text = stdin.to_owned();
    // It may end without reading all.
    let writing = tokio::spawn(async move { pipe.write_all(text.as_bytes()).await });
    let done = child.wait_with_output().await.expect("it ends");
    drop(writing.await);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

/// What was asked for and is not there, by its path.
fn missing(asked: &Value, there: &Value, path: &str, found: &mut Vec<String>) {
    match (asked, there) {
        (Value::Object(asked), Value::Object(there)) => {
            for (name, value) in asked {
                missing(value, there.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"), found);
            }
        }
        (Value::Array(asked), Value::Array(there)) if asked.len() == there.len() => {
            for (number, (asked, there)) in asked.iter().zip(there).enumerate() {
                missing(asked, there, &format!("{path}[{number}]"), found);
            }
        }
        _ if asked == there => {}
        _ => found.push(format!("{path}: {asked} became {there}")),
    }
}

#[tokio::test]
async fn all_definitions_are_established() {
    let (_, client) = defined("established").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let mut kinds = Vec::new();
    for definition in crds::all() {
        let stored = definitions.get(definition.metadata.name.as_deref().expect("a name")).await.expect("there");
        assert!(is_so(&stored, "NamesAccepted"), "{:?}", stored.status);
        assert!(!is_so(&stored, "NonStructuralSchema"), "{:?}", stored.status);
        let names = stored.spec.names;
        kinds.push(format!("{} {} {}", names.kind, names.plural, names.short_names.unwrap_or_default().join(",")));
    }
    assert_eq!(
        kinds,
        [
            "AppBinding appbindings ",
            "BackupBlueprint backupblueprints bb",
            "BackupConfiguration backupconfigurations bc",
            "BackupSession backupsessions bs",
            "Function functions fn",
            "Repository repositories repo",
            "RestoreSession restoresessions restore",
            "Task tasks ",
            "Function aquiferfunctions aqf",
            "Task aquifertasks aqt",
        ]
    );
}
