//! Names of a few bytes in several databases: none is taken for another one.

use std::collections::BTreeSet;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_functions::redis_verify::RedisVerify;
use aquifer_tests::redis_server::RedisServer;
use bytes::Bytes;
use redis::cmd;
use serde_json::json;

use super::rig::{digest, dumped, restore, run};

const DATABASES: [u32; 4] = [0, 1, 2, 7];

/// All names of one, two and three bytes out of a few, in each of the databases.
fn fill(server: &RedisServer) -> usize {
    let names: BTreeSet<String> = (0..1000)
        .map(|n| n.to_string())
        .chain((0..40).flat_map(|n| [format!("k{n}"), format!("{}:x", n % 10)]))
        .collect();
    let client = &mut server.client();
    for database in DATABASES {
        run(client, &format!("SELECT {database}"));
        for name in &names {
            cmd("SET").arg(name).arg(format!("{database} {name}")).exec(client).expect("room");
        }
    }
    names.len() * DATABASES.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn short_names_in_several_databases_are_keys_of_their_own() {
    let (from, empty) = (RedisServer::start(), RedisServer::start());
    let keys = fill(&from);
    let stream = dumped(&from).await;
    let pieces = || Input::Finished(vec![Bytes::from(stream.clone())]);

    let told = run_alone(RedisVerify, json!({}), pieces()).await.result.expect("whole");
    assert_eq!(
        (&told["keys"], &told["repeated"], &told["digest"]),
        (&json!(keys), &json!(0), &json!(digest(&from).await))
    );

    let right = json!({"url": empty.socket_url()});
    let both = json!({"left": {"url": from.socket_url()}, "right": right, "differences": "report"});
    for (params, input) in [(both, Input::None), (json!({"right": right, "differences": "report"}), pieces())] {
        let found = run_alone(RedisDiff, params, input).await.result.expect("compared");
        assert_eq!(found["differences"]["onlyLeft"], json!(keys), "{found}");
    }

    let dry = restore(&empty, &stream, json!({"dryRun": true, "onConflict": "skip"})).await.expect("a dry run");
    assert_eq!((&dry["keys"], &dry["skipped"]), (&json!(keys), &json!(0)));

    // Whichever name is there already, it is a conflict.
    for (database, name) in [(1, "136"), (7, "k9"), (0, "5"), (2, "3:x")] {
        let to = RedisServer::start();
        let client = &mut to.client();
        run(client, &format!("SELECT {database}"));
        run(client, &format!("SET {name} PRECIOUS"));
        let failure = restore(&to, &stream, json!({})).await.expect_err("a conflict");
        assert!(failure.message.contains(&format!("`{name}`")), "{failure:?}");
        let done = restore(&to, &stream, json!({"onConflict": "skip"})).await.expect("a restore");
        assert_eq!(
            (&done["repeated"], run(client, &format!("GET {name}"))),
            (&json!(0), redis::Value::BulkString(b"PRECIOUS".to_vec()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_new_names_are_not_taken_for_each_other() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let client = &mut from.client();
    for database in DATABASES {
        run(client, &format!("SELECT {database}"));
        for n in 0..80 {
            run(client, &format!("SET u:x{n} u{n}"));
            run(client, &format!("SET v:x{n} v{n}"));
        }
    }
    let rename = json!({"rename": [{"from": "u:", "to": ""}, {"from": "v:", "to": "u:"}]});
    let done = restore(&to, &dumped(&from).await, rename).await.expect("no two get one name");
    assert_eq!(done["keys"], json!(DATABASES.len() * 160));
}
