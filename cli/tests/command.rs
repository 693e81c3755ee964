//! The real binary: what it exits with, what it prints where, and how it hears signals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn aquifer(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
    command.current_dir(folder).env_remove("RUST_LOG").env_remove("AQUIFER_CATALOG").env("NO_COLOR", "1");
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    aquifer(folder).args(args).output().expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const TASKS: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: wait}
spec:
  params: [{name: word, secret: true}]
  steps:
    - {name: sleep, function: exec, params: {command: [sh, -c, 'echo is ready; exec sleep 100'], env: {WORD: '{{ default params.word null }}'}}}
    - {name: undo, function: exec, needs: [sleep], when: always, params: {command: [touch, undone]}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: stubborn}
spec:
  steps:
    - name: sleep
      function: exec
      params: {command: [sh, -c, 'trap : TERM; echo is ready; while :; do sleep 0.1; done'], killAfter: 60s}
    - {name: undo, function: exec, needs: [sleep], when: always, params: {command: [sh, -c, 'sleep 100; touch undone']}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: until}
spec:
  steps:
    - {name: wait, function: exec, params: {command: [sh, -c, 'echo is ready; while ! test -e go; do sleep 0.02; done']}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: chatter}
spec:
  steps:
    - {name: say, function: exec, params: {command: [seq, '100000']}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: chatter-on}
spec:
  steps:
    - {name: say, function: exec, params: {command: [sh, -c, 'seq 100000; touch said; exec sleep 100']}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: touch}
spec:
  steps:
    - {name: touch, function: exec, params: {command: [touch, touched]}}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: echo}
spec:
  params: [{name: word, required: true, secret: true}]
  steps:
    - {name: say, function: exec, params: {command: [sh, -c, 'echo $WORD; echo $WORD >&2; exit ${CODE:-0}'], env: {WORD: '{{ params.word }}', CODE: '{{ default env.CODE null }}'}}}
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tasks.yaml"), TASKS).expect("written");
    folder
}

#[test]
fn exit_statuses_are_what_the_help_says() {
    let folder = folder();
    let here = folder.path();
    let ok = run(here, &["run", "tasks.yaml", "--task", "echo", "--set", "word=hush-hush", "--report", "-"]);
    assert_eq!(ok.status.code(), Some(0), "{}", stderr(&ok));
    let report: serde_json::Value = serde_json::from_slice(&ok.stdout).expect("stdout holds the report alone");
    assert_eq!(report["status"], "succeeded");
    assert!(!stderr(&ok).contains("hush-hush") && !report.to_string().contains("hush-hush"), "{}", stderr(&ok));
    assert!(stderr(&ok).contains("--set-env"), "a secret on the command line earns a note: {}", stderr(&ok));

    let failed = aquifer(here)
        .args(["run", "tasks.yaml", "--task", "echo", "--set-env", "word=WORD", "--progress", "none"])
        .envs([("CODE", "3"), ("WORD", "hush-hush")])
        .output()
        .expect("it starts");
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("failed first: step `say`"), "{}", stderr(&failed));
    assert!(!stderr(&failed).contains("hush-hush"), "{}", stderr(&failed));

    for (args, says) in [
        (&["run", "redis-bakup-file"][..], "did you mean `redis-backup-file`?"),
        (&["run", "tasks.yaml"], "choose one with `--task`: "),
        (&["run", "no/such.yaml"], "no/such.yaml"),
        (&["plan", "redis-copy", "--set", "from"], "--set takes NAME=VALUE"),
        (&["plan", "redis-copy", "--set-env", "from=NO_SUCH_VARIABLE"], "`NO_SUCH_VARIABLE` is not set"),
        (&["functions", "show", "redis-dmup"], "did you mean `redis-dump`?"),
        (&["runn"], "unrecognized subcommand"),
    ] {
        let wrong = run(here, args);
        assert_eq!(wrong.status.code(), Some(2), "{args:?}: {}", stderr(&wrong));
        assert!(stderr(&wrong).contains(says), "{args:?}: {}", stderr(&wrong));
    }
}

#[test]
fn check_tells_every_problem_and_a_good_file_in_one_line() {
    let folder = folder();
    let good = run(folder.path(), &["check", "tasks.yaml"]);
    assert_eq!((good.status.code(), stderr(&good).as_str()), (Some(0), ""));
    std::fs::write(
        folder.path().join("bad.yaml"),
        TASKS.replace("function: exec", "function: exce").replace("required: true, secret", "required: true, secert"),
    )
    .expect("written");
    let bad = run(folder.path(), &["check", "bad.yaml"]);
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(
        stderr(&bad).matches("did you mean `exec`?").count(),
        TASKS.matches("function: exec").count(),
        "{}",
        stderr(&bad)
    );
    assert!(stderr(&bad).contains("did you mean `secret`?") && stderr(&bad).contains("bad.yaml:"), "{}", stderr(&bad));
}

