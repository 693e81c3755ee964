//! A control plane: etcd, the API server and the controller manager, as `./test all` builds them.
//!
//! Takes nothing. Gives a cluster of its own that is ready: it answers, and its controllers make what every namespace has. RBAC, the admission of
//! pods' security and that of service accounts are on. Always holds: it listens on 127.0.0.1 alone; its processes end with the value, or the
//! test's process.

use std::path::{Path, PathBuf};
use std::time::Instant;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{from_value, json};

use super::certificates;
use super::guard::Guard;
use super::wait::{PATIENCE, until};
use crate::stores::{free_port, installed};

const ETCD: &str = "etcd";
const SERVER: &str = "kube-apiserver";
const MANAGER: &str = "kube-controller-manager";

/// What the tests need, and what a person's cluster has that changes what they see.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,cronjob-controller,deployment-controller,disruption-controller,\
    garbage-collector-controller,job-controller,namespace-controller,node-lifecycle-controller,pod-garbage-collector-controller,\
    replicaset-controller,resourcequota-controller,root-ca-certificate-publisher-controller,serviceaccount-controller,\
    serviceaccount-token-controller,taint-eviction-controller,ttl-after-finished-controller";

/// A running control plane.
#[derive(Debug)]
pub struct Cluster {
    guard: Guard,
    port: u16,
    etcd: u16,
    kubeconfig: PathBuf,
}

/// One of its programs.
pub(super) fn program(name: &str) -> PathBuf {
    let path = PathBuf::from(installed(&format!("kubernetes/{name}")));
    assert!(path.exists(), "{} is missing: `./test all` builds it", path.display());
    path
}

impl Cluster {
    /// Starts one.
    ///
    /// # Panics
    /// `openssl` or the programs are missing, or they do not start.
    pub async fn start() -> Self {
        // A port may be taken by another between the moment it is found free and the moment the server takes it.
        for _ in 0..5 {
            let cluster = Self::begin();
            if cluster.ready().await {
                cluster.namespace_is_ready("default").await;
                return cluster;
            }
            let said = [ETCD, SERVER, MANAGER].map(|name| cluster.guard.said(name)).concat();
            assert!(said.contains("address already in use"), "the control plane does not start: {said}");
        }
        panic!("no port stays free");
    }

    fn begin() -> Self {
        let guard = Guard::new();
        let folder = guard.folder();
        certificates::make(folder);
        let (port, etcd, peers) = (free_port(), free_port(), free_port());
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = certificates::kubeconfig(folder, &url, "admin", Some("system:masters"));
        let [clients, peers] = [etcd, peers].map(|port| format!("http://127.0.0.1:{port}"));
        let args = [
            format!("--data-dir={}", folder.join("data").display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        guard.start(ETCD, &program(ETCD), &args);
        let cluster = Self { guard, port, etcd, kubeconfig };
        cluster.begin_server();
        cluster.begin_manager();
        cluster
    }

    fn file(&self, name: &str) -> String {
        self.guard.folder().join(name).display().to_string()
    }

    fn begin_server(&self) {
        let args = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // The address of this machine is none that pods of a network could use.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=PodSecurity,ServiceAccount".to_owned(),
            "--allow-privileged=true".to_owned(),
            // A lost node's pods are given up soon.
            "--default-not-ready-toleration-seconds=1".to_owned(),
            "--default-unreachable-toleration-seconds=1".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.file("accounts.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            format!("--kubelet-client-certificate={}", self.file("to-kubelets.crt")),
            format!("--kubelet-client-key={}", self.file("to-kubelets.key")),
            // A node's address is one of its own network, to which only its name leads here.
            "--kubelet-preferred-address-types=Hostname".to_owned(),
        ];
        self.guard.start(SERVER, &program(SERVER), &args);
    }

    fn begin_manager(&self) {
        let args = [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            // It serves nothing: two of them on a machine would fight for a port.
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            format!("--controllers={CONTROLLERS}"),
            format!("--root-ca-file={}", self.file("ca.crt")),
            format!("--service-account-private-key-file={}", self.file("accounts.key")),
            "--node-monitor-period=1s".to_owned(),
            "--node-monitor-grace-period=20s".to_owned(),
        ];
        self.guard.start(MANAGER, &program(MANAGER), &args);
    }

    /// Whether the API server became ready; not where one of the servers ended.
    async fn ready(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.guard.ended(ETCD) || self.guard.ended(SERVER) {
                return false;
            }
            let asked = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            if self.client().await.request_text(asked).await.is_ok() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    async fn namespace_is_ready(&self, name: &str) {
        let client = self.client().await;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
        let maps: Api<ConfigMap> = Api::namespaced(client, name);
        let said = || self.guard.said(MANAGER);
        until(&format!("what every namespace has, in {name}"), async || {
            assert!(!self.guard.ended(MANAGER), "the controller manager ended: {}", said());
            let account = accounts.get_opt("default").await.ok()??;
            let authority = maps.get_opt("kube-root-ca.crt").await.ok()??;
            Some((account, authority))
        })
        .await;
    }

    /// The file by which `kubectl` and others are its administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The file for a user of this name, whom nothing is allowed yet.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        certificates::kubeconfig(self.guard.folder(), &format!("https://127.0.0.1:{}", self.port), user, None)
    }

    /// The same, for one who is of a group.
    pub(super) fn kubeconfig_in(&self, user: &str, group: &str) -> PathBuf {
        certificates::kubeconfig(self.guard.folder(), &format!("https://127.0.0.1:{}", self.port), user, Some(group))
    }

    /// What ends its processes with it.
    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Waits until a node of it is ready, and may be given pods.
    ///
    /// # Panics
    /// It never is.
    pub(super) async fn node_is_ready(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client().await);
        until(&format!("node {name} is ready"), async || {
            let node = nodes.get_opt(name).await.ok()??;
            let untainted = node.spec?.taints.unwrap_or_default().is_empty();
            let mut conditions = node.status?.conditions?.into_iter();
            (untainted && conditions.any(|is| is.type_ == "Ready" && is.status == "True")).then_some(())
        })
        .await;
    }

    /// A client that is its administrator. It belongs to the runtime that asks: each test has its own.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// The port of its API server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files, which is gone with it.
    pub fn folder(&self) -> &Path {
        self.guard.folder()
    }

    /// Makes a namespace, and waits until pods can be made in it. Labels are pairs.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let namespace = from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(self.client().await);
        namespaces.create(&PostParams::default(), &namespace).await.expect("made");
        self.namespace_is_ready(name).await;
    }

