//! Memory does not grow with values: a string of 300 MiB, a hash and a list of a million parts and a list with long ends
//! go from server to server through a slow reader within 64 MiB.
//!
//! Alone in its test binary: the high-water mark of the process is what is measured.

use aquifer_tests::process::memory;
use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::ports::Transform;
use aquifer_engine::registry::Registry;
use aquifer_engine::run::{RunOptions, run};
use aquifer_engine::stream::Streams;
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_functions::redis_verify::RedisVerify;
use aquifer_tests::redis_server::RedisServer;
use schemars::JsonSchema;
use serde::Deserialize;

const LIMIT: u64 = 64 << 20;

/// Run by the server, so that nothing of it is ever in this process.
const FILL: &str = "
for n = 1, 1000000 do
  redis.call('HSET', 'hash', 'field ' .. n, 'value ' .. n)
  redis.call('RPUSH', 'list', 'element ' .. n)
end
redis.call('SETRANGE', 'string', 300 * 1024 * 1024 - 1, 'x')
redis.call('PEXPIREAT', 'string', 32503680000000)
redis.call('PEXPIREAT', 'hash', 32503680000000)
redis.call('RPUSH', 'long ends', string.rep('first', 8 * 1024 * 1024))
for n = 1, 50000 do redis.call('RPUSH', 'long ends', 'element ' .. n) end
redis.call('RPUSH', 'long ends', string.rep('last!', 8 * 1024 * 1024))
return 'filled'";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

struct SlowCopy;

impl Function for SlowCopy {
    const NAME: &'static str = "slow-copy";
    const SUMMARY: &'static str = "Copies slowly.";
    const REPEAT: &'static str = "Copies again.";
    type Params = NoParams;
    type Ports = Transform;
    type Outputs = NoOutputs;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Transform, _: &Call) -> Result<NoOutputs, Failure> {
        let mut pieces = 0_u32;
        while let Some(bytes) = ports.stdin.read().await? {
            pieces += 1;
            if pieces.is_multiple_of(4) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            ports.stdout.write(bytes).await?;
        }
        Ok(NoOutputs {})
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_values_go_from_server_to_server_within_64_mebibytes() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    assert_eq!(from.cli(&["EVAL", FILL, "0"]), "filled\n");
    let mut catalog = Catalog::new(
        Registry::new().with(RedisDump).with(SlowCopy).with(RedisRestore).with(RedisVerify).with(RedisDiff),
    );
    let (source, target) = (from.socket_url(), to.socket_url());
    catalog.add_text(
        "t.yaml",
        &format!(
            "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: t}}
spec:
  params: [{{name: source}}]
  steps:
    - {{name: dump, function: redis-dump, params: {{url: \"{source}\", source: \"{{{{ params.source }}}}\"}}}}
    - {{name: copy, function: slow-copy, stdin: dump}}
    - {{name: restore, function: redis-restore, stdin: copy, params: {{url: \"{target}\"}}}}
"
        ),
    );
    catalog.add_text(
        "d.yaml",
        &format!(
            "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {{name: d}}
spec:
  steps:
    - {{name: servers, function: redis-diff, params: {{left: {{url: \"{source}\"}}, right: {{url: \"{target}\"}}}}}}
    - {{name: dump, function: redis-dump, needs: [servers], params: {{url: \"{source}\", source: scan}}}}
    - {{name: verify, function: redis-verify, stdin: dump}}
    - {{name: diff, function: redis-diff, stdin: dump, params: {{right: {{url: \"{target}\"}}}}}}
"
        ),
    );
    let before = memory("VmRSS:");
    for way in ["scan", "replication"] {
        to.cli(&["FLUSHALL"]);
        let inputs = Inputs::default().with_text("source", way);
        let plan = catalog.plan("t", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let report = run(Arc::new(plan), RunOptions::default()).await;
        let grown = memory("VmHWM:").saturating_sub(before);
        assert_eq!(report.status, Status::Succeeded, "{report:#?}");
        assert_eq!(to.cli(&["DEBUG", "DIGEST"]), from.cli(&["DEBUG", "DIGEST"]));
        assert!(grown < LIMIT, "{way}: grew by {grown} bytes");
    }
    // What was copied is compared within the same bounds, with a server and as a dump.
    let plan = catalog.plan("d", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let report = run(Arc::new(plan), RunOptions::default()).await;
    let grown = memory("VmHWM:").saturating_sub(before);
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert!(grown < LIMIT, "comparing: grew by {grown} bytes");
}
