//! `exec` with commands that behave and commands that do not; and nothing of them left afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::event::Level;
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::stream::StreamType;
use aquifer_functions::exec::Exec;
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rig::{failure, is_running, pieces, sample, stalled, wait_for};

async fn sh(script: &str, input: Input) -> Outcome {
    run_alone(Exec, json!({"command": ["sh", "-c", script], "killAfter": "300ms"}), input).await
}

fn pid_in(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn bytes_go_through_a_command_unchanged() {
    for length in [0, 1, 5_000_001] {
        let plain = sample(length);
        let outcome = run_alone(Exec, json!({"command": ["cat"]}), pieces(&plain)).await;
        assert_eq!(outcome.result.expect("passes"), json!({"exitCode": 0, "stdout": null}));
        assert!(outcome.stdout == plain, "{length}");
    }
}

#[tokio::test]
async fn a_failing_command_is_told_with_its_last_lines() {
    let outcome = sh("for i in $(seq 30); do echo line $i >&2; done; echo data; exit 3", Input::None).await;
    let failed = failure(&outcome, FailureKind::Unavailable);
    assert_eq!(failed.message, "`sh` exited with status 3");
    assert_eq!(failed.causes.len(), 20);
    assert_eq!(failed.causes.last().map(String::as_str), Some("line 30"));
    assert!(outcome.messages.contains(&(Level::Info, "line 1".to_owned())));
    let outcome = sh("kill -KILL $$", Input::None).await;
    assert_eq!(failure(&outcome, FailureKind::Unavailable).message, "`sh` was killed by signal 9 (SIGKILL)");
    let params = json!({"command": ["sh", "-c", "exit 3"], "okExit": [0, 3]});
    assert_eq!(run_alone(Exec, params, Input::None).await.result.expect("accepted")["exitCode"], 3);
}

#[tokio::test]
async fn a_stdout_that_nobody_reads_is_said_and_kept() {
    let params = json!({"command": ["sh", "-c", "echo ' one'; echo two"]});
    let registry = Registry::new().with(Exec);
    let prepared = registry.get("exec").expect("registered").prepare(params).expect("sound");
    let call = crate::rig::call(crate::rig::begun(), tokio_util::sync::CancellationToken::new());
    let outputs = prepared.run(aquifer_engine::ports::OpenEnds::default(), call).await.expect("succeeds");
    assert_eq!(outputs, json!({"exitCode": 0, "stdout": "one\ntwo"}));
}

#[tokio::test]
async fn a_program_that_is_missing_is_named_with_where_it_was_sought() {
    let run = async |params: Value| run_alone(Exec, params, Input::None).await;
    let outcome = run(json!({"command": ["no-such-program"]})).await;
    let message = &failure(&outcome, FailureKind::NotFound).message;
    assert!(message.contains("`no-such-program`") && message.contains("/usr/bin"), "{message}");
    let outcome = run(json!({"command": ["sh"], "env": {"PATH": "/hunter2"}})).await;
    assert!(!failure(&outcome, FailureKind::NotFound).message.contains("hunter2"));
    failure(&run(json!({"command": ["./no-such-program"]})).await, FailureKind::NotFound);
    let outcome = run(json!({"command": ["true"], "dir": "/no/such"})).await;
    assert!(failure(&outcome, FailureKind::NotFound).message.contains("/no/such"));
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_alone(Exec, json!({"command": ["pwd"], "dir": folder.path()}), Input::None).await;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout).trim(), folder.path().display().to_string());
}

#[tokio::test]
async fn a_command_sees_only_what_is_named_of_our_environment() {
    // The test program's own environment has variables of cargo's, which are not on the list.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let run = async |params: Value| String::from_utf8(run_alone(Exec, params, Input::None).await.stdout).expect("text");
    let seen = run(json!({"command": ["env"], "env": {"TOKEN": "hunter2"}})).await;
    assert!(seen.contains("TOKEN=hunter2\n") && seen.contains("PATH=") && !seen.contains("CARGO"), "{seen}");
    let seen = run(json!({"command": ["env"], "env": {"ONLY": "this"}, "clearEnv": true})).await;
    assert_eq!(seen, "ONLY=this\n");
}

