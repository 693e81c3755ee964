//! Clusters that change while they are read or written to: a restore follows slots, a dump that may have missed some fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aquifer_engine::failure::FailureKind;
use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::redis_cluster::{RedisCluster, wait};
use aquifer_tests::redis_server::RedisServer;
use redis::cmd;
use serde_json::{Value as Json, json};

use super::cluster::{digest, dump, dumped, filled, restore};
use super::rig;

/// The way to one master of the cluster leads through a gate.
fn through(
    cluster: &RedisCluster,
    place: usize,
    counts: Direction,
    mark: usize,
    deed: impl FnOnce() + Send + 'static,
) -> Json {
    let port = cluster.masters[place].port();
    let way = gate(port, counts, mark, deed);
    json!({"nodes": {format!("127.0.0.1:{port}"): format!("127.0.0.1:{way}")}})
}

fn and(mut params: Json, more: Json) -> Json {
    params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_follows_slots_that_are_on_their_way() {
    let (single, cluster) = (filled(), Arc::new(RedisCluster::start(3, false, &[])));
    let stream = rig::dumped(&single).await;
    for (on_conflict, round) in [("fail", 0), ("replace", 1)] {
        if round == 1 {
            cluster.masters.iter().for_each(|node| drop(node.cli(&["FLUSHALL"])));
            cluster.masters.iter().for_each(|node| drop(node.cli(&["FUNCTION", "FLUSH"])));
        }
        // All keys of this tag are asked for on the way (`ASK`), and are to be moved for good once some have come.
        let slot = cluster.slot("{tag}");
        let from = owner_now(&cluster, slot);
        let to = (from + 1) % 3;
        cluster.open_slot(slot, from, to);
        let (watched, moved) = (Arc::clone(&cluster), Arc::new(AtomicBool::new(false)));
        let done = Arc::clone(&moved);
        let mover = std::thread::spawn(move || {
            let count = || watched.masters[to].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]);
            wait("some keys have come", || count().trim().parse::<u32>().expect("a number") > 10);
            watched.close_slot(slot, from, to);
            done.store(true, Ordering::Relaxed);
            // And others, with all that is in them (`MOVED`).
            for slot in (1..16384).step_by(1201) {
                let from = owner_now(&watched, slot);
                watched.move_slot(slot, from, (from + 2) % 3);
            }
        });
        let outputs = restore(&cluster.url(), &stream, json!({"onConflict": on_conflict})).await.expect("a restore");
        mover.join().expect("no panic");
        assert!(moved.load(Ordering::Relaxed));
        assert_eq!(outputs["keys"].as_u64(), Some(cluster.keys() as u64), "{outputs}");
        assert_eq!(digest(&cluster.url(), json!({})).await, rig::digest(&single).await);
    }
}

fn owner_now(cluster: &RedisCluster, slot: usize) -> usize {
    let has = |place: &usize| {
        let nodes = cluster.masters[*place].cli(&["CLUSTER", "NODES"]);
        nodes.lines().any(|line| line.contains("myself") && owns(line, slot))
    };
    (0..cluster.masters.len()).find(has).expect("one has it")
}

