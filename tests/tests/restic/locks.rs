//! restic's locks and ours: each sees the other's.

use std::process::Child;
use std::time::Duration;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::pipe::DEFAULT_BUDGET;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_push::ResticPush;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::rig::{Repository, noise, pieces, push, until};

/// A restic process, ended whatever happens.
struct Running(Child);

impl Running {
    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("a process of ours");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// restic, stopped while it holds an exclusive lock.
fn restic_holding_an_exclusive_lock(repository: &Repository) -> Running {
    // Its output goes into a pipe that nobody reads, and it is stopped as soon as its lock is there.
    let mut command = repository.command(&["check", "--read-data"]);
    let running = Running(command.stdout(std::process::Stdio::null()).spawn().expect("restic is needed"));
    until("restic takes its lock", || !repository.locks().is_empty());
    running.send(Signal::SIGSTOP);
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn while_we_write_restic_sees_our_lock() {
    let repository = Repository::made_by_restic(2);
    let bytes = noise(3 * DEFAULT_BUDGET, 11);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let path = repository.path();
    // A source that goes on only when it is told to.
    let mut catalog = aquifer_engine::catalog::Catalog::new(aquifer_functions::builtins());
    let fifo = repository.path().with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: slow}}
spec:
  params: [{{name: password, secret: true, required: true}}]
  steps:
    - {{name: source, function: exec, params: {{command: [cat, {}]}}}}
    - {{name: push, function: restic-push, stdin: source, params: {{repository: {}, password: '{{{{ params.password }}}}'}}}}
",
        fifo.display(),
        path.display()
    );
    catalog.add_text("slow.yaml", &text);
    let feeding = std::thread::spawn(move || {
        let mut fifo = std::fs::OpenOptions::new().write(true).open(fifo).expect("opened");
        std::io::Write::write_all(&mut fifo, &bytes).expect("read");
        receiver.recv().expect("told to end");
    });
    let inputs = aquifer_engine::catalog::Inputs::default().with_text("password", crate::rig::PASSWORD);
    let plan = catalog.plan("slow", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let running =
        tokio::spawn(aquifer_engine::run::run(std::sync::Arc::new(plan), aquifer_engine::run::RunOptions::default()));
    until("our lock is there", || !repository.locks().is_empty());
    let refused = repository.command(&["prune"]).output().expect("restic is needed");
    assert!(!refused.status.success(), "restic must not prune while we write");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("locked") && told.contains(&std::process::id().to_string()), "{told}");
    // Readers and other writers are not locked out.
    assert_eq!(repository.snapshots().len(), 0);
    sender.send(()).expect("it listens");
    feeding.join().expect("fed");
    let report = running.await.expect("ran");
    assert!(report.first_failure.is_none(), "{report:#?}");
    assert_eq!(repository.snapshots().len(), 1);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_lock_is_waited_for_and_its_owner_named() {
    let repository = Repository::made_by_restic(2);
    push(&repository, &noise(1 << 20, 12), json!({})).await.expect("stored");
    let restic = restic_holding_an_exclusive_lock(&repository);
    let refused = push(&repository, b"a", json!({"lockTimeout": "1s"})).await.expect_err("locked");
    assert_eq!(refused.kind, FailureKind::Unavailable);
    let process = format!("process {}", restic.0.id());
    assert!(refused.message.contains(&process) && refused.message.contains("exclusive"), "{refused:?}");
    assert_eq!(repository.locks().len(), 1, "only restic's own");

    // Once it goes on and ends, the one that waits goes on too.
    let params = repository.params(json!({"lockTimeout": "1m"}));
    let waiting = tokio::spawn(run_alone(ResticPush, params, Input::Finished(pieces(b"b"))));
    restic.send(Signal::SIGCONT);
    let outcome = waiting.await.expect("ran");
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    drop(restic);
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_dead_process_stops_nobody() {
    let repository = Repository::made_by_restic(2);
    push(&repository, &noise(1 << 20, 13), json!({})).await.expect("stored");
    let restic = restic_holding_an_exclusive_lock(&repository);
    restic.send(Signal::SIGKILL);
    drop(restic);
    assert_eq!(repository.locks().len(), 1, "its lock is still there");
    let outputs = push(&repository, b"b", json!({"lockTimeout": "0s"})).await.expect("not stopped");
    assert_eq!(outputs["bytes"], json!(1));
    // Who wants the repository for itself takes it away.
    let forget = repository.params(json!({"keepLast": 1, "groupBy": [], "prune": true, "lockTimeout": "0s"}));
    let outputs = run_alone(ResticForget, forget, Input::None).await.result.expect("not stopped");
    assert_eq!(outputs["removed"], json!(1));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_waits_for_those_who_read() {
    let repository = Repository::made_by_restic(2);
    push(&repository, &noise(1 << 20, 14), json!({})).await.expect("stored");
    // A shared lock of restic's: a backup that waits for its input.
    let mut command = repository.command(&["backup", "--stdin"]);
    let mut child =
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().expect("restic");
    let input = child.stdin.take();
    let restic = Running(child);
    until("restic takes its lock", || !repository.locks().is_empty());
    let forget = |timeout: Duration| {
        let params = json!({"keepLast": 1, "prune": true, "lockTimeout": format!("{}ms", timeout.as_millis())});
        run_alone(ResticForget, repository.params(params), Input::None)
    };
    let refused = forget(Duration::from_millis(10)).await.result.expect_err("locked");
    assert_eq!(refused.kind, FailureKind::Unavailable);
    assert!(refused.message.contains(&format!("process {}", restic.0.id())), "{refused:?}");
    restic.send(Signal::SIGKILL);
    drop((input, restic));
    forget(Duration::ZERO).await.result.expect("nobody is in the way any more");
    repository.assert_sound();
}

/// A backup that lost its lock may have lost its data: a clock that is wrong is enough for others to take a lock for stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_lock_was_taken_away_makes_no_snapshot() {
    let repository = Repository::made_by_restic(2);
    let fifo = repository.path().with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let of_thread = fifo.clone();
    let feeding = std::thread::spawn(move || {
        let mut fifo = std::fs::OpenOptions::new().write(true).open(of_thread).expect("opened");
        std::io::Write::write_all(&mut fifo, &noise(1 << 20, 15)).expect("read");
        receiver.recv().expect("told to end");
    });
    let text = format!(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: slow}}\nspec:\n  steps:\n    \
         - {{name: source, function: exec, params: {{command: [cat, {}]}}}}\n    \
         - {{name: push, function: restic-push, stdin: source, params: {}}}\n",
        fifo.display(),
        repository.params(json!({}))
    );
    let mut catalog = aquifer_engine::catalog::Catalog::new(aquifer_functions::builtins());
    catalog.add_text("slow.yaml", &text);
    let plan = catalog.plan("slow", &Default::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let running = tokio::spawn(aquifer_engine::run::run(std::sync::Arc::new(plan), Default::default()));
    until("our lock is there", || !repository.locks().is_empty());
    repository.restic(&["unlock", "--remove-all"]);
    sender.send(()).expect("it listens");
    feeding.join().expect("fed");
    let failure = running.await.expect("ran").first_failure.expect("it fails").failure;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("our lock"), "{failure:?}");
    assert_eq!(repository.snapshots().len(), 0);
    repository.assert_sound();
}

