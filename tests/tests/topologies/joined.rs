//! A cluster's shards dumped one by one, put behind each other, and brought back as one dump.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::report::Report;
use aquifer_engine::run::{RunOptions, run as run_plan};
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_functions::redis_verify::RedisVerify;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::RedisServer;
use aquifer_tests::streams::pieces;
use serde_json::{Value as Json, json};

use super::cluster::{digest, dump, filled, restore};
use super::rig::{self, merged};

/// The streams of all shards, each as it is.
async fn shards(cluster: &RedisCluster) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for shard in 1..=cluster.masters.len() {
        let params = json!({"shard": shard, "shards": cluster.masters.len(), "joined": true});
        let outcome = dump(&cluster.url(), params).await;
        outcome.result.expect("a dump");
        all.push(outcome.stdout);
    }
    all
}

async fn verify(stream: &[u8], params: Json) -> Result<Json, Failure> {
    run_alone(RedisVerify, params, pieces(stream)).await.result
}

async fn diff(stream: &[u8], right: &str) -> Result<Json, Failure> {
    run_alone(RedisDiff, json!({"right": {"url": right}}), pieces(stream)).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_cluster_behind_each_other_are_a_dump_of_it() {
    let (single, cluster) = (filled(), RedisCluster::start(3, false, &[]));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    let expected = rig::digest(&single).await;
    let (parts, again) = (shards(&cluster).await, shards(&cluster).await);
    assert!(parts == again, "an unchanged cluster gives the same bytes");
    let all = parts.concat();

    let found = verify(&all, json!({})).await.expect("whole");
    assert_eq!((&found["digest"], &found["bytes"]), (&json!(expected), &json!(all.len())), "{found}");
    assert_eq!((&found["keys"], &found["functions"]), (&json!(cluster.keys()), &json!(2)), "{found}");
    let back = RedisServer::start();
    let outputs = restore(&back.url(), &all, json!({})).await.expect("into a single server");
    assert_eq!((&outputs["keys"], &outputs["functions"]), (&json!(cluster.keys()), &json!(2)), "{outputs}");
    assert_eq!((&outputs["bytes"], &outputs["commands"]), (&found["bytes"], &found["commands"]), "{outputs}");
    assert_eq!(outputs["streamVersion"], json!(1));
    assert_eq!(rig::portrait(&back), rig::portrait(&single));
    let two = RedisCluster::start(2, false, &[]);
    restore(&two.url(), &all, json!({})).await.expect("into a cluster of another shape");
    assert_eq!(digest(&two.url(), json!({})).await, expected);
    for right in [&two.url(), &back.url(), &cluster.url()] {
        assert_eq!(diff(&all, right).await.expect("the same")["compared"], json!(cluster.keys()));
    }
    // Twice, emptied before, with what is changed on the way, and by the server's own loader.
    let replaced = restore(&two.url(), &all, json!({"onConflict": "replace"})).await.expect("twice");
    assert_eq!(replaced["keys"], json!(cluster.keys()));
    for before in ["flush-db", "flush-all"] {
        let params = json!({"before": before, "confirmFlush": true, "functions": "replace"});
        let outputs = restore(&back.url(), &all, params).await.expect("emptied once");
        assert_eq!(outputs["keys"], json!(cluster.keys()), "{before}");
        assert_eq!(rig::digest(&back).await, expected, "{before}");
    }
    let dry = restore(&back.url(), &all, json!({"dryRun": true, "onConflict": "skip", "functions": "skip"})).await;
    assert_eq!(dry.expect("a look")["existing"], json!(cluster.keys()));
    let params = json!({"databaseMap": {"0": 3}, "filter": {"types": ["list", "set"]}, "functions": "leave"});
    let outputs = restore(&back.url(), &all, params).await.expect("into another database");
    assert_eq!((&outputs["keys"], &outputs["perType"]["set"]), (&json!(6), &json!(5)), "{outputs}");
    let piped = RedisServer::start();
    let said = piped.pipe(&all);
    assert!(said.contains("errors: 0"), "{said}");
    assert_eq!(rig::digest(&piped).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_shards_never_looks_like_all_of_them() {
    let cluster = RedisCluster::start(3, false, &[]);
    for n in 0..300 {
        let key = format!("key:{n}");
        cluster.masters[cluster.owner(&key)].cli(&["SET", &key, "value"]);
    }
    let parts = shards(&cluster).await;
    let to = RedisServer::start();
    let join = |order: &[usize]| order.iter().flat_map(|at| parts[*at].iter().copied()).collect::<Vec<u8>>();
    let all = join(&[0, 1, 2]);
    let middle = parts[0].len() + parts[1].len() / 2;
    for (stream, says) in [
        (join(&[0]), "behind shard 1 of 3"),
        (join(&[0, 1]), "behind shard 2 of 3"),
        (all[..middle].to_vec(), "cut off"),
        (all[..all.len() - 1].to_vec(), "cut off"),
        (join(&[1]), "begins with shard 2 of 3"),
        (join(&[0, 2]), "there is shard 3 of 3"),
        (join(&[0, 2, 1]), "there is shard 3 of 3"),
        (join(&[0, 1, 1, 2]), "there is shard 2 of 3"),
        (join(&[0, 1, 2, 2]), "more behind the trailer"),
        (join(&[0, 1, 2, 0, 1, 2]), "more behind the trailer"),
    ] {
        for trailer in [true, false] {
            let params = json!({"requireTrailer": trailer});
            for dry in [false, true] {
                let more = json!({"onConflict": "replace", "dryRun": dry});
                let failure = restore(&to.url(), &stream, merged(params.clone(), more)).await.expect_err(says);
                assert!(failure.kind == FailureKind::Corrupt && failure.message.contains(says), "{says}: {failure:?}");
            }
            let failure = verify(&stream, params).await.expect_err(says);
            assert!(failure.kind == FailureKind::Corrupt && failure.message.contains(says), "{says}: {failure:?}");
        }
        let failure = diff(&stream, &cluster.url()).await.expect_err(says);
        assert!(failure.kind == FailureKind::Corrupt && failure.message.contains(says), "{says}: {failure:?}");
    }
    restore(&to.url(), &all, json!({"onConflict": "replace"})).await.expect("whole");

    // A slot that moved between the dump of one shard and that of the next, and back.
    cluster.move_slot(5, 0, 1);
    cluster.move_slot(5, 1, 0);
    let moved = shards(&cluster).await;
    verify(&moved.concat(), json!({})).await.expect("of one layout");
    let mixed = [&parts[0][..], &moved[1], &moved[2]].concat();
    let failure = verify(&mixed, json!({})).await.expect_err("keys may be in neither");
    assert!(failure.kind == FailureKind::Corrupt && failure.message.contains("distributed"), "{failure:?}");
    // The number of shards is told by the params, and held to the cluster.
    for params in [json!({"joined": true}), json!({"joined": true, "shard": 1}), json!({"joined": true, "shards": 3})] {
        let failure = dump(&cluster.url(), params).await.result.expect_err("of which number?");
        assert!(failure.kind == FailureKind::Config && failure.message.contains("joined"), "{failure:?}");
    }
}

/// A task that backs a cluster of three up, shard by shard; `order` is that of the joining.
fn task(order: &str, joined: bool) -> String {
    let mut text = "apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: shards}
spec:
  params:
    - {name: redis, required: true}
    - {name: repository, required: true}
    - {name: password, secret: true, required: true}
  steps:
"
    .to_owned();
    let access = "repository: '{{ params.repository }}', password: '{{ params.password }}'";
    for shard in 1..=3 {
        let dump = format!("{{url: '{{{{ params.redis }}}}', shard: {shard}, shards: 3, joined: {joined}}}");
        text += &format!("    - {{name: dump-{shard}, function: redis-dump, params: {dump}}}\n");
        let push = format!("{{{access}, filename: shard.part, tags: [shards-of-a]}}");
        text += &format!("    - {{name: push-{shard}, function: restic-push, stdin: dump-{shard}, params: {push}}}\n");
    }
    let snapshots: Vec<String> =
        order.chars().map(|shard| format!("'{{{{ steps.push-{shard}.outputs.snapshot }}}}'")).collect();
    let join = format!(
        "{{{access}, snapshots: [{}], partTag: shards-of-a, filename: dump.resp, host: a, tags: [nightly], verify: data}}",
        snapshots.join(", ")
    );
    text + &format!("    - {{name: join, function: restic-join, needs: [push-1, push-2, push-3], params: {join}}}\n")
}

async fn backed_up(cluster: &RedisCluster, repository: &Path, order: &str, joined: bool) -> Report {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text("shards.yaml", &task(order, joined));
    let inputs = Inputs::default().with_text("redis", cluster.url()).with_text("password", "word");
    let inputs = inputs.with_text("repository", repository.display().to_string());
    let plan = catalog.plan("shards", &inputs).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run_plan(Arc::new(plan), RunOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_for_each_shard_makes_one_snapshot() {
    let (single, cluster) = (filled(), RedisCluster::start(3, false, &[]));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    let folder = tempfile::tempdir().expect("a folder");
    let repository = folder.path().join("repository");
    let access = json!({"repository": repository, "password": "word"});
    let restic = |args: &[&str]| {
        let mut command = Command::new("restic");
        command.args(args).env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD", "word");
        let output = command.env("RESTIC_CACHE_DIR", folder.path().join("cache")).output().expect("restic is needed");
        assert!(output.status.success(), "restic {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let listed = async || run_alone(ResticSnapshots, access.clone(), Input::None).await.result.expect("listed");

    // The wrong order is found out where it is made, and its parts are left to the next run.
    let report = backed_up(&cluster, &repository, "132", true).await;
    let failure = report.first_failure.expect("the wrong order");
    assert!(failure.step == "join" && failure.failure.message.contains("shard 2 of 3"), "{failure:?}");
    assert_eq!(listed().await["count"], json!(3), "the parts, and nothing that was made of them");
    let report = backed_up(&cluster, &repository, "123", false).await;
    let failure = report.first_failure.expect("three dumps");
    assert!(failure.step == "join" && failure.failure.message.contains("a dump by itself"), "{failure:?}");
    assert_eq!(listed().await["count"], json!(6), "parts again");

    let report = backed_up(&cluster, &repository, "123", true).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    let snapshots = listed().await;
    assert_eq!(snapshots["count"], json!(1), "{snapshots}");
    let snapshot = &snapshots["snapshots"][0];
    assert_eq!((&snapshot["host"], &snapshot["paths"]), (&json!("a"), &json!(["/dump.resp"])), "{snapshot}");
    assert_eq!(snapshot["tags"], json!(["nightly", "verified:data"]), "{snapshot}");
    restic(&["check", "--read-data"]);

    let pulled = run_alone(ResticPull, access.clone(), Input::None).await;
    assert_eq!(pulled.stream.to_string(), "application/vnd.redis.resp");
    pulled.result.expect("pulled");
    assert!(pulled.stdout == shards(&cluster).await.concat());
    assert!(restic(&["dump", "latest", "/dump.resp"]) == pulled.stdout);
    let (back, two) = (RedisServer::start(), RedisCluster::start(2, false, &[]));
    restore(&back.url(), &pulled.stdout, json!({})).await.expect("into a single server");
    assert_eq!(rig::portrait(&back), rig::portrait(&single));
    restore(&two.url(), &pulled.stdout, json!({})).await.expect("into a cluster of another shape");
    assert_eq!(digest(&two.url(), json!({})).await, rig::digest(&single).await);
}