#[tokio::test]
async fn a_stdin_that_breaks_never_looks_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let (done, began) = (folder.path().join("done"), folder.path().join("began"));
    // Says that it is done only after its stdin ended, and does not end by SIGTERM.
    let script = format!("trap '' TERM; echo $$ > {}; cat > /dev/null; echo > {}", began.display(), done.display());
    let broken = Input::Broken(vec![Bytes::from(sample(300_000))], Failure::corrupt("half of it"));
    let outcome = sh(&script, broken).await;
    assert_eq!(failure(&outcome, FailureKind::Corrupt).message, "half of it");
    let stopped =
        stalled(Exec, json!({"command": ["sh", "-c", script], "killAfter": "300ms"}), sample(300_000), async || {
            wait_for("the command", || pid_in(&began).is_some_and(is_running)).await;
        })
        .await;
    assert_eq!(stopped.expect_err("stopped").kind, FailureKind::Cancelled);
    let pid = pid_in(&began).expect("it began");
    wait_for("the command's end", || !is_running(pid)).await;
    assert!(!done.exists());
}

#[tokio::test]
async fn a_command_that_leaves_input_unread_has_failed_every_time() {
    for _ in 0..20 {
        for (script, input) in
            [("true", sample(10)), ("head -c 5 >/dev/null", sample(10)), ("head -c 5", sample(3_000_000))]
        {
            let outcome = sh(script, pieces(&input)).await;
            let failed = failure(&outcome, FailureKind::Rejected);
            assert!(failed.message.contains("to the end") && failed.help.is_some(), "{failed:?}");
        }
    }
    // Its own error says more.
    let outcome = sh("exit 7", pieces(&sample(10))).await;
    assert!(failure(&outcome, FailureKind::Unavailable).message.contains('7'));
}

#[tokio::test]
async fn what_a_stopped_command_started_is_gone_within_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, child) = (folder.path().join("own"), folder.path().join("child"));
    let script = format!("sleep 1000 & echo $! > {}; echo $$ > {}; wait", child.display(), own.display());
    let begun = async || wait_for("both processes", || pid_in(&own).is_some() && pid_in(&child).is_some()).await;
    let stopped = stalled(Exec, json!({"command": ["sh", "-c", script]}), Vec::new(), begun).await;
    assert_eq!(stopped.expect_err("stopped").kind, FailureKind::Cancelled);
    for path in [own, child] {
        let pid = pid_in(&path).expect("a process");
        wait_for("its end", || !is_running(pid)).await;
    }
}

#[tokio::test]
async fn a_command_whose_step_is_dropped_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own");
    let script = format!("trap '' TERM; echo $$ > {}; sleep 1000", own.display());
    let running = tokio::spawn(async move { sh(&script, Input::None).await });
    wait_for("the command", || pid_in(&own).is_some_and(is_running)).await;
    running.abort();
    let pid = pid_in(&own).expect("a process");
    wait_for("its end", || !is_running(pid)).await;
}

