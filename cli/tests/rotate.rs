//! A change of a repository's password that is killed: at whatever moment, the old password or the new one opens it, and the same
//! command again brings it to its end.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn aquifer(folder: &Path, task: &str, password: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
    command.current_dir(folder).args(["run", task, "--set", "repository=r", "--set-env", "password=OLD"]).args(more);
    command
        .env("OLD", password)
        .env("NEW", "the new one")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn keys(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder.join("r/keys")).expect("there");
    names.flatten().filter(|entry| entry.file_name().len() == 64).count()
}

fn opens(folder: &Path, password: &str) -> bool {
    let Output { status, stderr, .. } =
        aquifer(folder, "repository-snapshots", password, &[]).output().expect("it starts");
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success() || told.contains("does not open the repository"), "{told}");
    status.success()
}

#[test]
fn killed_at_any_moment_one_of_the_two_passwords_opens_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let steps = "
    - {name: say, function: exec, params: {command: [echo, something]}}
    - name: push
      function: restic-push
      stdin: say
      params: {repository: r, password: '{{ params.password }}'}
  params: [{name: repository}, {name: password, secret: true, required: true}]";
    let task =
        format!("apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: make}}\nspec:\n  steps:{steps}\n");
    std::fs::write(here.join("make.yaml"), task).expect("room");
    assert!(aquifer(here, "make.yaml", "the old one", &[]).status().expect("it starts").success());
    let rotate = ["--set-env", "newPassword=NEW"];
    let mut both = 0;
    // As soon as its lock is there; as soon as there are two keys; as soon as there is one again.
    for moment in 0..3 {
        let mut child = aquifer(here, "repository-password", "the old one", &rotate).spawn().expect("it starts");
        let begun = Instant::now();
        let (mut was_two, mut over) = (false, false);
        while !over && child.try_wait().expect("ours").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it hangs");
            let count = keys(here);
            was_two |= count == 2;
            over = match moment {
                0 => std::fs::read_dir(here.join("r/locks")).is_ok_and(|mut locks| locks.next().is_some()),
                1 => was_two,
                _ => was_two && count == 1,
            };
            std::thread::yield_now();
        }
        _ = child.kill();
        _ = child.wait();
        let (old, new) = (opens(here, "the old one"), opens(here, "the new one"));
        assert!(old || new, "moment {moment}: nothing opens it");
        both += usize::from(old && new);
        if moment < 2 {
            assert!(old, "moment {moment}: the old key went early");
        }
    }
    assert!(both > 0, "none was killed in between");
    // The same again: it ends with one password, and without what the killed ones left.
    assert!(aquifer(here, "repository-password", "the old one", &rotate).status().expect("it starts").success());
    assert!(opens(here, "the new one") && !opens(here, "the old one"));
}
