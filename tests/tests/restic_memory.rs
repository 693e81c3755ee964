//! The memory of reading a snapshot back, in a process of its own, where nothing else takes any.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_push::ResticPush;
use serde_json::json;

const PASSWORD: &str = "correct horse";

#[tokio::test(flavor = "multi_thread")]
async fn reading_back_what_compresses_well_takes_little_memory() {
    let peak = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
    };
    // One chunk like the next: 300 MiB that take next to nothing in the repository, all side by side in one pack.
    let place = tempfile::tempdir().expect("a folder");
    let repository = place.path().join("repository");
    let mut number = 0_u64;
    let words: Vec<bytes::Bytes> = (0..300)
        .map(|_| {
            let mut piece = Vec::with_capacity(1 << 20);
            while piece.len() < 1 << 20 {
                number += 1;
                piece.extend_from_slice(&number.to_be_bytes());
                piece.extend_from_slice(&[0; 120]);
            }
            bytes::Bytes::from(piece)
        })
        .collect();
    run_alone(ResticPush, json!({"repository": repository, "password": PASSWORD}), Input::Finished(words))
        .await
        .result
        .expect("stored");
    let folder = tempfile::tempdir().expect("a folder");
    let mut catalog = aquifer_engine::catalog::Catalog::new(aquifer_functions::builtins());
    catalog.add_text(
        "back.yaml",
        &format!(
            "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: back}}
spec:
  params: [{{name: password, secret: true, required: true}}]
  steps:
    - {{name: pull, function: restic-pull, params: {{repository: {}, password: '{{{{ params.password }}}}'}}}}
    - {{name: slow, function: throttle, stdin: pull, params: {{rate: 150MiB}}}}
    - {{name: file, function: file-write, stdin: slow, params: {{path: {}/out}}}}
",
            repository.display(),
            folder.path().display()
        ),
    );
    let inputs = aquifer_engine::catalog::Inputs::default().with_text("password", PASSWORD);
    let plan = catalog.plan("back", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let (before, stop) = (peak(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let stop = std::sync::Arc::clone(&stop);
        move || {
            let mut most = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(peak());
                std::thread::yield_now();
            }
            most
        }
    });
    let report = aquifer_engine::run::run(plan, aquifer_engine::run::RunOptions::default()).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let grown = watcher.join().expect("watched").saturating_sub(before);
    assert!(report.first_failure.is_none(), "{report:#?}");
    assert!(grown < 180 << 20, "{} MiB more than before", grown >> 20);
}
