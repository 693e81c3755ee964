//! Real clusters for tests: servers in cluster mode that know each other, slots moved, masters replaced.
//!
//! Takes how many masters there are to be. Gives a cluster in which every node agrees that all is well. Always holds: each
//! wait is for a condition, with an end; the servers end with the value.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::time::{Duration, Instant};

use crate::redis_server::{Certificates, RedisServer, free_port};

/// How long anything may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many slots there are.
const SLOTS: usize = 16384;

/// A running cluster.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters, in the order of their slots.
    pub masters: Vec<RedisServer>,
    /// One replica of each master, if any.
    pub replicas: Vec<RedisServer>,
}

/// Waits for a condition.
pub fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl RedisCluster {
    /// Masters that share the slots evenly, and a replica of each where wanted.
    pub fn start(masters: usize, replicas: bool, settings: &[&str]) -> Self {
        Self::of(masters, replicas, |more| RedisServer::with(&[more, settings].concat()))
    }

    /// The same of Valkey servers.
    pub fn valkey(masters: usize, replicas: bool) -> Self {
        Self::of(masters, replicas, RedisServer::valkey)
    }

    /// Valkey masters with four databases each.
    pub fn valkey_with_databases(masters: usize) -> Self {
        Self::of(masters, false, |more| RedisServer::valkey(&[more, &["--cluster-databases", "4"]].concat()))
    }

    /// The same, speaking TLS with everybody.
    pub fn tls(masters: usize, replicas: bool, certificates: &Certificates) -> Self {
        let settings = ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "optional"];
        Self::of(masters, replicas, |more| RedisServer::tls(certificates, &[more, &settings].concat()))
    }

    fn of(masters: usize, replicas: bool, server: impl Fn(&[&str]) -> RedisServer) -> Self {
        let node = || {
            // By itself it would be the port and 10000, which may not be a port.
            let bus = free_port().to_string();
            let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus, "--repl-diskless-sync-delay", "0"];
            all.extend(["--repl-ping-replica-period", "1"]);
            (server(&all), bus)
        };
        let nodes: Vec<(RedisServer, String)> = (0..masters * if replicas { 2 } else { 1 }).map(|_| node()).collect();
        for (number, (node, _)) in nodes.iter().enumerate() {
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < masters {
                let range = [number, number + 1].map(|number| number * SLOTS / masters);
                node.cli(&["CLUSTER", "ADDSLOTSRANGE", &range[0].to_string(), &(range[1] - 1).to_string()]);
            }
            for (other, bus) in &nodes[..number] {
                node.cli(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus]);
            }
        }
        let count = nodes.len();
        let mut masters_and_replicas: Vec<RedisServer> = nodes.into_iter().map(|(node, _)| node).collect();
        let replicas = masters_and_replicas.split_off(masters);
        let cluster = Self { masters: masters_and_replicas, replicas };
        let known = |node: &RedisServer| {
            let nodes = node.cli(&["CLUSTER", "NODES"]);
            nodes.trim().lines().count() == count && !nodes.contains("handshake") && cluster.is_well(node)
        };
        wait("all nodes know each other", || cluster.nodes().all(known));
        for (replica, master) in cluster.replicas.iter().zip(&cluster.masters) {
            replica.cli(&["CLUSTER", "REPLICATE", &id(master)]);
        }
        wait("all replicas follow", || {
            let follow = cluster.replicas.iter().all(|replica| info(replica, "master_link_status") == "up");
            let said = |node: &RedisServer| {
                let nodes = node.cli(&["CLUSTER", "NODES"]);
                nodes.lines().filter(|line| line.contains("slave")).count() == cluster.replicas.len()
            };
            follow && cluster.nodes().all(said)
        });
        cluster
    }

    fn is_well(&self, node: &RedisServer) -> bool {
        node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    }

    /// All servers.
    pub fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    /// The url of its first node.
    pub fn url(&self) -> String {
        self.masters[0].url()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> usize {
        self.masters[0].cli(&["CLUSTER", "KEYSLOT", key]).trim().parse().expect("a number")
    }

    /// The place of the master that had a key when the cluster began.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        (0..self.masters.len()).rfind(|place| place * SLOTS / self.masters.len() <= slot).expect("one has it")
    }

    /// Begins to move a slot from one master to another.
    pub fn open_slot(&self, slot: usize, from: usize, to: usize) {
        let (slot, from, to) = (slot.to_string(), &self.masters[from], &self.masters[to]);
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    }

    /// Moves the keys of a slot that is being moved, and ends the move.
    pub fn close_slot(&self, slot: usize, from: usize, to: usize) {
        let (slot, from, to) = (slot.to_string(), &self.masters[from], &self.masters[to]);
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = to.port().to_string();
            let mut args = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            args.extend(keys);
            from.cli(&args);
        }
        for node in [to, from].into_iter().chain(&self.masters) {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
        }
    }

    /// Moves a slot with its keys.
    pub fn move_slot(&self, slot: usize, from: usize, to: usize) {
        self.open_slot(slot, from, to);
        self.close_slot(slot, from, to);
    }

    /// Makes a replica the master in its master's place, and waits until all know.
    pub fn fail_over(&self, place: usize) {
        self.replicas[place].cli(&["CLUSTER", "FAILOVER"]);
        let (new, old) = (id(&self.replicas[place]), id(&self.masters[place]));
        wait("all know the new master", || {
            self.nodes().all(|node| {
                let nodes = node.cli(&["CLUSTER", "NODES"]);
                let is = |id: &str, role: &str| nodes.lines().any(|line| line.starts_with(id) && line.contains(role));
                is(&new, "master") && is(&old, "slave")
            })
        });
    }

    /// Keys in all masters.
    pub fn keys(&self) -> usize {
        self.masters.iter().map(|master| master.cli(&["DBSIZE"]).trim().parse::<usize>().expect("a number")).sum()
    }
}

/// A node's id.
pub fn id(node: &RedisServer) -> String {
    node.cli(&["CLUSTER", "MYID"]).trim().to_owned()
}

/// One field of `INFO`; nothing where the server does not answer, as while it changes its role.
pub fn info(node: &RedisServer, name: &str) -> String {
    let all = node.asked(&["INFO", "all"]).unwrap_or_default();
    let found = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_default().trim().to_owned()
}
