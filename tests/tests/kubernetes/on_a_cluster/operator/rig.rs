//! An operator that runs, a Pushgateway, and what a user of Stash has: manifests of a database and a place to keep it in.

use std::fmt::Debug;
use std::path::Path;

use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_tests::kubernetes::wait::{PATIENCE, until};
use aquifer_tests::redis_server::RedisServer;
use aquifer_tests::stores::free_port;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::super::definitions::kubectl;
use super::super::deployment::{OPERATOR, SYSTEM, installed};
use super::super::rig::{AQUIFER, Rig, aquifer};

/// Where the first operator and the gateway answer.
pub(in super::super) struct Ports {
    pub(in super::super) operator: u16,
    pub(in super::super) gateway: u16,
}

static PORTS: OnceCell<Ports> = OnceCell::const_new();

/// What the operator is told, beside where it listens and who it is.
pub(in super::super) fn arguments(port: u16, gateway: u16, name: &str) -> Vec<String> {
    let args = [
        "operator".to_owned(),
        format!("--image={AQUIFER}"),
        format!("--pushgateway=http://127.0.0.1:{gateway}"),
        format!("--listen=127.0.0.1:{port}"),
        format!("--namespace={SYSTEM}"),
        format!("--identity={name}"),
        "--start-timeout=15s".to_owned(),
        "--exec-hooks".to_owned(),
    ];
    args.into()
}

/// Starts an operator of this name.
pub(in super::super) fn start(rig: &Rig, name: &str, port: u16, gateway: u16) {
    let kubeconfig = rig.cluster.kubeconfig_of(OPERATOR).display().to_string();
    let variables = [("KUBECONFIG", kubeconfig), ("RUST_LOG", "info,kube_client=warn".to_owned())];
    rig.cluster.run(name, &aquifer(), &arguments(port, gateway, name), &variables);
}

/// Starts the operator again where it has ended by itself, as its Deployment would: it does so where the API server is away for longer than its lease
/// counts, which a busy machine may take to start one. With another exit status, such as that of a panic, it stays ended, and what waits for it fails.
fn keep(rig: &Rig) {
    loop {
        std::thread::sleep(std::time::Duration::from_millis(200));
        rig.cluster.start_again("operator", 1);
    }
}

/// A server that answers nothing as long as this is there: what reads it has begun then, and is not done.
pub(in super::super) struct Held(u32);

/// Holds it.
pub(in super::super) fn hold(server: &RedisServer) -> Held {
    signals_to(server.pid())("-STOP");
    Held(server.pid())
}

impl Drop for Held {
    fn drop(&mut self) {
        signals_to(self.0)("-CONT");
    }
}

/// What a process of this id is sent by the names of signals.
pub(in super::super) fn signals_to(process: u32) -> impl Fn(&str) + use<> {
    move |name| {
        let done = std::process::Command::new("kill").args([name, &process.to_string()]).status().expect("kill");
        assert!(done.success());
    }
}

/// A namespace of a cluster with an operator.
pub(in super::super) async fn operated(name: &'static str) -> (&'static Rig, Client, &'static Ports) {
    let (rig, client) = installed(name).await;
    let ports = PORTS
        .get_or_init(async || {
            let ports = Ports { operator: free_port(), gateway: free_port() };
            // What nobody can read must not keep an operator from all the rest, whenever it begins.
            let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
            let deep = format!(
                r#"{{"apiVersion":"appcatalog.appscode.com/v1alpha1","kind":"AppBinding","metadata":{{"name":"deep","namespace":"default"}},"spec":{{"clientConfig":{{"url":"redis://r"}},"parameters":{deep}}}}}"#
            );
            let (done, _, told) = kubectl(rig, &["create", "-f", "-"], &deep).await;
            assert!(done, "{told}");
            let listen = format!("--web.listen-address=127.0.0.1:{}", ports.gateway);
            // Debian's keeps what was pushed in a file of the system's: what an earlier run pushed would be taken for what this one did.
            let gateway = [listen, "--persistence.file=".to_owned()];
            rig.cluster.run("gateway", Path::new("prometheus-pushgateway"), &gateway, &[]);
            start(rig, "operator", ports.operator, ports.gateway);
            let ready = format!("http://127.0.0.1:{}/readyz", ports.operator);
            let begun = std::time::Instant::now();
            until("an operator that is ready", async || {
                let is_well = !rig.cluster.ended("operator") && begun.elapsed().as_secs() < 60;
                assert!(is_well, "{}", rig.cluster.said("operator"));
                let answer = reqwest::get(&ready).await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
            std::thread::spawn(move || keep(rig));
            ports
        })
        .await;
    (rig, client, ports)
}

/// Where they answer, once there is an operator.
pub(in super::super) fn ports() -> &'static Ports {
    PORTS.get().expect("an operator was started")
}

/// What a page of an operator or of the gateway says.
pub(in super::super) async fn page(port: u16) -> String {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("an answer");
    answer.text().await.expect("text")
}

/// A Secret with the word of a repository.
pub(in super::super) fn storage_secret() -> Value {
    json!({"metadata": {"name": "storage"}, "stringData": {"RESTIC_PASSWORD": "correct-horse"}})
}

/// A repository in a folder of the node.
pub(in super::super) fn repository(folder: &Path) -> Value {
    // The pod is no root, and the folder is the test's.
    json!({"metadata": {"name": "repo"}, "spec": {"backend": {
        "local": {"hostPath": {"path": folder}, "mountPath": "/safe", "subPath": "redis"}, "storageSecretName": "storage",
    }}})
}

/// A folder that pods can write to.
pub(in super::super) fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("its own");
    folder
}

