//! The program killed at any moment of a push, a forget or a prune: no snapshot is harmed, nothing looks like a backup that is
//! none, and the next run works without a hand on it.
//!
//! restic's binary says whether the repository is sound.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::stores::rest_server::RestServer;
use aquifer_tests::streams::noise;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;
use tempfile::TempDir;

const TASKS: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: push}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}, {name: input}, {name: host}]
  steps:
    - {name: read, function: file-read, params: {path: '{{ params.input }}'}}
    - name: push
      function: restic-push
      stdin: read
      params: {repository: '{{ params.repository }}', password: '{{ params.password }}', host: '{{ params.host }}', init: true, lockTimeout: 0s}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: forget}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}]
  steps:
    - name: forget
      function: restic-forget
      params: {repository: '{{ params.repository }}', password: '{{ params.password }}', keepLast: 3, groupBy: [], lockTimeout: 0s}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: prune}
spec:
  params: [{name: repository, required: true}, {name: password, required: true, secret: true}]
  steps:
    - name: prune
      function: restic-prune
      params: {repository: '{{ params.repository }}', password: '{{ params.password }}', maxUnused: 0, repackSmall: true, lockTimeout: 0s}
";

const PASSWORD: &str = "correct horse";

/// How many runs are killed.
const KILLS: usize = 51;

/// After how many of them everything is read and compared.
const READ_ALL: usize = 17;

