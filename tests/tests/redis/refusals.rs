//! A server that refuses, goes away or hangs makes a failed run that says why, never a smaller dump.

use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, run_alone, run_alone_until};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Function;
use aquifer_functions::rdb_read::RdbRead;
use aquifer_functions::redis_diff::RedisDiff;
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::rig::{by_scan, dump, dumped, fill, fill_database, many_strings, restore, run};

async fn dump_with(params: Json) -> Result<Json, Failure> {
    run_alone(RedisDump, by_scan("", params), Input::None).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_needed_and_checked() {
    let server = RedisServer::with(&["--requirepass", "hunter2"]);
    let url = server.url();
    let with_password = url.replace("redis://", "redis://:hunter2@");
    for (params, sound) in [
        (json!({"url": url}), false),
        (json!({"url": url, "password": "wrong"}), false),
        (json!({"url": url, "username": "nobody", "password": "hunter2"}), false),
        (json!({"url": url, "password": "hunter2"}), true),
        (json!({"url": url, "username": "default", "password": "hunter2"}), true),
        (json!({"url": with_password}), true),
        (json!({"url": with_password, "password": "wrong"}), false),
    ] {
        let shown = params.to_string();
        for (name, result) in [
            ("dump", dump_with(params.clone()).await),
            ("digest", run_alone(RedisDigest, params.clone(), Input::None).await.result),
            ("restore", run_alone(RedisRestore, params.clone(), Input::bytes("x")).await.result),
        ] {
            match result {
                Err(failure) if !sound => {
                    assert_eq!(failure.kind, FailureKind::Unauthorized, "{name} {shown}: {}", failure.message);
                    assert!(failure.help.is_some(), "{name} {shown}");
                    assert!(!format!("{failure:?}").contains("hunter2"));
                }
                Err(failure) => assert_eq!((name, failure.kind), ("restore", FailureKind::Corrupt), "{shown}"),
                Ok(_) => assert!(sound, "{name} {shown}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_acl_forbids_fails_the_dump() {
    let server = RedisServer::start();
    fill_database(&server, 0);
    many_strings(&server, 2000);
    run(&mut server.client(), "SET secret:1 x");
    run(&mut server.client(), "HSET secret:2 f v");
    run(&mut server.client(), &format!("SET long {}", "x".repeat(5000)));
    let all =
        "ACL SETUSER reader on >word ~* resetchannels +@read +@connection +@transaction +info +time +select +function";
    for (rule, word) in [
        ("-scan", "scan"),
        ("-getrange", "getrange"),
        ("-strlen", "strlen"),
        ("-dump", "dump"),
        ("-exec", "exec"),
        ("-info", "info"),
        ("-memory", "memory"),
        ("-pexpiretime", "pexpiretime"),
        ("-function", "function"),
        ("resetkeys ~key:* ~here ~list ~timed ~long", "secret:"),
        ("resetkeys ~key:* ~here ~list ~timed ~long %W~secret:*", "secret:"),
    ] {
        run(&mut server.client(), "ACL DELUSER reader");
        run(&mut server.client(), all);
        let params = json!({"url": server.url(), "username": "reader", "password": "word"});
        assert_eq!(dump_with(params.clone()).await.expect("all that is needed")["keys"], 2006);
        run(&mut server.client(), &format!("ACL SETUSER reader {rule}"));
        let failure = dump_with(params).await.expect_err(rule);
        assert_eq!(failure.kind, FailureKind::Unauthorized, "{rule}: {}", failure.message);
        let text = format!("{} {:?}", failure.message, failure.help).to_lowercase();
        assert!(text.contains(word), "{rule}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_are_enough_to_restore() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from);
    let stream = dumped(&from).await;
    let stored = "+select +echo +set +restore +del +rpush +hset +sadd +zadd +xadd +xsetid +xgroup|create +xgroup|createconsumer +xclaim +append +xlen +pexpireat +function|load +time +unlink +exists";
    let parts = "+client|getname +client|setname +sadd +srem +strlen +llen +hlen +scard +zcard";
    for (params, more) in [
        (json!({}), "+renamenx"),
        (json!({"onConflict": "replace"}), "+rename +multi +exec"),
        (json!({"before": "flush-all", "confirmFlush": true}), "+renamenx +flushall +function|flush"),
        (json!({"before": "flush-db", "confirmFlush": true, "onConflict": "replace"}), "+rename +multi +exec +flushdb"),
    ] {
        run(&mut to.client(), "ACL DELUSER writer");
        run(&mut to.client(), &format!("ACL SETUSER writer on >word ~* resetchannels {stored} {parts} {more}"));
        let mut all = params.clone();
        let fields = json!({"username": "writer", "password": "word"});
        all.as_object_mut().expect("a map").extend(fields.as_object().expect("a map").clone());
        restore(&to, &stream, all.clone()).await.unwrap_or_else(|failure| panic!("{params}: {failure:?}"));
        assert_eq!(to.cli(&["DEBUG", "DIGEST"]), from.cli(&["DEBUG", "DIGEST"]), "{params}");
        let last = more.rsplit('+').next().expect("a right");
        run(&mut to.client(), &format!("ACL SETUSER writer -{last}"));
        if params == json!({}) {
            to.cli(&["FLUSHALL"]);
            to.cli(&["FUNCTION", "FLUSH"]);
        }
        let failure = restore(&to, &stream, all).await.expect_err(last);
        assert_eq!(failure.kind, FailureKind::Unauthorized, "{last}: {}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_refuses_fails_the_restore() {
    let (from, full) = (RedisServer::start(), RedisServer::with(&["--maxmemory", "3mb"]));
    many_strings(&from, 20_000);
    let stream = dumped(&from).await;
    let failure = restore(&full, &stream, json!({})).await.expect_err("no room");
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(
        failure.message.contains("OOM") && failure.message.contains("keys had been written"),
        "{}",
        failure.message
    );

    let few = RedisServer::with(&["--databases", "2"]);
    fill_database(&from, 5);
    let failure = restore(&few, &dumped(&from).await, json!({})).await.expect_err("too few databases");
    assert!(failure.help.is_some_and(|help| help.contains("databases")), "{}", failure.message);
    assert_eq!(few.cli(&["EXISTS", "here"]).trim(), "0", "a key must not land in another database");

    // A payload of a version that no server knows yet.
    let mut payload = b"\x00\x01x\xff\x7f".to_vec();
    payload.extend([0; 8]);
    let mut newer = format!("*4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n0\r\n${}\r\n", payload.len()).into_bytes();
    newer.extend(payload);
    newer.extend(b"\r\n");
    let failure = restore(&few, &newer, json!({"requireTrailer": false})).await.expect_err("from the future");
    assert!(failure.message.contains("`k`"), "{}", failure.message);
    assert!(failure.help.is_some_and(|help| help.contains("form: logical")));

    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", from.port())]);
    // Until it has its master's data it refuses for another reason.
    let begun = Instant::now();
    while !replica.cli(&["INFO", "replication"]).contains("master_link_status:up") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the replica must follow");
    }
    let failure = restore(&replica, &stream, json!({})).await.expect_err("read only");
    assert_eq!(failure.kind, FailureKind::Rejected, "{}", failure.message);
    assert!(failure.help.is_some_and(|help| help.contains("master")), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_soon() {
    let params = json!({"url": "redis://127.0.0.1:1"});
    assert_eq!(dump_with(params).await.expect_err("nobody").kind, FailureKind::Unavailable);
    let params = json!({"url": "redis://no-such-host.invalid"});
    assert_eq!(dump_with(params).await.expect_err("nowhere").kind, FailureKind::Unavailable);
    let params = json!({"url": "/no/such/redis.sock"});
    assert_eq!(dump_with(params).await.expect_err("no socket").kind, FailureKind::Unavailable);

    // It accepts and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("bound"));
    let begun = Instant::now();
    let failure = dump_with(json!({"url": url, "answerTimeout": "300ms"})).await.expect_err("silence");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.help.is_some_and(|help| help.contains("answerTimeout")));
    assert!(begun.elapsed() < Duration::from_secs(20));

    let cancel = CancellationToken::new();
    let stopping = cancel.clone();
    let running = tokio::spawn(run_alone_until(RedisDump, by_scan(&url, json!({})), Input::None, cancel));
    // Both are held open: one that is closed would be a server that went away.
    let _first = silent.accept().await.expect("the one that gave up");
    let _second = silent.accept().await.expect("the one that is stopped");
    stopping.cancel();
    let outcome = tokio::time::timeout(Duration::from_secs(60), running).await.expect("soon").expect("no panic");
    assert_eq!(outcome.result.expect_err("stopped").kind, FailureKind::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_still_loading_says_so_at_once() {
    let server = RedisServer::with(&["--loading-process-events-interval-bytes", "1024"]);
    many_strings(&server, 50_000);
    // A millisecond for each key: far longer than this test takes.
    run(&mut server.client(), "CONFIG SET key-load-delay 1000");
    let mut client = server.client();
    // It ends with the server.
    std::thread::spawn(move || drop(redis::cmd("DEBUG").arg("RELOAD").query::<()>(&mut client)));
    let begun = Instant::now();
    while !server.cli(&["PING"]).contains("LOADING") {
        assert!(begun.elapsed() < Duration::from_secs(60), "it must be loading");
    }
    let begun = Instant::now();
    for result in [
        dump_with(json!({"url": server.url()})).await,
        run_alone(RedisDigest, json!({"url": server.url()}), Input::None).await.result,
        restore(&server, b"x", json!({})).await,
    ] {
        let failure = result.expect_err("it is loading");
        assert_eq!(failure.kind, FailureKind::Unavailable, "{}", failure.message);
        assert!(failure.message.contains("LOADING"), "{}", failure.message);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits for a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_fails_the_dump() {
    let mut server = RedisServer::start();
    many_strings(&server, 300_000);
    let running = tokio::spawn(dump_slowly(server.socket_url()));
    wait_for_dump(&server);
    run(&mut server.client(), "CLIENT KILL TYPE normal SKIPME yes");
    let failure = running.await.expect("no panic").expect_err("killed");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{}", failure.message);
    let running = tokio::spawn(dump_slowly(server.socket_url()));
    wait_for_dump(&server);
    server.kill();
    let failure = running.await.expect("no panic").expect_err("the server is gone");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{}", failure.message);
}

/// Waits until a dump is under way.
fn wait_for_dump(server: &RedisServer) {
    let begun = Instant::now();
    while !server.cli(&["CLIENT", "LIST"]).contains("name=aquifer:redis-dump") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the dump must begin");
    }
}

async fn dump_slowly(url: String) -> Result<Json, Failure> {
    run_alone(RedisDump, by_scan(&url, json!({"impact": "gentle"})), Input::None).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_holds_nothing_up() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    many_strings(&from, 300_000);
    let stream = dumped(&from).await;
    let hang = |server: &RedisServer, signal| {
        let pid = i32::try_from(server.pid()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    };
    let cancel = CancellationToken::new();
    let restoring = tokio::spawn(run_alone_until(
        RedisRestore,
        json!({"url": to.socket_url()}),
        Input::bytes(stream.clone()),
        cancel.clone(),
    ));
    let begun = Instant::now();
    while to.cli(&["DBSIZE"]).trim() == "0" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the restore must begin");
    }
    hang(&to, nix::sys::signal::Signal::SIGSTOP);
    let dumping = tokio::spawn(run_alone_until(
        RedisDump,
        by_scan(&from.socket_url(), json!({"impact": "gentle"})),
        Input::None,
        cancel.clone(),
    ));
    wait_for_dump(&from);
    hang(&from, nix::sys::signal::Signal::SIGSTOP);
    assert!(!restoring.is_finished() && !dumping.is_finished());
    cancel.cancel();
    for running in [restoring, dumping] {
        let outcome = tokio::time::timeout(Duration::from_secs(60), running).await.expect("soon").expect("no panic");
        assert_eq!(outcome.result.expect_err("stopped").kind, FailureKind::Cancelled);
    }
    // Without a cancel, patience ends.
    let params = json!({"url": to.socket_url(), "answerTimeout": "300ms"});
    let outcome = run_alone(RedisRestore, params, Input::bytes(stream)).await;
    assert_eq!(outcome.result.expect_err("silence").kind, FailureKind::Unavailable);
    hang(&to, nix::sys::signal::Signal::SIGCONT);
    hang(&from, nix::sys::signal::Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_fails_the_restore() {
    let (from, mut to) = (RedisServer::start(), RedisServer::start());
    many_strings(&from, 300_000);
    let stream = dumped(&from).await;
    let url = to.socket_url();
    let running =
        tokio::spawn(async move { run_alone(RedisRestore, json!({"url": url}), Input::bytes(stream)).await.result });
    let begun = Instant::now();
    while to.cli(&["DBSIZE"]).trim() == "0" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the restore must begin");
    }
    to.kill();
    let failure = running.await.expect("no panic").expect_err("the server is gone");
    assert_eq!(failure.kind, FailureKind::Unavailable, "{}", failure.message);
    assert!(failure.message.contains("had been written"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_read_whole_is_refused() {
    let server = RedisServer::with(&["--cluster-enabled", "yes"]);
    let failure = dump(&server).await.result.expect_err("a cluster's node without any slots");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("slots 0-16383"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_the_url_leaves_the_others_out_aloud() {
    let server = RedisServer::start();
    fill_database(&server, 0);
    fill_database(&server, 3);
    let outcome = run_alone(RedisDump, by_scan(&format!("{}/3", server.url()), json!({})), Input::None).await;
    assert_eq!(outcome.result.expect("a dump")["databases"], json!([3]));
    assert!(outcome.messages.iter().any(|(_, text)| text.contains("left out: 0")), "{:?}", outcome.messages);
    let params = json!({"url": server.url(), "databases": [3, 0, 3, 9]});
    assert_eq!(dump_with(params).await.expect("a dump")["databases"], json!([0, 3, 9]));
}

/// Holds a param to be refused when the plan is made, by its name and with a next step.
fn refused<F: Function>(params: Json, param: &str) {
    let error = F::check(&serde_json::from_value(params).expect("params")).expect_err(param);
    assert!(error.path == param && error.help.is_some(), "{param}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn params_that_contradict_are_refused_before_anything_runs() {
    let dump_wrong = [
        json!({"url": "redis://h", "impact": "none"}),
        json!({"url": "redis://h", "hints": true, "form": "logical"}),
        json!({"url": "redis://h", "filter": {"types": ["text"]}}),
        json!({"url": "redis://h", "databases": []}),
        json!({"url": "redis://h", "username": "me"}),
        json!({"url": "redis://h", "tls": {}}),
        json!({"url": "rediss://h", "tls": {"certFile": "x"}}),
        json!({"url": "rediss://h", "tls": {"caFile": "x", "insecure": true}}),
        json!({"url": "redis://h", "answerTimeout": "0s"}),
        json!({"url": "http://h"}),
    ];
    for params in dump_wrong {
        assert_eq!(dump_with(params.clone()).await.expect_err("wrong").kind, FailureKind::Config, "{params}");
    }
    let c = "redis+cluster://h";
    for (param, params) in [
        ("serverDisk", json!({"url": "redis://h", "source": "scan", "serverDisk": true})),
        ("serverDisk", json!({"url": c, "source": "auto", "serverDisk": true})),
        ("serverDisk", json!({"url": "redis://h", "source": "auto", "serverDisk": true, "shard": 1})),
        ("impact", json!({"url": "redis://h", "source": "replication", "impact": "normal"})),
        ("source", json!({"url": "redis://h", "source": "replication", "shard": 1})),
        ("source", json!({"url": c, "source": "replication"})),
    ] {
        refused::<RedisDump>(params, param);
    }
    let [left, right] = ["redis://l", "redis://r"].map(|url| json!({"url": url}));
    for (param, params) in [
        ("tolerance", json!({"right": right, "expiry": "presence", "tolerance": "1s"})),
        ("tolerance", json!({"right": right, "expiry": "ignore", "tolerance": "1s"})),
        ("requireTrailer", json!({"left": left, "right": right, "requireTrailer": false})),
    ] {
        refused::<RedisDiff>(params, param);
    }
    refused::<RdbRead>(json!({"form": "logical", "hints": true}), "hints");
    refused::<RedisRestore>(json!({"url": "redis://h", "mergeDatabases": true}), "mergeDatabases");
    for params in [
        json!({"url": "redis://h", "before": "flush-all"}),
        json!({"url": "redis://h", "confirmFlush": true}),
        json!({"url": "redis://h/3"}),
        json!({"url": "redis://h", "onConflict": "panic"}),
    ] {
        let outcome = run_alone(RedisRestore, params.clone(), Input::bytes("x")).await;
        assert_eq!(outcome.result.expect_err("wrong").kind, FailureKind::Config, "{params}");
    }
}