pub(in super::super) fn auth() -> Value {
    json!({"metadata": {"name": "auth"}, "stringData": {"password": "open-sesame"}})
}

/// A database.
pub(in super::super) fn binding(server: &RedisServer) -> Value {
    json!({"metadata": {"name": "db"}, "spec": {
        "type": "redis", "version": "7.0", "clientConfig": {"url": format!("redis://127.0.0.1:{}", server.port())}, "secret": {"name": "auth"},
    }})
}

/// A reference to the database.
pub(in super::super) fn target() -> Value {
    json!({"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}})
}

/// What asks for backups of it.
pub(in super::super) fn configuration(more: Value) -> Value {
    let mut spec = json!({
        "repository": {"name": "repo"},
        "target": target(),
        "retentionPolicy": {"name": "keep-last-2", "keepLast": 2, "prune": true},
    });
    for (name, value) in more.as_object().expect("a map") {
        spec[name] = value.clone();
    }
    json!({"metadata": {"name": "backup"}, "spec": spec})
}

/// A session by hand.
pub(in super::super) fn session(name: &str) -> Value {
    let invoker = json!({"apiGroup": "stash.appscode.com", "kind": "BackupConfiguration", "name": "backup"});
    json!({"metadata": {"name": name}, "spec": {"invoker": invoker}})
}

/// A server with a few keys.
pub(in super::super) fn server() -> RedisServer {
    RedisServer::with(&["--requirepass open-sesame", "--enable-debug-command yes"])
}

/// Waits until a resource is as asked; gives it.
pub(in super::super) async fn that<K, T>(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    is: impl Fn(&K) -> Option<T>,
) -> T
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let rig = super::super::rig::rig().await;
    let begun = std::time::Instant::now();
    until(&format!("{} {namespace}/{name} {what}", K::kind(&())), async || {
        let found = api.get_opt(name).await.ok().flatten();
        let in_time = begun.elapsed() < PATIENCE - std::time::Duration::from_secs(10);
        assert!(in_time, "{namespace}/{name} {what}: {found:#?}\n{}", rig.cluster.said("operator"));
        is(&found?)
    })
    .await
}

/// Waits until a session is over; gives it.
pub(in super::super) async fn over(client: &Client, namespace: &str, name: &str) -> BackupSession {
    that(client, namespace, name, "is over", |one: &BackupSession| {
        let phase = one.status.as_ref()?.phase?;
        (!matches!(phase, BackupPhase::Pending | BackupPhase::Running)).then(|| one.clone())
    })
    .await
}

/// Waits until a restore is over; gives it.
pub(in super::super) async fn restored(client: &Client, namespace: &str, name: &str) -> RestoreSession {
    that(client, namespace, name, "is over", |one: &RestoreSession| {
        let phase = one.status.as_ref()?.phase?;
        let goes_on = matches!(phase, RestorePhase::Pending | RestorePhase::Running | RestorePhase::Invalid);
        (!goes_on).then(|| one.clone())
    })
    .await
}

/// Changes a resource as `kubectl patch` does.
pub(in super::super) async fn patch<K>(client: &Client, namespace: &str, name: &str, patch: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
}