/// A command that takes the end of its stdin for the end of the data must not see one because its step is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_step_kills_its_command_before_the_stdin_ends() {
    for round in 0..30 {
        let folder = tempfile::tempdir().expect("a folder");
        let (began, done) = (folder.path().join("began"), folder.path().join("done"));
        let script = format!("trap '' TERM; echo $$ > {}; read line; : > {}", began.display(), done.display());
        let registry = Registry::new().with(Exec);
        let params = json!({"command": ["sh", "-c", script]});
        let prepared = registry.get("exec").expect("registered").prepare(params).expect("sound");
        let (mut writer, mut readers) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
        let (reader, _control) = readers.remove(0);
        let ends = OpenEnds { stdin: Some(reader), stdout: None };
        let running = tokio::spawn(prepared.run(ends, crate::rig::call(crate::rig::begun(), CancellationToken::new())));
        writer.write(Bytes::from_static(b"half of a line")).await.expect("room");
        wait_for("the command", || pid_in(&began).is_some_and(is_running)).await;
        running.abort();
        let pid = pid_in(&began).expect("it began");
        wait_for("the command's end", || !is_running(pid)).await;
        assert!(!done.exists(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_left_behind_cannot_talk_for_ever() {
    for (talk, kind) in [("echo x; sleep 0.05", "slowly"), ("echo x", "fast")] {
        for to in ["", " >&2"] {
            let script = format!("(while :; do {talk}; done){to} & echo data");
            let outcome = tokio::time::timeout(Duration::from_secs(10), sh(&script, Input::None)).await.expect(kind);
            match to {
                "" => {
                    let failed = failure(&outcome, FailureKind::Rejected);
                    assert!(failed.message.contains("holds its output open"), "{kind}: {failed:?}");
                }
                // Only the words on stderr are lost.
                _ => {
                    outcome.result.expect("its output is whole");
                    assert_eq!(outcome.stdout, b"data\n", "{kind}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_slow_reader_gets_all_that_the_command_wrote() {
    let registry = Registry::new().with(Exec);
    let params = json!({"command": ["head", "-c", "60000", "/dev/zero"], "killAfter": "50ms"});
    let prepared = registry.get("exec").expect("registered").prepare(params).expect("sound");
    let (writer, mut readers) = pipe(1, 1000, &StreamType::unknown(), None);
    let (mut reader, _control) = readers.remove(0);
    let ends = OpenEnds { stdin: None, stdout: Some(writer) };
    let call = crate::rig::call(crate::rig::begun(), CancellationToken::new());
    let running = tokio::spawn(prepared.run(ends, call));
    let mut total = 0;
    while total < 60_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        total += reader.read().await.expect("sound").map_or(0, |piece| piece.len());
    }
    running.await.expect("no panic").expect("succeeds");
}

#[tokio::test]
async fn something_left_behind_that_holds_the_output_open_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = folder.path().join("child");
    let start = Instant::now();
    let outcome = sh(&format!("sleep 1000 & echo $! > {}; echo data", child.display()), Input::None).await;
    assert!(failure(&outcome, FailureKind::Rejected).message.contains("holds its output open"));
    assert!(start.elapsed() < Duration::from_secs(5));
    let pid = pid_in(&child).expect("a process");
    wait_for("its end", || !is_running(pid)).await;
    // What holds nothing open is no failure, and is gone as well.
    let script = format!("sleep 1000 >/dev/null 2>&1 & echo $! > {}; echo data", child.display());
    let outcome = sh(&script, Input::None).await;
    outcome.result.expect("succeeds");
    assert_eq!(outcome.stdout, b"data\n");
    let pid = pid_in(&child).expect("a process");
    wait_for("its end", || !is_running(pid)).await;
}

/// The program that the next test starts and kills: it runs one command through `exec`. By itself it has nothing to do.
#[tokio::test]
async fn run_a_command_until_killed() {
    let Some(own) = std::env::var_os("AQUIFER_TEST_PID_FILE").and_then(|own| own.into_string().ok()) else { return };
    sh(&format!("echo $$ > {own}; exec sleep 1000"), Input::None).await.result.expect("never ends");
}

#[tokio::test]
async fn a_command_dies_with_a_program_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own");
    let mut program = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "exec::run_a_command_until_killed", "--nocapture"])
        .env("AQUIFER_TEST_PID_FILE", &own)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    wait_for("the command", || pid_in(&own).is_some_and(is_running)).await;
    kill(Pid::from_raw(i32::try_from(program.id()).expect("fits")), Signal::SIGKILL).expect("killed");
    program.wait().expect("reaped");
    let pid = pid_in(&own).expect("a process");
    wait_for("the command's end", || !is_running(pid)).await;
}

#[test]
fn wrong_params_are_refused_at_their_place() {
    let registry = Registry::new().with(Exec);
    for (params, path) in [
        (json!({"command": []}), "command"),
        (json!({"command": [""]}), "command"),
        (json!({"command": ["a", "b\0"]}), "command.1"),
        (json!({"command": ["a"], "env": {"A=B": "x"}}), "env.A=B"),
        (json!({"command": ["a"], "okExit": []}), "okExit"),
        (json!({"command": ["a"], "okExit": [256]}), "okExit[0]"),
        (json!({"command": ["a"], "killAfter": 5}), "killAfter"),
        (json!({"command": ["a"], "killAfter": "2h"}), "killAfter"),
        (json!({"command": "a"}), "command"),
    ] {
        let error = registry.get("exec").expect("registered").prepare(params.clone()).expect_err("refused");
        assert_eq!(error.path, path, "{params}: {error}");
    }
}
