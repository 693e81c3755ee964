//! Memory does not grow with the data: 4 GiB through five stages, with a slow reader, within 64 MiB.
//!
//! Alone in its process: the high-water mark of that is what is measured. And without the threshold that glibc raises by itself, from which it keeps
//! what was freed: that is between nothing and as much again, differs from run to run, and is none of what the engine holds.

use aquifer_tests::process::memory;
use std::time::Duration;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::ports::{Sink, Source, Transform};
use aquifer_engine::registry::Registry;
use aquifer_engine::run::{RunOptions, run};
use aquifer_engine::stream::Streams;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

const SIZE: u64 = 4 << 30;
const LIMIT: u64 = 64 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

struct Flood;
struct Copy;
struct SlowDrain;

impl Function for Flood {
    const NAME: &'static str = "flood";
    const SUMMARY: &'static str = "Writes as fast as it can.";
    const REPEAT: &'static str = "Writes again.";
    type Params = NoParams;
    type Ports = Source;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Source, _: &Call) -> Result<NoOutputs, Failure> {
        for round in 0..SIZE >> 18 {
            // New memory each time, as a real source makes it.
            let piece = vec![u8::try_from(round % 256).unwrap_or_default(); 1 << 18];
            ports.stdout.write(piece.into()).await?;
        }
        Ok(NoOutputs {})
    }
}

impl Function for Copy {
    const NAME: &'static str = "copy";
    const SUMMARY: &'static str = "Copies what it reads.";
    const REPEAT: &'static str = "Copies again.";
    type Params = NoParams;
    type Ports = Transform;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Transform, _: &Call) -> Result<NoOutputs, Failure> {
        while let Some(bytes) = ports.stdin.read().await? {
            ports.stdout.write(Bytes::copy_from_slice(&bytes)).await?;
        }
        Ok(NoOutputs {})
    }
}

impl Function for SlowDrain {
    const NAME: &'static str = "slow-drain";
    const SUMMARY: &'static str = "Reads slowly.";
    const REPEAT: &'static str = "Reads again.";
    type Params = NoParams;
    type Ports = Sink;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Sink, _: &Call) -> Result<NoOutputs, Failure> {
        let mut pieces = 0_u32;
        while ports.stdin.read().await?.is_some() {
            pieces += 1;
            if pieces.is_multiple_of(16) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(NoOutputs {})
    }
}

#[test]
fn four_gibibytes_through_five_stages_stay_within_64_mebibytes() {
    let measured = std::process::Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", "measured", "--ignored"])
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .output()
        .expect("it was run a moment ago");
    let said = String::from_utf8_lossy(&measured.stdout);
    assert!(measured.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test above runs it, in a process of its own"]
async fn measured() {
    let mut catalog = Catalog::new(Registry::new().with(Flood).with(Copy).with(SlowDrain));
    catalog.add_text(
        "t.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: t}
spec:
  steps:
    - {name: a, function: flood}
    - {name: b, function: copy, stdin: a}
    - {name: c, function: copy, stdin: b}
    - {name: d, function: copy, stdin: c}
    - {name: e, function: slow-drain, stdin: d}
",
    );
    let plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let before = memory("VmRSS:");
    let report = run(plan, RunOptions::default()).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert_eq!(report.step("e").expect("it ran").bytes_in, SIZE);
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown < LIMIT, "grew by {grown} bytes");
}
