//! A backup and a restore, and what their processes may do while they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::super::operator::guide::restic;
use super::super::operator::rig::*;
use super::super::rig::{make, pods_of, state};
use super::rig::*;

const SESSION: &str = "etc/aquifer/session";

/// What a file of a process's own in `/proc` says.
fn of(process: i32, file: &str) -> String {
    let path = Path::new("/proc").join(process.to_string()).join(file);
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).expect("it runs")
}

/// Runs a command as a user of this machine in the root of a process, of which it sees all that is mounted there; gives whether it succeeded, what it
/// said, and what it said of its errors.
fn inside(process: i32, user: &str, command: &str) -> (bool, String, String) {
    let groups = format!("--groups={user}");
    let mut run = Command::new("setpriv");
    run.args(["--reuid", user, "--regid", user, &groups, "sh", "-c", command]);
    let done = run.current_dir(format!("/proc/{process}/root")).output().expect("setpriv: `./test all` installs it");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

/// What may be done by the process, and what is shown to it.
fn is_restricted(process: i32) {
    let status = of(process, "status");
    let none = "0000000000000000";
    for (name, value) in [
        ("Uid", "65532 65532 65532 65532"),
        ("Gid", "65532 65532 65532 65532"),
        ("Groups", "65532"),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapBnd", none),
        ("CapAmb", none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("a line");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), value, "{name}");
    }
    for secret in ["open-sesame", "correct-horse"] {
        assert!(!of(process, "environ").contains(secret) && !of(process, "cmdline").contains(secret));
    }
    // Its own processes and network, and no token.
    for room in ["pid", "net", "mnt", "ipc", "uts"] {
        let link = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{room}")).expect("a namespace");
        assert_ne!(link(&process.to_string()), link("self"), "{room}");
    }
    assert!(!of(process, "mountinfo").contains("serviceaccount"), "{}", of(process, "mountinfo"));
    let (_, found, _) = inside(process, "0", "find . -xdev -name secrets; ls -d var/run/* run/*");
    assert_eq!(found, "", "a token is mounted");
}

/// What the process may read and write, and who else may.
fn files_are_kept(process: i32) {
    for place in [".", "usr/local/bin", "etc", "etc/aquifer", SESSION] {
        // Not even root can.
        let (done, _, told) = inside(process, "0", &format!("touch {place}/new"));
        assert!(!done && told.contains("Read-only file system"), "{place} can be written to: {told}");
    }
    let (done, told, _) = inside(process, "65532", "echo text >tmp/new && cat tmp/new && rm tmp/new");
    assert!(done && told == "text\n", "{told}");
    let secrets = [("redisPassword", "open-sesame"), ("repositoryPassword", "correct-horse")];
    for (name, secret) in secrets.map(|(name, secret)| (format!("{SESSION}/params/{name}"), secret)) {
        assert_eq!(inside(process, "65532", &format!("cat {name}")).1, secret);
        let (done, _, told) = inside(process, "1000", &format!("cat {name}"));
        assert!(!done && told.contains("Permission denied"), "{name} can be read by others: {told}");
        assert_eq!(inside(process, "0", &format!("stat -L -c '%a %u %g' {name}")).1, "440 0 65532\n");
    }
}

/// The limit of memory that the kernel keeps the process to, in bytes.
fn limit(process: i32) -> String {
    let groups = of(process, "cgroup");
    let group = groups.lines().find_map(|line| line.split_once(":memory:")).expect("a cgroup").1;
    let file = PathBuf::from(format!("/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"));
    std::fs::read_to_string(file).expect("it runs").trim().to_owned()
}

/// What the container of a pod that is over left to be said.
fn words(pod: &Pod) -> String {
    state(pod)["terminated"]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_database_is_backed_up_and_brought_back_by_processes_that_may_do_little() {
    const ROOM: &str = "real";
    let (rig, client, node) = real(ROOM).await;
    let _free = rig.whole.read().await;
    let shop = shop(&client, node, ROOM, json!({"runtimeSettings": on_it("300Mi")})).await;
    for number in 0..50 {
        shop.server.cli(&["-a", "open-sesame", "SET", &format!("key:{number}"), &format!("value {number}")]);
    }
    let held = shop.way.hold_after(1);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let (pod, first) = process(&client, node, ROOM, "stash-backup-first").await;
    is_restricted(first);
    files_are_kept(first);
    assert_eq!(limit(first), (300 << 20).to_string());
    let address = pod.status.and_then(|status| status.pod_ip).expect("an address");
    assert!(address.starts_with("198.51.100."), "{address}");
    drop(held);
    let status = over(&client, ROOM, "first").await.status.expect("a status");
    let pods = pods_of(&client, ROOM, "stash-backup-first").await;
    assert_eq!(
        status.phase,
        Some(BackupPhase::Succeeded),
        "{status:#?}\n{}",
        node.log(ROOM, &pods[0].metadata.name.clone().expect("a name"), "aquifer")
    );
    // Which snapshot it made, only its last words say.
    let id = status.targets[0].stats[0].snapshots[0].name.clone().expect("an id");
    assert!(words(&pods[0]).contains(&id), "{pods:#?}");
    assert!(restic(shop.place.path(), &["snapshots"]).contains(&id));
    assert!(restic(shop.place.path(), &["check", "--read-data"]).contains("no errors"));

    shop.server.cli(&["-a", "open-sesame", "FLUSHALL"]);
    let held = shop.way.hold_after(1);
    let restore = json!({"metadata": {"name": "back"}, "spec": {
        "repository": {"name": "repo"}, "target": target(), "rules": [{"snapshots": [id]}], "runtimeSettings": on_it("300Mi"),
    }});
    make::<RestoreSession>(&client, ROOM, restore).await;
    let (_, back) = process(&client, node, ROOM, "stash-restore-back").await;
    is_restricted(back);
    files_are_kept(back);
    drop(held);
    let status = restored(&client, ROOM, "back").await.status.expect("a status");
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    assert_eq!(shop.server.cli(&["-a", "open-sesame", "GET", "key:7"]).trim(), "value 7");
    assert_eq!(shop.server.cli(&["-a", "open-sesame", "DBSIZE"]).trim(), "50");
}