fn owns(line: &str, slot: usize) -> bool {
    line.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<usize>(), last.parse::<usize>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_in_the_middle_fails_the_dump() {
    let (single, cluster) = (filled(), Arc::new(RedisCluster::start(3, false, &[])));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    let (mover, slot) = (Arc::clone(&cluster), cluster.slot("a key that is not there"));
    let from = cluster.owner("a key that is not there");
    let params =
        through(&cluster, 1, Direction::FromServer, 500_000, move || mover.move_slot(slot, from, (from + 1) % 3));
    let outcome = dump(&cluster.url(), params).await;
    let failure = outcome.result.expect_err("a slot moved");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
    assert!(failure.message.contains("slot") && !outcome.finished, "{failure:?}");
    assert_eq!(digest(&cluster.url(), json!({})).await, rig::digest(&single).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_replaced_in_the_middle_fails_what_went_through_it() {
    let (single, cluster) = (RedisServer::start(), Arc::new(RedisCluster::start(3, true, &[])));
    rig::many_strings(&single, 50_000);
    let stream = rig::dumped(&single).await;
    let other = Arc::clone(&cluster);
    let params = through(&cluster, 1, Direction::ToServer, 500_000, move || other.fail_over(1));
    let failure = restore(&cluster.url(), &stream, params).await.expect_err("a failover");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
    assert!(failure.message.contains("was a master"), "{failure:?}");
    // The next one finds the new master.
    restore(&cluster.url(), &stream, json!({"onConflict": "replace"})).await.expect("a restore");
    let expected = rig::digest(&single).await;
    assert_eq!(digest(&cluster.url(), json!({})).await, expected);
    let other = Arc::clone(&cluster);
    let params = through(&cluster, 0, Direction::FromServer, 500_000, move || other.fail_over(0));
    let failure = dump(&cluster.url(), and(params, json!({"role": "master"}))).await.result.expect_err("a failover");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
    assert!(["was a master", "no master", "MOVED"].iter().any(|word| failure.message.contains(word)), "{failure:?}");
    dumped(&cluster.url(), json!({})).await;
    assert_eq!(digest(&cluster.url(), json!({})).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_in_the_middle_fails_what_went_through_it() {
    // On a busy machine nodes that live do not answer each other for seconds.
    let (single, mut cluster) = (filled(), RedisCluster::start(3, true, &["--cluster-node-timeout", "6000"]));
    let stream = rig::dumped(&single).await;
    restore(&cluster.url(), &stream, json!({})).await.expect("a restore");
    let kill = |pid: u32| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        move || nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs")
    };
    let deed = kill(cluster.masters[1].pid());
    let params = through(&cluster, 1, Direction::FromServer, 500_000, deed);
    let outcome = dump(&cluster.url(), and(params, json!({"role": "master"}))).await;
    let failure = outcome.result.expect_err("a master died");
    assert!(failure.kind == FailureKind::Unavailable && !outcome.finished, "{failure:?}");
    cluster.masters[1].kill();
    let new = aquifer_tests::redis_cluster::id(&cluster.replicas[1]);
    // The replicas, too: each says by itself when all is well again, and is read from.
    wait("a replica has taken over", || {
        [&cluster.masters[0], &cluster.masters[2]].into_iter().chain(&cluster.replicas).all(|node| {
            let nodes = node.cli(&["CLUSTER", "NODES"]);
            nodes.lines().any(|line| line.starts_with(&new) && line.contains("master"))
                && node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        })
    });
    // Survived: nothing was lost, for all was replicated.
    assert_eq!(digest(&cluster.url(), json!({})).await, rig::digest(&single).await);
    let back = RedisServer::start();
    restore(&back.url(), &dumped(&cluster.url(), json!({})).await, json!({})).await.expect("a restore");
    assert_eq!(rig::digest(&back).await, rig::digest(&single).await);
    let deed = kill(cluster.masters[0].pid());
    let params = through(&cluster, 0, Direction::ToServer, 500_000, deed);
    let failure = restore(&cluster.url(), &stream, and(params, json!({"onConflict": "replace"}))).await;
    assert_eq!(failure.expect_err("a master died").kind, FailureKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_in_the_dump_of_a_cluster_that_is_written_to() {
    let (single, cluster) = (filled(), RedisCluster::start(3, true, &[]));
    restore(&cluster.url(), &rig::dumped(&single).await, json!({})).await.expect("a restore");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = cluster
        .masters
        .iter()
        .map(|master| {
            let (mut client, told) = (master.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                for round in 0.. {
                    if told.load(Ordering::Relaxed) {
                        break;
                    }
                    // Those that belong elsewhere are refused.
                    let key = format!("new:{}", round % 5000);
                    drop(cmd("SET").arg(&key).arg(round).arg("PX").arg(1 + round % 50).exec(&mut client));
                    drop(cmd("RPUSH").arg(format!("list:{}", round % 100)).arg(round).exec(&mut client));
                }
            })
        })
        .collect();
    let mut streams = Vec::new();
    for role in ["master", "replica"] {
        streams.push(dumped(&cluster.url(), json!({"role": role})).await);
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    for stream in streams {
        let back = RedisServer::start();
        restore(&back.url(), &stream, json!({})).await.expect("a restore");
        let client = &mut back.client();
        for pattern in ["new:*", "list:*"] {
            let added: Vec<String> = cmd("KEYS").arg(pattern).query(client).expect("keys");
            for key in added {
                let left: i64 = cmd("PTTL").arg(&key).query(client).expect("a number");
                assert!(left != -1 || pattern == "list:*", "{key} has lost its expiry");
                cmd("DEL").arg(key).exec(client).expect("deleted");
            }
        }
        assert_eq!(rig::digest(&back).await, rig::digest(&single).await);
    }
}