    /// Kills the API server. What it stored stays.
    pub fn stop_server(&self) {
        self.guard.kill(SERVER);
    }

    /// Starts the API server again, on the same port; it is ready when this comes back.
    ///
    /// # Panics
    /// It runs, or it does not start.
    pub async fn start_server(&self) {
        self.begin_server();
        assert!(self.ready().await, "the API server does not start again: {}", self.guard.said(SERVER));
    }

    /// Starts a program beside the cluster, which ends with it. It is called by this name.
    ///
    /// # Panics
    /// It cannot be started, or one of this name runs.
    pub fn run(&self, name: &str, program: &Path, args: &[String], variables: &[(&str, String)]) {
        self.guard.start_with(name, program, args, variables);
    }

    /// Starts a program again that was started so and has ended by itself with this exit status. One that was killed stays so.
    pub fn start_again(&self, name: &str, after: i32) {
        self.guard.start_again(name, after);
    }

    /// Kills a program that was started so, as a crash would.
    pub fn kill(&self, name: &str) {
        self.guard.kill(name);
    }

    /// Asks a program that was started so to end, and waits for it; gives whether it succeeded. Nothing where it does not run.
    ///
    /// # Panics
    /// It cannot be asked.
    pub fn end(&self, name: &str) -> Option<bool> {
        let process = i32::try_from(self.guard.process(name)?).expect("an id");
        kill(Pid::from_raw(process), Signal::SIGTERM).expect("it runs");
        self.guard.wait(name)
    }

    /// Whether a program that was started so has ended by itself.
    pub fn ended(&self, name: &str) -> bool {
        self.guard.ended(name)
    }

    /// The id of a program's process that was started so.
    pub fn process(&self, name: &str) -> Option<u32> {
        self.guard.process(name)
    }

    /// What a program that was started so has said, its last 4000 bytes.
    pub fn said(&self, name: &str) -> String {
        self.guard.said(name)
    }

    /// Kills the controller manager: nobody looks after jobs any more.
    pub fn stop_manager(&self) {
        self.guard.kill(MANAGER);
    }

    /// Starts the controller manager again.
    ///
    /// # Panics
    /// It runs.
    pub fn start_manager(&self) {
        self.begin_manager();
    }
}

/// A client by a file.
///
/// # Panics
/// The file cannot be read.
pub async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a kubeconfig");
    Client::try_from(config).expect("a client")
}
