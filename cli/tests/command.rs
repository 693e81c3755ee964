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
  steps:
    - {name: sleep, function: exec, params: {command: [sleep, '100']}}
    - {name: undo, function: exec, needs: [sleep], when: always, params: {command: [touch, undone]}}
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
        (&["run", "tasks.yaml"], "choose one with `--task`: `echo`, `wait`"),
        (&["run", "no/such.yaml"], "no/such.yaml"),
        (&["plan", "redis-copy", "--set", "from"], "--set takes NAME=VALUE"),
        (&["plan", "redis-copy", "--set-env", "from=NO_SUCH_VARIABLE"], "`NO_SUCH_VARIABLE` is not set"),
        (&["functions", "show", "redis-dmup"], "did you mean `redis-dump`?"),
        (&["runn"], "unrecognized subcommand"),
        (&["run", "no/such.yaml", "--task", "echo"], "no/such.yaml"),
        (&["run", "."], "choose one with `--task`: `echo`, `wait`"),
        (&["run", "redis-digest", "--values", "."], "cannot be read"),
        (&["plan", "redis-digest", "-o", "xml"], "[possible values: text, json, mermaid, dot]"),
    ] {
        let wrong = run(here, args);
        assert!(!stderr(&wrong).contains("there is no task ``"), "{args:?}: {}", stderr(&wrong));
        assert_eq!(wrong.status.code(), Some(2), "{args:?}: {}", stderr(&wrong));
        assert!(stderr(&wrong).contains(says), "{args:?}: {}", stderr(&wrong));
    }
}

#[test]
fn a_run_prints_what_its_steps_put_out_without_secrets() {
    let folder = folder();
    let run = |args: &[&str]| {
        let task = ["run", "tasks.yaml", "--task", "echo", "--set-env", "word=WORD", "--progress", "none"];
        aquifer(folder.path()).args(task).args(args).env("WORD", "hush-hush").output().expect("it starts")
    };
    let told = run(&[]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.starts_with("say  succeeded  ") && text.contains("exitCode: 0"), "{text}");
    assert!(text.contains("***") && !text.contains("hush-hush"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("echo: succeeded in ")), "{text}");
    assert_eq!(stderr(&told), "");

    for (path, says) in [("no/such/folder/report.json", "nothing was run"), (".", "nothing was run")] {
        let wrong = run(&["--report", path]);
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0), "{}", stderr(&wrong));
        assert!(stderr(&wrong).contains(says), "{}", stderr(&wrong));
    }
    // A link is written through, not replaced: `/dev/stdout` is one.
    let (file, link) = (folder.path().join("file.json"), folder.path().join("link.json"));
    std::fs::write(&file, "old").expect("written");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    assert!(run(&["--report", "link.json"]).status.success());
    assert!(link.is_symlink() && std::fs::read_to_string(&file).expect("there").contains("\"succeeded\""));
}

/// The engine masks the snippet; a file of values has none.
#[test]
fn no_message_about_definitions_or_values_shows_a_secret() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write(
        "bad.yaml",
        &TASKS.replace("word, required: true, secret: true", "word, default: hush-hush, secret: true, sumary: x"),
    );
    let bad = run(folder.path(), &["check", "bad.yaml"]);
    assert!(stderr(&bad).contains("*********") && !stderr(&bad).contains("hush-hush"), "{}", stderr(&bad));
    for text in
        ["hush-hush", "[hush-hush]", "word: hush-hush: x", "word: \"hush-hush", "word: [hush-hush]", "wort: hush-hush"]
    {
        write("values.yaml", text);
        let wrong = run(folder.path(), &["run", "tasks.yaml", "--task", "echo", "--values", "values.yaml"]);
        assert_eq!(wrong.status.code(), Some(2), "{text}");
        assert!(!stderr(&wrong).contains("hush-hush"), "{}", stderr(&wrong));
    }
}

#[test]
fn a_full_stdout_is_an_error() {
    let folder = folder();
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    let task = ["run", "tasks.yaml", "--task", "echo", "--set", "word=hush", "--report", "-"];
    for args in [&["functions"][..], &["schema"], &["completions", "bash"], &["plan", "redis-digest"], &task] {
        let output = aquifer(folder.path()).args(args).stdout(full()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("stdout cannot be written"), "{args:?}: {}", stderr(&output));
    }
    // What ran has run: its summary is lost, its status is not.
    let output = aquifer(folder.path()).args(&task[..6]).stdout(full()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn check_tells_every_problem_and_a_good_file_in_one_line() {
    let folder = folder();
    let good = run(folder.path(), &["check", "tasks.yaml"]);
    assert_eq!((good.status.code(), stderr(&good).as_str()), (Some(0), ""));
    std::fs::write(folder.path().join("bad.yaml"), TASKS.replace("exec", "exce").replace("secret", "secert"))
        .expect("written");
    let bad = run(folder.path(), &["check", "bad.yaml"]);
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(stderr(&bad).matches("did you mean `exec`?").count(), 3, "{}", stderr(&bad));
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

/// Starts the waiting task and sends a signal, and again if told to, once it runs.
fn stopped(signal: Signal, again: bool) -> (Option<i32>, bool, Duration) {
    let folder = folder();
    let mut child = aquifer(folder.path())
        .args(["run", "tasks.yaml", "--task", "wait", "--progress", "plain"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut wait_for =
        |word: &str| lines.by_ref().map_while(Result::ok).find(|line| line.contains(word)).expect("it says so");
    wait_for("sleep: started");
    let began = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, signal).expect("it runs");
    if again {
        wait_for("stopping");
        kill(pid, signal).expect("it runs");
    }
    let status = child.wait().expect("it ends");
    (status.code(), folder.path().join("undone").exists(), began.elapsed())
}

#[test]
fn a_first_signal_stops_gracefully_and_tells_which_it_was() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (status, undone, _) = stopped(signal, false);
        assert_eq!((status, undone), (Some(code), true), "{signal}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let (status, _, took) = stopped(Signal::SIGINT, true);
    assert_eq!(status, Some(130));
    assert!(took < Duration::from_secs(10), "{took:?}");
}
