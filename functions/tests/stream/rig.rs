//! What these tests share: bytes to send, other people's tools to run, processes to look for.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome};
use aquifer_engine::event::{Level, Status, VERSION};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, RunInfo, Voice};
use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::ports::{Need, OpenEnds};
use aquifer_engine::registry::Registry;
use aquifer_engine::report::Report;
use aquifer_engine::secret::Redactor;
use aquifer_engine::stream::StreamType;
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Bytes that compress somewhat and repeat nowhere exactly: words by a fixed xorshift generator.
pub(crate) fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 24);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("key:{:06}=", state % 1_000_000).as_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An input in pieces of odd sizes.
pub(crate) fn pieces(bytes: &[u8]) -> Input {
    let (mut rest, mut size, mut pieces) = (bytes, 1, Vec::new());
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(size.min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = tail;
        size = (size * 7 + 3) % 300_007;
    }
    Input::Finished(pieces)
}

/// Runs a tool that must be there and must succeed.
pub(crate) fn tool(command: &[&str], stdin: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{}` is needed by this test: {error}", command[0]));
    let mut sink = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || sink.write_all(stdin));
        child.wait_with_output().expect("waited for")
    });
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// The failure of a run that must have failed in this way.
pub(crate) fn failure(outcome: &Outcome, kind: FailureKind) -> &Failure {
    let failure = outcome.result.as_ref().expect_err("must fail");
    assert_eq!(failure.kind, kind, "{failure:?}");
    failure
}

/// True where a process of this id runs (a zombie does not).
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| !"ZX".contains(state))
}

/// Waits for a condition, for ten seconds at most.
pub(crate) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited ten seconds for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A run that gives this report and hears nothing.
pub(crate) struct Reports(pub(crate) Report);

impl Voice for Reports {
    fn say(&self, _: &str, _: Level, _: &str) {}

    fn note(&self, _: &str, _: String) {}

    fn so_far(&self) -> Report {
        self.0.clone()
    }
}

/// The report of a run that has only begun.
pub(crate) fn begun() -> Report {
    Report {
        version: VERSION,
        run: "run".into(),
        task: "task".into(),
        status: Status::Running,
        stopped: false,
        started: "2026-11-23T10:00:00Z".parse().expect("a time"),
        seconds: 12.5,
        first_failure: None,
        pipelines: Vec::new(),
    }
}

/// A call in a run that stands like this.
pub(crate) fn call(report: Report, cancel: CancellationToken) -> Call {
    let run = RunInfo { id: report.run.clone(), task: report.task.clone(), started: report.started };
    Call::new(Arc::new(run), "step", cancel, Redactor::default(), Arc::new(Reports(report)))
}

/// Runs a function on an input that stays open behind its first bytes, and on an output that nobody reads; stops it once
/// `when` is over, and gives its result, which must come within a second.
pub(crate) async fn stalled<F: Function>(
    function: F,
    params: Value,
    first: Vec<u8>,
    when: impl AsyncFnOnce(),
) -> Result<Value, Failure> {
    let registry = Registry::new().with(function);
    let function = registry.get(F::NAME).expect("registered");
    let (mut writer, mut input) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (reader, input) = input.remove(0);
    let (stdout, mut output) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (_unread, output) = output.remove(0);
    let has = |need: Need| need != Need::Never;
    let ends = OpenEnds {
        stdin: has(function.info().stdin).then_some(reader),
        stdout: has(function.info().stdout).then_some(stdout),
    };
    let cancel = CancellationToken::new();
    let prepared = function.prepare(params).expect("sound params");
    let running = tokio::spawn(prepared.run(ends, call(begun(), cancel.clone())));
    writer.write(Bytes::from(first)).await.expect("room");
    when().await;
    cancel.cancel();
    for control in [input, output] {
        control.break_off(Failure::cancelled("stopped"));
    }
    tokio::time::timeout(Duration::from_secs(1), running).await.expect("ends within a second").expect("no panic")
}
