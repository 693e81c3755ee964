//! Memory does not grow with a file: an RDB of more than 2 GiB, made while it is read, with strings, elements, members and
//! streams that are far too long to hold, becomes a stream within 64 MiB.
//!
//! Alone in its test binary: the high-water mark of the process is what is measured.

use aquifer_tests::process::memory;
use std::sync::Arc;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::pipe::Writer;
use aquifer_engine::ports::{Sink, Source};
use aquifer_engine::registry::Registry;
use aquifer_engine::run::{RunOptions, run};
use aquifer_engine::stream::Streams;
use aquifer_functions::rdb_read::RdbRead;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

const LIMIT: u64 = 64 << 20;
const MIB: usize = 1 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

/// Writes an RDB.
struct Generate;

struct Rdb(Writer, Vec<u8>);

impl Rdb {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.1.extend_from_slice(bytes);
        if self.1.len() < 200_000 { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.0.write(Bytes::from(std::mem::take(&mut self.1))).await
    }

    async fn length(&mut self, length: usize) -> Result<(), Failure> {
        self.put(&[0x80]).await?;
        self.put(&u32::try_from(length).expect("short enough").to_be_bytes()).await
    }

    async fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.length(text.len()).await?;
        self.put(text.as_bytes()).await
    }

    async fn key(&mut self, kind: u8, name: &str) -> Result<(), Failure> {
        self.put(&[kind]).await?;
        self.text(name).await
    }

    /// So many bytes that nobody can hold.
    async fn many(&mut self, mut length: usize) -> Result<(), Failure> {
        self.flush().await?;
        let piece = Bytes::from(vec![b'm'; MIB]);
        while length > 0 {
            let piece = piece.slice(..piece.len().min(length));
            length -= piece.len();
            self.0.write(piece).await?;
        }
        Ok(())
    }
}

impl Function for Generate {
    const NAME: &'static str = "generate";
    const SUMMARY: &'static str = "Writes an RDB.";
    const REPEAT: &'static str = "Writes it again.";
    type Params = NoParams;
    type Ports = Source;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, ports: Source, _: &Call) -> Result<NoOutputs, Failure> {
        let mut rdb = Rdb(ports.stdout, Vec::new());
        rdb.put(b"REDIS0011\xfe\x00").await?;
        for n in 0..3 {
            rdb.key(0, &format!("string {n}")).await?;
            rdb.length(400 * MIB).await?;
            rdb.many(400 * MIB).await?;
        }
        // A compressed string: a literal, and copies of 264 bytes of it.
        let copies = 400 * MIB / 264;
        rdb.key(0, "compressed").await?;
        rdb.put(b"\xc3").await?;
        rdb.length(2 + copies * 3).await?;
        rdb.length(1 + copies * 264).await?;
        rdb.put(b"\x00m").await?;
        for _ in 0..copies {
            rdb.put(b"\xe0\xff\x00").await?;
        }
        // A list of a plain node and a listpack, both with elements of hundreds of MiB.
        rdb.key(18, "list").await?;
        rdb.put(b"\x02\x01").await?;
        rdb.length(300 * MIB).await?;
        rdb.many(300 * MIB).await?;
        let element = 300 * MIB;
        let total = 6 + 2 * (5 + element + 5) + 1;
        rdb.put(b"\x02").await?;
        rdb.length(total).await?;
        rdb.put(&u32::try_from(total).expect("short enough").to_le_bytes()).await?;
        rdb.put(b"\x02\x00").await?;
        for _ in 0..2 {
            rdb.put(b"\xf0").await?;
            rdb.put(&u32::try_from(element).expect("short enough").to_le_bytes()).await?;
            rdb.many(element).await?;
            rdb.put(&[0; 5]).await?;
        }
        rdb.put(b"\xff").await?;
        rdb.key(4, "hash").await?;
        rdb.length(300_001).await?;
        rdb.text("long").await?;
        rdb.length(100 * MIB).await?;
        rdb.many(100 * MIB).await?;
        for n in 0..300_000 {
            rdb.text(&format!("field {n}")).await?;
            rdb.text(&format!("value {n}")).await?;
        }
        rdb.key(5, "board").await?;
        rdb.length(300_000).await?;
        for n in 0..300_000 {
            if n == 77 {
                // A member has to be held until its score comes.
                rdb.length(16 * MIB).await?;
                rdb.many(16 * MIB).await?;
            } else {
                rdb.text(&format!("member {n}")).await?;
            }
            rdb.put(&f64::from(n).to_le_bytes()).await?;
        }
        stream(&mut rdb).await?;
        // A module's value that is just short enough to be passed on.
        rdb.key(7, "module").await?;
        rdb.put(b"\x01\x05").await?;
        rdb.length(23 * MIB).await?;
        rdb.many(23 * MIB).await?;
        rdb.put(b"\x00\xff").await?;
        rdb.put(&[0; 8]).await?;
        rdb.flush().await?;
        Ok(NoOutputs {})
    }
}