/// Moments and bytes that are the same in every run of this test.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// A repository, and all that was ever pushed into it.
struct Rig {
    folder: TempDir,
    bytes: Vec<u8>,
    pushed: BTreeMap<String, Vec<u8>>,
    /// The snapshots, oldest first, and what was pushed when each appeared.
    snapshots: Vec<(String, String)>,
    numbers: Numbers,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tasks.yaml"), TASKS).expect("written");
        Self { folder, bytes: noise(5 << 20, 5), pushed: BTreeMap::new(), snapshots: Vec::new(), numbers: Numbers(17) }
    }

    fn repository(&self) -> std::path::PathBuf {
        self.folder.path().join("repository")
    }

    /// Starts a task on the repository in the folder.
    fn start(&mut self, task: &str) -> (Child, Option<String>) {
        self.start_at(task, "repository")
    }

    /// Starts a task. A push has a host of its own, by which its snapshot is known, and bytes of which a part is new.
    fn start_at(&mut self, task: &str, repository: &str) -> (Child, Option<String>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
        command.current_dir(self.folder.path()).env("PASSWORD", PASSWORD).stdout(Stdio::null()).stderr(Stdio::piped());
        command.args(["run", "tasks.yaml", "--task", task, "--set-env", "password=PASSWORD"]);
        command.args(["--set", &format!("repository={repository}")]);
        let host = (task == "push").then(|| {
            let host = format!("push-{}", self.pushed.len());
            let at = self.numbers.next() as usize % (self.bytes.len() - 400_000);
            self.bytes[at..at + 400_000].copy_from_slice(&noise(400_000, self.numbers.0));
            std::fs::write(self.folder.path().join("input"), &self.bytes).expect("written");
            self.pushed.insert(host.clone(), self.bytes.clone());
            command.args(["--set", "input=input", "--set", &format!("host={host}")]);
            host
        });
        (command.spawn().expect("it starts"), host)
    }

    /// Runs a task to its end, which must be a good one; gives how long it took.
    fn run(&mut self, task: &str) -> Duration {
        let begun = Instant::now();
        let (child, host) = self.start(task);
        let output = child.wait_with_output().expect("waited for");
        assert!(output.status.success(), "{task}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.look(host.as_deref()), host.is_some(), "a push that succeeded has its snapshot");
        begun.elapsed()
    }

    fn restic(&self, args: &[&str]) -> Vec<u8> {
        let mut command = Command::new("restic");
        command
            .args(args)
            .arg("--no-cache")
            .env("RESTIC_REPOSITORY", self.repository())
            .env("RESTIC_PASSWORD", PASSWORD);
        let output = command.stdin(Stdio::null()).output().expect("restic is needed: `./test` installs it");
        assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Looks which snapshots there are; whether there is one of `host` that was not there before.
    fn look(&mut self, host: Option<&str>) -> bool {
        let names = names(&self.repository().join("snapshots"));
        // A file that is still being written has another name.
        let ids: Vec<&String> = names.iter().filter(|name| name.len() == 64).collect();
        self.snapshots.retain(|(id, _)| ids.contains(&id));
        let is_known = |id: &String| self.snapshots.iter().any(|(known, _)| known == id);
        let new: Vec<String> = ids.into_iter().filter(|id| !is_known(id)).cloned().collect();
        assert!(new.len() <= usize::from(host.is_some()), "snapshots of nobody: {new:?}");
        let found = !new.is_empty();
        self.snapshots.extend(new.into_iter().zip(host.map(str::to_owned)));
        found
    }

    /// Everything that looks like a backup is one.
    fn assert_all_whole(&self) {
        self.restic(&["check", "--read-data", "--no-lock"]);
        let listed: Json = serde_json::from_slice(&self.restic(&["snapshots", "--json", "--no-lock"])).expect("JSON");
        assert_eq!(listed.as_array().map(Vec::len), Some(self.snapshots.len()));
        for (id, host) in &self.snapshots {
            let restored = self.restic(&["dump", "--no-lock", id, "/stdin"]);
            assert!(restored == self.pushed[host], "{host} is not what was pushed");
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn killed_at_any_moment_it_harms_nothing_and_goes_on_by_itself() {
    let mut rig = Rig::new();
    let tasks = ["push", "forget", "prune"];
    rig.run("push");
    rig.run("push");
    let durations = tasks.map(|task| rig.run(task));
    let mut cut_off = 0;
    for number in 0..KILLS {
        let task = tasks[number % 3];
        // What must be there afterwards, whatever happens.
        let goes = if task == "forget" { rig.snapshots.len().saturating_sub(3) } else { 0 };
        let stays = rig.snapshots[goes..].to_vec();

        let (mut child, host) = rig.start(task);
        let moment = durations[number % 3].mul_f64(rig.numbers.next() as f64 % 1000.0 / 950.0);
        sleep(moment);
        child.kill().expect("a process of ours");
        let output = child.wait_with_output().expect("waited for");
        let ended = output.status;
        assert!(
            ended.success() || ended.signal() == Some(9),
            "{task} failed by itself: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        cut_off += usize::from(!ended.success());

        let says = format!("kill {number} of {task} after {moment:?}");
        let is_there = rig.look(host.as_deref());
        for snapshot in &stays {
            assert!(rig.snapshots.contains(snapshot), "{says}: {snapshot:?} is gone");
        }
        assert!(is_there || host.is_none() || !ended.success(), "{says}: it said that {host:?} is stored");
        rig.restic(&["check", "--no-lock"]);
        if number % READ_ALL == READ_ALL - 1 {
            rig.assert_all_whole();
            // Nobody has looked after anything, and dead locks are about.
            for task in tasks {
                rig.run(task);
            }
            rig.assert_all_whole();
            assert_eq!(names(&rig.repository().join("locks")), [""; 0], "a prune clears dead locks away");
        }
    }
    assert!(cut_off > KILLS / 2, "most were cut off: {cut_off}");
    rig.run("prune");
    rig.assert_all_whole();
}

/// What is asked of a server that changes something.
fn changes(method: &str) -> bool {
    matches!(method, "POST" | "DELETE")
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp is there");
    assert!(status.success());
}

/// Killed before each of the requests that change something: between any two of them nothing is lost either, however
/// short the time between them is.
#[test]
fn killed_between_any_two_changes_it_harms_nothing_and_goes_on() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.run("push");
    }
    // Something to copy, something to remove, and something to forget.
    let first = rig.snapshots[0].0.clone();
    rig.restic(&["forget", &first]);
    rig.look(None);
    let served = rig.folder.path().join("served");
    std::fs::create_dir(&served).expect("made");
    let server = runtime.block_on(RestServer::over(&served));
    let begun = rig.folder.path().join("begun");
    copy(&rig.repository(), &begun);
    let snapshots = rig.snapshots.clone();

    for task in ["prune", "push"] {
        for changes_before in 0.. {
            let name = format!("{task}-{changes_before}");
            copy(&begun, &served.join(&name));
            let (seen, pid) = (AtomicUsize::new(0), Arc::new(OnceLock::<i32>::new()));
            let of_child = Arc::clone(&pid);
            let way = proxy(server.port(), move |method, _| {
                if !changes(method) || seen.fetch_add(1, Ordering::SeqCst) < changes_before {
                    return Fate::Passes;
                }
                _ = kill(Pid::from_raw(*of_child.wait()), Signal::SIGKILL);
                Fate::IsLost
            });
            let (child, host) = rig.start_at(task, &format!("rest:http://127.0.0.1:{way}/{name}/"));
            pid.set(child.id().cast_signed()).expect("set once");
            let output = child.wait_with_output().expect("waited for");
            let done = output.status.success();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(done || output.status.signal() == Some(9), "{name} failed by itself: {said}");

            // The repository is where restic and the next run find it.
            std::fs::remove_dir_all(rig.repository()).expect("removed");
            copy(&served.join(&name), &rig.repository());
            rig.snapshots.clone_from(&snapshots);
            let is_there = rig.look(host.as_deref());
            assert_eq!(rig.snapshots.len(), snapshots.len() + usize::from(is_there), "{name}: a snapshot is gone");
            assert!(is_there || host.is_none() || !done, "{name}: it said that {host:?} is stored");
            rig.restic(&["check", "--read-data", "--no-lock"]);
            if is_there {
                rig.assert_all_whole();
            }
            if done {
                assert!(changes_before > 3, "{name}: {}", String::from_utf8_lossy(&output.stderr));
                break;
            }
            // Each costs seconds, and those beside each other differ little.
            if changes_before % 3 == 0 {
                rig.run(task);
                rig.restic(&["check", "--read-data", "--no-lock"]);
            }
        }
    }
}