/// In containers, hosts and process numbers are often the same: what this process did not leave there itself is somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_with_our_own_host_and_process_is_somebody_elses_until_it_is_old() {
    let repository = Repository::made_by_restic(2);
    push(&repository, &noise(1 << 20, 16), json!({})).await.expect("stored");
    let key = repository.master_key();
    let host = nix::unistd::gethostname().expect("a name").to_string_lossy().into_owned();
    let lock = |age: i64, pid: u32| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(age);
        json!({"time": time.to_string(), "exclusive": true, "hostname": host, "username": "other", "pid": pid})
    };
    let live = repository.put_lock(&key, &lock(5, std::process::id()));
    let refused = push(&repository, b"a", json!({"lockTimeout": "0s"})).await.expect_err("locked");
    assert!(refused.kind == FailureKind::Unavailable && refused.message.contains("other@"), "{refused:?}");
    let forget = repository.params(json!({"keepLast": 1, "prune": true, "lockTimeout": "0s"}));
    let refused = run_alone(ResticForget, forget.clone(), Input::None).await.result.expect_err("locked");
    assert_eq!(refused.kind, FailureKind::Unavailable, "{refused:?}");
    assert!(live.exists(), "it was not taken for a stale one");
    std::fs::remove_file(live).expect("removed");
    let old = repository.put_lock(&key, &lock(31, std::process::id()));
    run_alone(ResticForget, forget, Input::None).await.result.expect("nobody is behind it");
    assert!(!old.exists());
}
