//! Bytes through 1, 3 and 5 pass-through stages, beside `cat` processes joined by the kernel's pipes, on the same file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::ports::{Sink, Source, Transform};
use aquifer_engine::registry::Registry;
use aquifer_engine::run::{RunOptions, run};
use aquifer_engine::stream::Streams;
use bytes::BytesMut;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::table::{Table, in_turn, seconds};

/// Of the file that goes through.
const SIZE: u64 = 2 << 30;

struct ReadFile;
struct Pass;
struct Null;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadParams {
    /// The file.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

impl Function for ReadFile {
    const NAME: &'static str = "read";
    const SUMMARY: &'static str = "Reads a file.";
    const REPEAT: &'static str = "Reads it again.";
    type Params = ReadParams;
    type Ports = Source;
    type Outputs = NoOutputs;

    fn streams(_: Option<&ReadParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, params: ReadParams, mut ports: Source, _: &Call) -> Result<NoOutputs, Failure> {
        let mut file = tokio::fs::File::open(&params.path).await.map_err(|error| Failure::from_io(error, "opening"))?;
        file.set_max_buf_size(1 << 20);
        loop {
            let mut buffer = BytesMut::with_capacity(1 << 20);
            if file.read_buf(&mut buffer).await.map_err(|error| Failure::from_io(error, "reading"))? == 0 {
                return Ok(NoOutputs {});
            }
            ports.stdout.write(buffer.freeze()).await?;
        }
    }
}

impl Function for Pass {
    const NAME: &'static str = "pass";
    const SUMMARY: &'static str = "Passes bytes on.";
    const REPEAT: &'static str = "Passes them on again.";
    type Params = NoParams;
    type Ports = Transform;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Transform, _: &Call) -> Result<NoOutputs, Failure> {
        while let Some(bytes) = ports.stdin.read().await? {
            ports.stdout.write(bytes).await?;
        }
        Ok(NoOutputs {})
    }
}

impl Function for Null {
    const NAME: &'static str = "null";
    const SUMMARY: &'static str = "Reads bytes and drops them.";
    const REPEAT: &'static str = "Drops them again.";
    type Params = NoParams;
    type Ports = Sink;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Sink, _: &Call) -> Result<NoOutputs, Failure> {
        while ports.stdin.read().await?.is_some() {}
        Ok(NoOutputs {})
    }
}

fn ours(runtime: &tokio::runtime::Runtime, path: &Path, stages: usize) -> Result<(), String> {
    let mut catalog = Catalog::new(Registry::new().with(ReadFile).with(Pass).with(Null));
    let mut text = format!(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  steps:\n    - {{name: s0, function: read, params: {{path: {:?}}}}}\n",
        path.display().to_string()
    );
    for stage in 1..=stages {
        text += &format!("    - {{name: s{stage}, function: pass, stdin: s{}}}\n", stage - 1);
    }
    text += &format!("    - {{name: end, function: 'null', stdin: s{stages}}}\n");
    catalog.add_text("t.yaml", &text);
    let plan = catalog.plan("t", &Inputs::default()).map_err(|problems| format!("{problems:?}"))?;
    let report = runtime.block_on(run(plan, RunOptions::default()));
    let read = report.step("end").map_or(0, |step| step.bytes_in);
    if report.status == Status::Succeeded && read == SIZE { Ok(()) } else { Err(format!("{report:?}")) }
}

/// One `cat` reads the file, one stands for each stage, and one for the end, as in `cat FILE | cat | cat >/dev/null`.
fn cats(path: &Path, stages: usize) -> Result<(), String> {
    let spawn = |stdin: Stdio, stdout: Stdio| {
        Command::new("cat").stdin(stdin).stdout(stdout).spawn().map_err(|error| format!("cat: {error}"))
    };
    let mut children = Vec::new();
    let mut from: Stdio = File::open(path).map_err(|error| error.to_string())?.into();
    for _ in 0..=stages {
        let mut child = spawn(from, Stdio::piped())?;
        from = child.stdout.take().ok_or("no stdout")?.into();
        children.push(child);
    }
    children.push(spawn(from, Stdio::null())?);
    for mut child in children {
        child.wait().map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(crate) fn measure() -> Result<Table, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("data");
    let mut random = File::open("/dev/urandom").map_err(|error| error.to_string())?.take(SIZE);
    let mut file = File::create(&path).map_err(|error| error.to_string())?;
    std::io::copy(&mut random, &mut file).and_then(|_| file.flush()).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let mut table = Table::new(
        "2 GiB of random bytes through pass-through stages (medians of 3, in turn)",
        &["stages", "aquifer", "cats", "aquifer : cat", "aquifer GiB/s"],
    );
    for stages in [1, 3, 5] {
        let (a, b) = in_turn(|| ours(&runtime, &path, stages), || cats(&path, stages))?;
        let rate = 2.0 / a.as_secs_f64();
        table.row(&[
            stages.to_string(),
            seconds(a),
            seconds(b),
            format!("{:.2}", a.as_secs_f64() / b.as_secs_f64()),
            format!("{rate:.2}"),
        ]);
    }
    Ok(table)
}
