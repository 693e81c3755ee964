//! What goes in comes back: every type, expiry, database and function, by our restore and by `redis-cli --pipe`.

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::rig::{digest, dumped, fill, fill_database, functions, portrait, restore, run, scan, scan_with};

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back() {
    let (from, to) = (RedisServer::with(&["--databases", "300"]), RedisServer::with(&["--databases", "300"]));
    fill(&from);
    fill_database(&from, 7);
    fill_database(&from, 299);
    let before = portrait(&from);
    let outcome = scan(&from).await;
    let outputs = outcome.result.expect("a dump");
    assert_eq!(outputs["keys"], before.len() - 2, "{outputs}");
    assert_eq!(outputs["databases"], json!([0, 7, 299]));
    assert_eq!(outputs["perType"]["stream"], 4);
    assert_eq!(outputs["expires"], 5 + 2);
    assert_eq!(outputs["functions"], 2);
    assert_eq!(outputs["vanished"], 0);
    assert_eq!(outputs["bytes"], outcome.stdout.len());
    assert!(outcome.stream.base().contains("redis"));
    let restored = restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    for name in ["keys", "perType", "functions", "bytes"] {
        assert_eq!(restored[name], outputs[name], "{name}");
    }
    assert_eq!(
        (&restored["skipped"], &restored["expired"], &restored["streamVersion"]),
        (&json!(0), &json!(0), &json!(1))
    );
    assert_eq!(portrait(&to), before);
    assert_eq!(digest(&to).await, digest(&from).await);
    // What was read was not changed by being read.
    assert_eq!(portrait(&from), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_loads_it_too() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    fill_database(&from, 7);
    let stream = dumped(&from).await;
    for _ in 0..2 {
        let said = to.pipe(&stream);
        assert!(said.contains("errors: 0"), "{said}");
        assert_eq!(portrait(&to), portrait(&from));
    }
    assert_eq!(digest(&to).await, digest(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_server_gives_the_same_bytes() {
    let from = RedisServer::start();
    fill(&from);
    fill_database(&from, 3);
    let stream = dumped(&from).await;
    let again = dumped(&from).await;
    let differs = stream.iter().zip(&again).position(|(one, other)| one != other);
    let around =
        |stream: &[u8], at: usize| stream[at.saturating_sub(200)..].iter().take(300).copied().collect::<Vec<u8>>();
    let shown = differs.map(|at| [around(&stream, at), around(&again, at)].map(|part| part.escape_ascii().to_string()));
    assert!(stream == again, "at {differs:?}: {shown:?}");
    for impact in ["gentle", "full"] {
        let other = scan_with(&from, json!({"impact": impact})).await;
        other.result.expect("a dump in smaller or larger steps");
        assert!(stream == other.stdout, "{impact}: the pace must not show");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_done_twice_gives_the_same_keyspace() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    restore(&to, &stream, json!({})).await.expect("into an empty server");
    restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("once more");
    assert_eq!(portrait(&to), portrait(&from));
    let skipping = restore(&to, &stream, json!({"onConflict": "skip"})).await.expect("all of it is there");
    assert_eq!(skipping["keys"], 0);
    // The libraries of functions count too.
    assert_eq!(skipping["skipped"].as_u64(), from.cli(&["DBSIZE"]).trim().parse::<u64>().ok().map(|keys| keys + 2));
    assert_eq!(portrait(&to), portrait(&from));
    let emptied = restore(&to, &stream, json!({"before": "flush-all", "confirmFlush": true})).await;
    emptied.expect("into a server that was emptied");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_decided_as_told() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    for key in ["timed", "list", "long-hash", "fat-list", "events", "long-events", "big", "big-timed"] {
        to.cli(&["FLUSHALL"]);
        to.cli(&["FUNCTION", "FLUSH"]);
        to.cli(&["SET", key, "mine"]);
        let failure = restore(&to, &stream, json!({})).await.expect_err("a conflict");
        assert!(failure.message.contains(&format!("`{key}`")), "{}", failure.message);
        assert!(failure.message.contains("already has it"), "{}", failure.message);
        assert_eq!(to.cli(&["GET", key]), "mine\n");
        let skipping = restore(&to, &stream, json!({"onConflict": "skip"})).await.expect("it may stay");
        assert!(skipping["skipped"].as_u64() >= Some(1));
        assert_eq!(to.cli(&["GET", key]), "mine\n");
        restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("it may go");
        assert_eq!(portrait(&to), portrait(&from), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_emptied_only_where_the_stream_has_them() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill_database(&from, 2);
    // Functions belong to no database, and stand in front of the first `SELECT`.
    functions(&mut from.client());
    let stream = dumped(&from).await;
    run(&mut to.client(), "SET kept 1");
    fill_database(&to, 2);
    run(&mut to.client(), "SELECT 2");
    let outputs = restore(&to, &stream, json!({"before": "flush-db", "confirmFlush": true})).await.expect("emptied");
    assert_eq!(outputs["keys"], 3);
    assert_eq!(to.cli(&["GET", "kept"]), "1\n");
    assert_eq!(to.cli(&["-n", "2", "DBSIZE"]).trim(), "3");
    to.cli(&["FUNCTION", "LOAD", "#!lua name=foreign\nredis.register_function('foreign_f', function() return 1 end)"]);
    restore(&to, &stream, json!({"before": "flush-all", "confirmFlush": true})).await.expect("emptied");
    assert_eq!(to.cli(&["DBSIZE"]).trim(), "0");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dump_of_an_empty_server_empties_all_where_that_is_wanted() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let stream = dumped(&from).await;
    fill_database(&to, 4);
    functions(&mut to.client());
    let before = portrait(&to);
    let params = json!({"before": "flush-all", "confirmFlush": true});
    // What is no dump empties nothing.
    let other = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n";
    restore(&to, other, params.clone()).await.expect_err("no head");
    restore(
        &to,
        b"*1\r\n$4\r\nPING\r\n",
        json!({"before": "flush-all", "confirmFlush": true, "requireTrailer": false}),
    )
    .await
    .expect_err("no dump");
    assert_eq!(portrait(&to), before);
    restore(&to, &stream, json!({"before": "flush-db", "confirmFlush": true})).await.expect("it has no databases");
    assert_eq!(portrait(&to), before);
    restore(&to, &stream, params).await.expect("emptied");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_library_that_is_there_is_left() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    functions(&mut from.client());
    let stream = dumped(&from).await;
    let mine = "#!lua name=one\nredis.register_function('one_f', function() return 2 end)";
    to.cli(&["FUNCTION", "LOAD", mine]);
    let failure = restore(&to, &stream, json!({})).await.expect_err("a conflict");
    assert!(failure.message.contains("'one' already exists"), "{}", failure.message);
    to.cli(&["FUNCTION", "DELETE", "two"]);
    let outputs = restore(&to, &stream, json!({"onConflict": "skip"})).await.expect("one may stay");
    assert_eq!((&outputs["functions"], &outputs["skipped"]), (&json!(1), &json!(1)));
    assert_eq!((to.cli(&["FCALL", "one_f", "0"]), to.cli(&["FCALL", "two_f", "0"])), ("2\n".into(), "1\n".into()));
    let outputs = restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("it may go");
    assert_eq!(outputs["functions"], 2);
    assert_eq!(portrait(&to), portrait(&from));
    // What `FUNCTION DUMP` gives, as other programs write it, is one thing.
    let payload: Vec<u8> = redis::cmd("FUNCTION").arg("DUMP").query(&mut from.client()).expect("a payload");
    let mut stream = format!("*3\r\n$8\r\nFUNCTION\r\n$7\r\nRESTORE\r\n${}\r\n", payload.len()).into_bytes();
    stream.extend(payload);
    stream.extend(b"\r\n");
    to.cli(&["FUNCTION", "FLUSH"]);
    restore(&to, &stream, json!({"requireTrailer": false})).await.expect("libraries");
    assert_eq!(portrait(&to), portrait(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_is_dumped_and_restored() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let stream = dumped(&from).await;
    let outputs = restore(&to, &stream, json!({})).await.expect("nothing to do");
    assert_eq!((&outputs["keys"], &outputs["commands"]), (&json!(0), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    let params = json!({"dryRun": true, "before": "flush-all", "confirmFlush": true});
    run(&mut to.client(), "SET mine 1");
    let outputs = restore(&to, &stream, params.clone()).await.expect("a sound stream");
    assert_eq!(outputs["keys"].as_u64(), from.cli(&["DBSIZE"]).trim().parse().ok());
    assert_eq!(to.cli(&["KEYS", "*"]), "mine\n");
    restore(&to, &stream[..stream.len() - 1], params).await.expect_err("cut off");
    assert_eq!(to.cli(&["KEYS", "*"]), "mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_meanwhile_is_counted_and_gone() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let client = &mut from.client();
    run(client, "SET stays 1");
    // The server that is read keeps what has expired; the one that is written must not.
    run(client, "SET short 1 PX 400");
    run(client, "RPUSH short-list a");
    run(client, "PEXPIRE short-list 400");
    let stream = dumped(&from).await;
    let begun = std::time::Instant::now();
    while from.cli(&["EXISTS", "short", "short-list"]).trim() != "0" {
        assert!(begun.elapsed().as_secs() < 10, "the keys must expire");
    }
    run(&mut to.client(), "SET short older");
    let outputs = restore(&to, &stream, json!({"onConflict": "replace"})).await.expect("a restore");
    assert_eq!((&outputs["keys"], &outputs["expired"]), (&json!(1), &json!(2)));
    assert_eq!(to.cli(&["KEYS", "*"]), "stays\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_new_commands_is_read_by_the_old_ones() {
    let from = RedisServer::with(&["--rename-command", "PEXPIRETIME", "", "--rename-command", "FUNCTION", ""]);
    let to = RedisServer::start();
    fill_database(&from, 0);
    super::rig::many_strings(&from, 3000);
    let stream = dumped(&from).await;
    restore(&to, &stream, json!({})).await.expect("a restore");
    assert_eq!(to.cli(&["DEBUG", "DIGEST"]), from.cli(&["DEBUG", "DIGEST"]));
    // Between two moments, for it takes a while to ask.
    let window = |server: &RedisServer| {
        let before = super::rig::in_ms(0);
        let left: i64 = redis::cmd("PTTL").arg("timed").query(&mut server.client()).expect("an expiry");
        (before + left, super::rig::in_ms(left))
    };
    let (there, here) = (window(&from), window(&to));
    assert!(there.0 < here.1 + 20 && here.0 < there.1 + 20, "{there:?} {here:?}");
}
