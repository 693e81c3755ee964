//! A real node: a kubelet of the cluster's version, with Debian's containerd and runc, on a machine of its own on this one.
//!
//! Takes a cluster. Gives a node that is ready, of which a cluster has one. Nobody gives it pods but who names it: there is no scheduler, and a pod's `nodeName` says it. Its pods
//! are on a network of their own, where they reach what [`RealNode::reach`] led them to, and nothing else. Always holds: it is gone with the
//! cluster, however that ends, with its processes, mounts, cgroups and networks; nothing of this machine is another for it.
//!
//! It is a whole kubelet in all but this: it evicts nobody for want of room on
//! the disk, for that is this machine's, and the settings of the kernel that it makes are copies.

mod machine;
mod road;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use self::machine::{ADDRESS, Machine};
use super::cluster::Cluster;
use crate::stores::free_port;

/// A running node.
#[derive(Debug)]
pub struct RealNode {
    machine: Machine,
}

/// What the machine is called, and its log.
const MACHINE: &str = "real";

fn configuration(cluster: &Cluster, port: u16) -> String {
    let none = "0%";
    json!({
        "port": port,
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": false},
            "x509": {"clientCAFile": cluster.folder().join("ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "readOnlyPort": 0,
        "healthzPort": 0,
        "resolvConf": "",
        "evictionHard": {"memory.available": none, "nodefs.available": none, "nodefs.inodesFree": none, "imagefs.available": none, "imagefs.inodesFree": none},
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        // It may not make itself less likely to be killed than the test is.
        "oomScoreAdj": 0,
        "nodeLeaseDurationSeconds": 12,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    })
    .to_string()
}

impl RealNode {
    /// Its name: the API server reaches its kubelet by it.
    pub const NAME: &str = "localhost";

    /// Starts one; it is ready when this comes back. The cluster has it until its end.
    ///
    /// # Panics
    /// This is not root, a program is missing, cgroups are not of the first version, or it does not start.
    pub async fn start(cluster: &Cluster) -> Self {
        let (name, port) = (Self::NAME, free_port());
        let config = cluster.folder().join(format!("{MACHINE}.kubelet"));
        std::fs::write(&config, configuration(cluster, port)).expect("room");
        let kubeconfig = cluster.kubeconfig_in(&format!("system:node:{name}"), "system:nodes");
        let program = [
            super::cluster::program("kubelet").display().to_string(),
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={name}"),
            format!("--node-ip={ADDRESS}"),
        ];
        let machine = Machine::start(cluster.guard(), MACHINE, &program).await;
        // At the address that its file says, which is there the machine's own.
        road::open(&machine, "127.0.0.1", cluster.port());
        road::back(&machine, ADDRESS, port);
        let node = Self { machine };
        tokio::select! {
            () = cluster.node_is_ready(name) => node,
            () = node.end(cluster) => panic!("the node does not start: {}", cluster.said(MACHINE)),
        }
    }

    /// Waits until it has ended by itself.
    async fn end(&self, cluster: &Cluster) {
        while !cluster.ended(MACHINE) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Gives it an image, an archive of OCI's form, by the name that stands in it.
    ///
    /// # Panics
    /// It is none.
    pub fn import(&self, archive: &Path) {
        self.machine.import(archive);
    }

    /// Gives it an image of this name, whose only file is a program of this source in C: `/program`.
    ///
    /// # Panics
    /// It is none.
    pub fn program(&self, tag: &str, source: &str) {
        self.machine.import(&self.machine.program(tag, source));
    }

    /// Leads its pods to a server on a port of 127.0.0.1: gives the address at which they find it, on the same port.
    ///
    /// # Panics
    /// It was led there already.
    pub fn reach(&self, port: u16) -> &'static str {
        road::open(&self.machine, ADDRESS, port);
        ADDRESS
    }

    /// The processes of a pod of this uid that run this program, by their ids on this machine.
    pub fn processes(&self, pod: &str, program: &str) -> Vec<i32> {
        let is = |process: &PathBuf| {
            let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
            read("comm").trim() == program && read("cgroup").contains(&format!("/pod{pod}/"))
        };
        let all = std::fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path());
        all.filter(is).filter_map(|process| process.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// What a pod's container has written to its output, with the time and the stream before each line, as long as the pod is there.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> String {
        self.machine.log(&format!("{namespace}_{pod}_"), container)
    }
}