#[test]
fn a_plan_has_four_forms_and_a_closed_stdout_is_no_panic() {
    let folder = folder();
    let plan = |form| {
        run(folder.path(), &["plan", "redis-copy", "--set", "from=redis://u:pw@a", "--set", "to=redis://b", "-o", form])
    };
    for (form, holds) in
        [("text", "redis://u:***@a"), ("mermaid", "flowchart"), ("dot", "digraph"), ("json", "\"task\"")]
    {
        let output = plan(form);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(holds), "{form}: {text}{}", stderr(&output));
    }
    serde_json::from_slice::<serde_json::Value>(&plan("json").stdout).expect("JSON");
    let mut child =
        aquifer(folder.path()).arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// Starts a task, and sends a signal once its step runs (and again, once the first was heard).
fn stopped(task: &str, signal: Signal, again: bool) -> (Option<i32>, bool, Duration) {
    let folder = folder();
    let mut child = aquifer(folder.path())
        .args(["run", "tasks.yaml", "--task", task, "--progress", "plain"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut wait_for =
        |word: &str| lines.by_ref().map_while(Result::ok).find(|line| line.contains(word)).expect("it says so");
    wait_for("is ready");
    let began = Instant::now();
    let pid = pid(&child);
    kill(pid, signal).expect("it runs");
    if again {
        wait_for("stopping");
        kill(pid, signal).expect("it runs");
    }
    let status = child.wait().expect("it ends");
    (status.code(), folder.path().join("undone").exists(), began.elapsed())
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

#[test]
fn a_first_signal_stops_gracefully_and_tells_which_it_was() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 143)] {
        let (status, undone, _) = stopped("wait", signal, false);
        assert_eq!((status, undone), (Some(code), true), "{signal}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    // The command does not end by SIGTERM and may take a minute; the step that undoes would take a hundred seconds.
    let (status, undone, took) = stopped("stubborn", Signal::SIGINT, true);
    assert_eq!((status, undone), (Some(130), false));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_hangup_that_is_ignored_from_the_start_stays_ignored() {
    let folder = folder();
    let mut child = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_aquifer"))
        .current_dir(folder.path())
        .args(["run", "tasks.yaml", "--task", "until", "--progress", "plain"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nohup is there");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    lines.by_ref().map_while(Result::ok).find(|line| line.contains("is ready")).expect("it says so");
    kill(pid(&child), Signal::SIGHUP).expect("it runs");
    std::fs::write(folder.path().join("go"), "").expect("written");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_stderr_that_takes_nothing_holds_no_run_up_and_hides_no_signal() {
    let folder = folder();
    // Says far more than a pipe holds, and nobody reads it.
    let start = |task: &str| {
        let args = ["run", "tasks.yaml", "--task", task, "--progress", "plain", "--report", "report.json"];
        aquifer(folder.path()).args(args).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let mut child = start("chatter");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("it is there");
    assert!(report.contains("succeeded"));
    let mut child = start("chatter-on");
    let began = Instant::now();
    while !folder.path().join("said").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for the command");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(pid(&child), Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

#[test]
fn a_report_goes_where_it_is_told_and_a_wrong_place_is_found_before_the_run() {
    let folder = folder();
    let here = folder.path();
    let wait =
        |path: &str| run(here, &["run", "tasks.yaml", "--task", "touch", "--progress", "none", "--report", path]);
    for path in ["no/such/folder/r.json", "."] {
        let wrong = wait(path);
        assert_eq!(wrong.status.code(), Some(2), "{path}: {}", stderr(&wrong));
        assert!(stderr(&wrong).contains(path) && !here.join("touched").exists(), "{path}: {}", stderr(&wrong));
    }
    let link = here.join("link.json");
    std::fs::write(here.join("real.json"), "x".repeat(100_000)).expect("written");
    std::os::unix::fs::symlink("real.json", &link).expect("linked");
    for path in ["link.json", "new.json"] {
        assert_eq!(wait(path).status.code(), Some(0), "{path}");
        let text = std::fs::read_to_string(here.join(path)).expect("it is there");
        let report: serde_json::Value = serde_json::from_str(&text).expect("the report alone");
        assert_eq!(report["status"], "succeeded");
    }
    assert!(link.symlink_metadata().expect("it is there").is_symlink());
    let piped = wait("/dev/stdout");
    serde_json::from_slice::<serde_json::Value>(&piped.stdout).expect("the report alone");
    assert!(Path::new("/dev/stdout").symlink_metadata().expect("it is there").is_symlink());
    // A full device is found out only after the run, which has succeeded all the same.
    let full = wait("/dev/full");
    assert_eq!(full.status.code(), Some(0));
    assert!(stderr(&full).contains("could not be written to `/dev/full`"), "{}", stderr(&full));
}

#[test]
fn with_json_every_line_on_stderr_is_an_event() {
    let folder = folder();
    let args = ["run", "tasks.yaml", "--task", "wait", "--progress", "json", "--set", "word=hush-hush"];
    let mut child = aquifer(folder.path()).args(args).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut last = serde_json::Value::Null;
    for line in lines {
        last = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if last["what"]["text"].as_str().is_some_and(|text| text.contains("is ready")) {
            kill(pid(&child), Signal::SIGINT).expect("it runs");
        }
    }
    assert_eq!(last["what"]["type"], "run-ended");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