/// A stream of many nodes, with much that is pending.
async fn stream(rdb: &mut Rdb) -> Result<(), Failure> {
    const NODES: u32 = 20_000;
    const PENDING: u32 = 400_000;
    rdb.key(21, "stream").await?;
    rdb.length(NODES as usize).await?;
    let id = |n: u32| [u64::from(n).to_be_bytes(), 1_u64.to_be_bytes()].concat();
    for n in 1..=NODES {
        rdb.length(16).await?;
        rdb.put(&id(n)).await?;
        // One entry, none deleted, one field `f`, the entry with the same fields and a value of 2048 bytes.
        let mut node = vec![0, 0, 0, 0, 0xff, 0xff, 1, 1, 0, 1, 1, 1, 0x81, b'f', 2, 0, 1, 2, 1, 0, 1, 0, 1, 0xe8, 0];
        node.extend(vec![b'v'; 2048]);
        node.extend([0x90, 0x02, 4, 1, 0xff]);
        let length = u32::try_from(node.len()).expect("short").to_le_bytes();
        node[..4].copy_from_slice(&length);
        rdb.length(node.len()).await?;
        rdb.put(&node).await?;
    }
    // Its length and last id; the first one, the largest deleted one, how many were added.
    for number in [NODES, NODES, 1, 1, 1, 0, 0, NODES, 1] {
        rdb.length(number as usize).await?;
    }
    rdb.text("readers").await?;
    for number in [NODES, 1, NODES, PENDING] {
        rdb.length(number as usize).await?;
    }
    for n in 1..=PENDING {
        rdb.put(&id(n)).await?;
        rdb.put(&u64::from(n).to_le_bytes()).await?;
        rdb.put(b"\x01").await?;
    }
    rdb.length(1).await?;
    rdb.text("reader").await?;
    rdb.put(&[0; 16]).await?;
    rdb.length(PENDING as usize).await?;
    for n in 1..=PENDING {
        rdb.put(&id(n)).await?;
    }
    Ok(())
}

/// Reads, and keeps nothing.
struct Forget;

impl Function for Forget {
    const NAME: &'static str = "forget-it";
    const SUMMARY: &'static str = "Keeps nothing.";
    const REPEAT: &'static str = "Keeps nothing again.";
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_gibibytes_is_read_within_64_mebibytes() {
    let mut catalog = Catalog::new(Registry::new().with(Generate).with(RdbRead).with(Forget));
    catalog.add_text(
        "t.yaml",
        "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: t}
spec:
  steps:
    - {name: generate, function: generate}
    - {name: read, function: rdb-read, stdin: generate}
    - {name: forget, function: forget-it, stdin: read}
",
    );
    let plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let before = memory("VmRSS:");
    let report = run(Arc::new(plan), RunOptions::default()).await;
    let grown = memory("VmHWM:").saturating_sub(before);
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    let step = report.step("read").expect("it ran");
    assert!(step.bytes_in > 2 << 30, "{report:#?}");
    assert_eq!(step.outputs["keys"], 9, "{report:#?}");
    assert_eq!(step.outputs["lostPending"], 380_000);
    assert!(grown < LIMIT, "grew by {grown} bytes");
}
