//! What an operator costs with many configurations, and how long a session of a small database takes. By hand, since it says figures and judges none of them but the memory:
//! `cargo test --workspace --test kubernetes measures -- --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::condition::Readiness;
use aquifer_operator::resources::repository::Repository;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::super::rig::make;
use super::rig::*;

/// The most memory that an operator may have with a thousand configurations, in bytes.
const MEMORY: f64 = 64.0 * 1024.0 * 1024.0;

/// The sum of the samples of a page whose lines hold all these words.
fn sum(page: &str, words: &[&str]) -> f64 {
    let lines = page.lines().filter(|line| words.iter().all(|word| line.contains(word)) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it says figures, on a machine that does nothing else"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn ten_a_hundred_and_a_thousand_configurations() {
    const ROOM: &str = "many";
    let (rig, client, ports) = operated(ROOM).await;
    let (server, place) = (server(), folder());
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    let configurations: Api<BackupConfiguration> = Api::namespaced(client.clone(), ROOM);
    let requests = async || {
        let asked = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        client.request_text(asked).await.expect("an answer")
    };
    let mut made = 0;
    for count in [10, 100, 1000] {
        let (before, begun) = (requests().await, Instant::now());
        stream::iter(made..count)
            .for_each_concurrent(8, async |number| {
                let named = |mut value: serde_json::Value| {
                    value["metadata"]["name"] = json!(format!("n{number}"));
                    value
                };
                make::<AppBinding>(&client, ROOM, named(binding(&server))).await;
                let mut repository = named(repository(place.path()));
                repository["spec"]["backend"]["local"]["subPath"] = json!(format!("n{number}"));
                make::<Repository>(&client, ROOM, repository).await;
                let mut one = named(configuration(json!({"schedule": "0 3 * * *"})));
                one["spec"]["repository"]["name"] = json!(format!("n{number}"));
                one["spec"]["target"]["ref"]["name"] = json!(format!("n{number}"));
                make::<BackupConfiguration>(&client, ROOM, one).await;
            })
            .await;
        made = count;
        loop {
            let all = configurations.list(&ListParams::default()).await.expect("an answer").items;
            let ready = |one: &&BackupConfiguration| {
                one.status.as_ref().and_then(|status| status.phase) == Some(Readiness::Ready)
            };
            if all.iter().filter(ready).count() == count {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        let (took, after, own) = (begun.elapsed(), requests().await, page(ports.operator).await);
        let calls = |words: &[&str]| sum(&after, words) - sum(&before, words);
        let memory = sum(&own, &["process_resident_memory_bytes"]);
        println!(
            "{count} configurations: ready after {:.1} s; {:.1} MiB; secrets read {}, cron jobs made {}, statuses written {}; reconciled {} times in all",
            took.as_secs_f64(),
            memory / 1024.0 / 1024.0,
            calls(&["apiserver_request_total", "resource=\"secrets\"", "verb=\"GET\""]),
            calls(&["apiserver_request_total", "resource=\"cronjobs\"", "verb=\"POST\""]),
            calls(&["apiserver_request_total", "subresource=\"status\"", "stash.appscode.com"]),
            sum(&own, &["aquifer_operator_reconciles_total"]),
        );
        assert!(memory < MEMORY, "{}", rig.cluster.said("operator"));
    }
}

/// How often a session is measured.
const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it says figures, on a machine that does nothing else"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn a_session_of_a_small_database() {
    const ROOM: &str = "small";
    let (rig, client, _) = operated(ROOM).await;
    let (server, place) = (server(), folder());
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    make::<AppBinding>(&client, ROOM, binding(&server)).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({}))).await;
    server.cli(&["-a", "open-sesame", "DEBUG", "POPULATE", "100", "key", "20"]);
    that(&client, ROOM, "backup", "is ready", |one: &BackupConfiguration| {
        (one.status.as_ref()?.phase? == Readiness::Ready).then_some(())
    })
    .await;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        make::<BackupSession>(&client, ROOM, session(&format!("s{round}"))).await;
        let one = over(&client, ROOM, &format!("s{round}")).await;
        let status = one.status.expect("a status");
        assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{}", rig.cluster.said("operator"));
        let engine = status.targets[0].stats[0].duration.clone().unwrap_or_default();
        println!("session {round}: {:.2} s, of which the engine's {engine}", begun.elapsed().as_secs_f64());
        took.push(begun.elapsed());
    }
    took.sort();
    println!("from made to succeeded: median {:.2} s", took[ROUNDS / 2].as_secs_f64());
}
