//! Real sentinels for tests: three of them, a master and replicas.
//!
//! Takes settings of the servers. Gives sentinels that agree and know every replica. Always holds: each wait is for a
//! condition, with an end; the processes end, by their ids, with the value.
//!
//! What is wrong with the rig panics: it is for tests alone.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::redis_cluster::{info, wait};
use crate::redis_server::{RedisServer, free_port};

/// The name of the master.
pub const NAME: &str = "mymaster";

/// A running sentinel.
#[derive(Debug)]
pub struct Sentinel {
    child: Child,
    _folder: TempDir,
    /// Its port.
    pub port: u16,
    password: Option<String>,
}

impl Sentinel {
    /// A sentinel that watches the master at this port.
    pub fn start(master: u16, quorum: u32, password: Option<&str>) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
        let mut settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
        );
        if let Some(word) = password {
            settings += &format!("requirepass {word}\nsentinel sentinel-pass {word}\n");
        }
        std::fs::write(folder.path().join("sentinel.conf"), settings).expect("room");
        let child = Command::new("redis-server")
            .args(["sentinel.conf", "--sentinel"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        let sentinel = Self { child, _folder: folder, port, password: password.map(str::to_owned) };
        wait("the sentinel answers", || sentinel.cli(&["PING"]).contains("PONG"));
        sentinel
    }

    /// Runs `redis-cli`; gives what it prints.
    pub fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--no-auth-warning"]);
        if let Some(word) = &self.password {
            command.args(["-a", word]);
        }
        let done = command.args(args).output().expect("redis-cli must be installed");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The port of the master as it knows it.
    pub fn master(&self) -> u16 {
        let answer = self.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        answer.lines().nth(1).and_then(|port| port.trim().parse().ok()).expect("a port")
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A master, a replica, and three sentinels.
#[derive(Debug)]
pub struct Watched {
    /// The master first, as it was in the beginning.
    pub servers: Vec<RedisServer>,
    /// The sentinels.
    pub sentinels: Vec<Sentinel>,
}

impl Watched {
    /// All of them, knowing each other.
    pub fn start(password: Option<&str>) -> Self {
        let settings = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let master = RedisServer::with(&settings);
        let port = master.port().to_string();
        let replica = RedisServer::with(&[&settings[..], &["--replicaof", "127.0.0.1", &port]].concat());
        wait("the replica follows", || info(&replica, "master_link_status") == "up");
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(master.port(), 2, password)).collect();
        wait("the sentinels know each other and the replica", || {
            sentinels.iter().all(|sentinel| {
                let master = sentinel.cli(&["INFO", "sentinel"]);
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", NAME]);
                // What a replica is is known once it was asked.
                master.contains("status=ok") && master.contains("slaves=1,sentinels=3") && replicas.contains("\nok\n")
            })
        });
        Self { servers: vec![master, replica], sentinels }
    }

    /// The url that names all sentinels.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// The port of the master, once all sentinels agree that it is another one than before and it takes writes.
    pub fn failed_over(&self, before: u16) -> u16 {
        wait("all sentinels know the new master", || self.sentinels.iter().all(|sentinel| sentinel.master() != before));
        let port = self.sentinels[0].master();
        let new = self.servers.iter().find(|server| server.port() == port).expect("one of them");
        wait("it is the master", || info(new, "role") == "master");
        port
    }

    /// Has the sentinels make the replica the master.
    pub fn fail_over(&self) -> u16 {
        let before = self.sentinels[0].master();
        wait("a failover is possible", || self.sentinels[0].cli(&["SENTINEL", "FAILOVER", NAME]).contains("OK"));
        self.failed_over(before)
    }
}
