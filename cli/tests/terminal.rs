//! The real binary on a terminal: a pseudo-terminal is its stderr, and what it drew there is looked at.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

const TASK: &str = "apiVersion: aquifer.dev/v1alpha1
kind: Function
metadata: {name: zeros}
spec:
  stdout: application/octet-stream
  exec: {command: [head, -c, 6M, /dev/zero]}
---
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: slow}
spec:
  steps:
    - {name: zeros, function: zeros}
    - {name: limit, function: throttle, stdin: zeros, params: {rate: 4MiB}}
    - {name: sum, function: checksum, stdin: limit}
";

/// What a run drew, and whether the terminal shows control characters after it.
fn drawn(columns: u16, variables: &[(&str, &str)]) -> (String, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("slow.yaml"), TASK).expect("written");
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
    let mut child = Command::new(env!("CARGO_BIN_EXE_aquifer"))
        .args(["run", "slow.yaml"])
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(slave.try_clone().expect("another handle"))
        .spawn()
        .expect("it starts");
    let reader = std::thread::spawn(move || {
        let (mut master, mut drawn, mut part) = (File::from(master), Vec::new(), [0; 4096]);
        // The end of a terminal is an error.
        while let Ok(count @ 1..) = master.read(&mut part) {
            drawn.extend_from_slice(&part[..count]);
        }
        drawn
    });
    assert!(child.wait().expect("it ends").success());
    let shows = tcgetattr(&slave).expect("a terminal").local_flags.contains(LocalFlags::ECHOCTL);
    drop(slave);
    (String::from_utf8_lossy(&reader.join().expect("no panic")).into_owned(), shows)
}

#[test]
fn rows_show_bytes_rate_and_the_slowest_and_are_gone_at_the_end() {
    let (text, shows) = drawn(80, &[]);
    assert!(text.contains("MiB/s") && text.contains("▸") && text.contains("the others wait for it"), "{text}");
    assert!(text.contains("\u{1b}["), "rows are drawn over: {text}");
    for said in ["slow: started", "zeros: done, 6.00 MiB", "limit: done, 6.00 MiB", "sum: done, 6.00 MiB"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // Behind the last word the screen below is cleared and nothing is drawn any more.
    let end = text.rsplit("sum: done").next().expect("it was said");
    assert!(!end.contains('⠋') && !end.contains("/s"), "{end:?}");
    assert!(shows, "the terminal is as it was");
}

#[test]
fn colours_and_rows_can_be_done_without() {
    let (text, _) = drawn(80, &[("NO_COLOR", "1")]);
    assert!(text.contains("MiB/s") && !text.contains("\u{1b}[3") && !text.contains("\u{1b}[1m"), "{text:?}");
    let (text, _) = drawn(80, &[("TERM", "dumb")]);
    assert!(text.contains("limit: started") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_narrow_terminal_breaks_no_row() {
    let (text, _) = drawn(30, &[("NO_COLOR", "1")]);
    assert!(text.contains("MiB/") && !text.contains("the others"), "{text:?}");
}
