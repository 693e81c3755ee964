//! Memory does not grow with the data where real functions do the work: 1 GiB through commands, digests, codecs and
//! encryption into a file and back, within 96 MiB.
//!
//! Alone in its test binary: the high-water mark of the process is what is measured.

use aquifer_tests::process::memory;
use std::sync::Arc;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::run::{RunOptions, run};

const SIZE: u64 = 1 << 30;
const LIMIT: u64 = 96 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_through_real_functions_stays_within_96_mebibytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text(
        "t.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: t}
spec:
  params: [{name: path, required: true}, {name: passphrase, required: true, secret: true}]
  steps:
    - {name: make, function: exec, params: {command: [head, -c, '1073741824', /dev/zero]}}
    - {name: cat, function: exec, stdin: make, params: {command: [cat]}}
    - {name: sum, function: checksum, stdin: cat}
    - {name: lock, function: encrypt, stdin: sum, params: {passphrase: '{{ params.passphrase }}', workFactor: 10}}
    - {name: unlock, function: decrypt, stdin: lock, params: {passphrase: '{{ params.passphrase }}'}}
    - {name: zip, function: compress, stdin: unlock}
    - {name: write, function: file-write, stdin: zip, params: {path: '{{ params.path }}'}}
    - {name: read, function: file-read, needs: [write], params: {path: '{{ steps.write.outputs.path }}'}}
    - {name: unzip, function: decompress, stdin: read}
    - {name: again, function: checksum, stdin: unzip, params: {expect: '{{ steps.sum.outputs.digest }}'}}
",
    );
    let path = folder.path().join("f").display().to_string();
    let inputs = Inputs::default().with_text("path", path).with_text("passphrase", "correct horse");
    let plan = catalog.plan("t", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let before = memory("VmRSS:");
    let report = run(Arc::new(plan), RunOptions::default()).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert_eq!(report.step("again").expect("it ran").bytes_in, SIZE);
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown < LIMIT, "grew by {grown} bytes");
}
