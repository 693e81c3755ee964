//! A node: it takes pods and runs their containers as processes of this machine, and reports them as a kubelet does.
//!
//! Takes images, by name: what a container finds in its root besides this machine's `/usr`. Gives a node that is ready. There is no scheduler: a
//! node binds pods that have none, if they select no other. Always holds: a container sees its own root, its own processes, its own host name and
//! what its pod mounts, at their paths; all of them end with the value, or the test's process.
//!
//! It is no kubelet in this: there are no probes, no hooks, no limits of memory or processors, no network of a pod's own (a pod is on this
//! machine's), no updates of mounted secrets, and nobody answers `kubectl logs` and `kubectl exec`: logs are asked of the node.

mod container;
mod environment;
mod events;
mod pod;
mod registration;
mod run;
mod shared;
mod status;
mod volumes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::events::Event;
use self::shared::{Mode, Shared};
use super::cluster::Cluster;

/// What a container's image holds.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What is run where a container has no command.
    pub entrypoint: Vec<String>,
    /// Files and folders of this machine, each with its path in the container, to read there.
    pub files: Vec<(PathBuf, String)>,
    /// The user that its processes are where a pod says none; root without.
    pub user: Option<i64>,
}

impl Image {
    /// One with this program at `/usr/local/bin`, by its own name, which is run where a container has no command.
    ///
    /// # Panics
    /// The path has no name.
    pub fn of(program: &Path) -> Self {
        let name = program.file_name().expect("a name").to_string_lossy().into_owned();
        Self {
            entrypoint: vec![name.clone()],
            files: vec![(program.to_owned(), format!("/usr/local/bin/{name}"))],
            user: None,
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Its name, which is its host name too.
    pub name: String,
    /// The images that can be had, by name. A pod with another stays in `ImagePullBackOff`.
    pub images: BTreeMap<String, Image>,
    /// Whether it takes only pods that select it by `kubernetes.io/hostname`: others' pods are safe from what is done to it.
    pub reserved: bool,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts one; it is ready when this comes back.
    ///
    /// # Panics
    /// This is not root.
    pub async fn start(cluster: &Cluster, options: NodeOptions) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "a node mounts: run this test as root");
        let folder = cluster.folder().join("nodes").join(&options.name);
        std::fs::create_dir_all(&folder).expect("room");
        std::fs::write(folder.join("container.sh"), include_str!("node/container.sh")).expect("room");
        let shared = Arc::new(Shared::new(options, folder, cluster.kubeconfig().to_owned(), cluster.port()));
        let working = Arc::clone(&shared);
        // What its thread starts ends with the thread: a container is told of that by the kernel.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(events::work(working));
        });
        let node = Self { shared, thread: Some(thread) };
        cluster.node_is_ready(node.name()).await;
        node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// What a container has written to its output, of all its runs, also after its pod is gone.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> String {
        let folder = self.shared.logs(namespace, pod);
        let mut said = String::new();
        for run in 0.. {
            let Ok(more) = std::fs::read(folder.join(format!("{container}.{run}.log"))) else { break };
            said.push_str(&String::from_utf8_lossy(&more));
        }
        said
    }

    /// The process of a container that runs, by its id on this machine.
    pub fn process(&self, namespace: &str, pod: &str, container: &str) -> Option<i32> {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.shared.state().processes.get(&key).copied()
    }

    /// Kills a container's process with SIGKILL, as the kernel does when there is no memory left, and all that it started.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&self, namespace: &str, pod: &str, container: &str) {
        let process = self.process(namespace, pod, container).expect("the container runs");
        // It may have ended this moment.
        let _gone = kill(Pid::from_raw(process), Signal::SIGKILL);
    }

    /// Evicts a pod as a node does that has no memory left: it fails, and its processes have a second to end.
    ///
    /// # Panics
    /// The pod is not here.
    pub fn evict(&self, namespace: &str, pod: &str) {
        let state = self.shared.state();
        let found = state.pods.values().find(|found| found.namespace == namespace && found.name == pod);
        // One that is about to be gone needs nothing.
        drop(found.expect("the pod is on this node").events.send(Event::Evict));
    }

    /// An image can be had from now on.
    pub fn offer(&self, name: &str, image: Image) {
        self.shared.state().images.insert(name.to_owned(), image);
    }

    /// An image cannot be had any more: containers that are to start with it stay in `ImagePullBackOff`.
    pub fn withdraw(&self, name: &str) {
        self.shared.state().images.remove(name);
    }

    /// Loses the node: its processes are gone at once, and nobody reports that.
    pub fn lose(&self) {
        self.shared.turn(Mode::Lost);
    }

    /// Cuts the node off: its processes go on, and it neither hears nor reports anything.
    pub fn cut_off(&self) {
        self.shared.turn(Mode::CutOff);
    }

    /// Brings a node back that was lost or cut off. What ran when it was lost is reported as of unknown end.
    pub fn come_back(&self) {
        self.shared.turn(Mode::Working);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            drop(thread.join());
        }
    }
}
