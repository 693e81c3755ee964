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
        (&["run", "tasks.yaml"], "choose one with `--task`: `chatter`, "),
        (&["run", "no/such.yaml"], "no/such.yaml"),
        (&["plan", "redis-copy", "--set", "from"], "--set takes NAME=VALUE"),
        (&["plan", "redis-copy", "--set-env", "from=NO_SUCH_VARIABLE"], "`NO_SUCH_VARIABLE` is not set"),
        (&["functions", "show", "redis-dmup"], "did you mean `redis-dump`?"),
        (&["runn"], "unrecognized subcommand"),
        (&["run", "no/such.yaml", "--task", "echo"], "no/such.yaml"),
        (&["run", "."], "choose one with `--task`: `chatter`, "),
        (&["run", "redis-digest", "--values", "."], "cannot be read"),
        (&["run", "redis-digest", "--values", "/dev/zero"], "more than 4 MiB"),
        (&["run", "redis-digest", "--set-file", "redisPassword=/dev/zero"], "more than 4 MiB"),
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
    // Whoever runs the tests may ignore a hangup (`nohup`), and what is ignored stays so in children.
    let mut child = Command::new("env")
        .arg("--default-signal")
        .arg(env!("CARGO_BIN_EXE_aquifer"))
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .env_remove("AQUIFER_CATALOG")
        .args(["run", "tasks.yaml", "--task", task, "--progress", "plain"])
        .stdout(Stdio::null())
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
    // A full device is found out only after the run. Whoever asked for a report and has none is told by the status too.
    let full = wait("/dev/full");
    assert_eq!(full.status.code(), Some(1));
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

const OBJECTS: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: object}
spec:
  params: [{name: endpoint, required: true}, {name: secret, secret: true}, {name: token, secret: true}]
  steps:
    - name: say
      function: exec
      params: {command: [echo, hello]}
    - name: up
      function: upload
      stdin: say
      params:
        name: n
        location:
          s3:
            bucket: backups
            endpoint: '{{ params.endpoint }}'
            accessKeyId: '{{#if params.secret}}id{{/if}}'
            secretAccessKey: '{{ default params.secret null }}'
            sessionToken: '{{ default params.token null }}'
";

#[test]
fn a_bucket_without_keys_and_one_without_region_are_told_what_to_set() {
    let folder = folder();
    let lines = OBJECTS.lines().filter(|line| !["cessKey", "sessionToken"].iter().any(|key| line.contains(key)));
    let text = lines.collect::<Vec<_>>().join("\n");
    let line = "\n            endpoint: '{{ params.endpoint }}'";
    assert!(text.contains(line), "{text}");
    std::fs::write(folder.path().join("keyless.yaml"), &text).expect("written");
    std::fs::write(folder.path().join("nowhere.yaml"), text.replace(line, "")).expect("written");
    for (file, kind, variable) in
        [("keyless.yaml", "unauthorized", "AWS_ACCESS_KEY_ID"), ("nowhere.yaml", "config", "AWS_REGION")]
    {
        let mut command = aquifer(folder.path());
        // Nothing of whoever runs this test.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
        let done = command.args(["run", file, "--set", "endpoint=http://127.0.0.1:1"]).output().expect("it starts");
        assert_eq!(done.status.code(), Some(1), "{file}: {}", stderr(&done));
        assert!(stderr(&done).contains(kind) && stderr(&done).contains(variable), "{file}: {}", stderr(&done));
    }
}

/// A bucket's keys, given as params or by the environment, are in nothing that is printed, however much is asked for.
#[test]
fn a_buckets_keys_are_in_no_log() {
    let folder = folder();
    let params = OBJECTS.replace("'{{#if params.secret}}id{{/if}}'", "id");
    std::fs::write(folder.path().join("params.yaml"), params).expect("written");
    let lines = OBJECTS
        .lines()
        .filter(|line| !["accessKeyId", "secretAccessKey", "sessionToken"].iter().any(|key| line.contains(key)));
    std::fs::write(folder.path().join("env.yaml"), lines.collect::<Vec<_>>().join("\n")).expect("written");
    // A port that nobody listens on: what is sent there has been signed by then.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port();
    let endpoint = format!("endpoint=http://127.0.0.1:{port}");
    let (id, secret, token) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN");
    let keys = [(id, "the-keys-id"), (secret, "hush-secret"), (token, "hush-token")];
    let given = ["--set-env", "secret=AWS_SECRET_ACCESS_KEY", "--set-env", "token=AWS_SESSION_TOKEN"];
    for (file, more) in [("params.yaml", &given[..]), ("env.yaml", &[])] {
        for command in [&["plan"][..], &["plan", "-o", "json"], &["run", "--report", "-", "--progress", "json"]] {
            let args = [command, &[file, "--set", &endpoint], more].concat();
            let done =
                aquifer(folder.path()).args(&args).env("RUST_LOG", "trace").envs(keys).output().expect("it starts");
            let all = format!("{}{}", stderr(&done), String::from_utf8_lossy(&done.stdout));
            assert_eq!(done.status.code(), Some(i32::from(command[0] == "run")), "{args:?}: {all}");
            for hidden in ["hush-secret", "hush-token", "Signature=", "string to sign"] {
                assert!(!all.contains(hidden), "{args:?} shows {hidden}: {all}");
            }
            if command[0] == "run" {
                assert!(all.contains("WARN opendal"), "the logs are on: {all}");
                assert!(all.contains("unavailable"), "{all}");
            }
        }
    }
}

#[test]
fn a_param_without_its_option_is_told_how_it_is_given_and_its_value_is_not_shown() {
    let output = run(folder().path(), &["run", "redis-backup", "password=hunter2-of-nobody"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("`--set password=…`") && told.contains("--set-env password=VARIABLE"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
