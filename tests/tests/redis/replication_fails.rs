//! Replication that is refused, ends early or lies: another way is taken before the first byte of the data, and said; from
//! there on it is a failed step with the reason, never a short dump.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_engine::alone::{Input, Outcome, run_alone, run_alone_until};
use aquifer_engine::event::Level;
use aquifer_engine::failure::FailureKind;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_tests::between::{Sent, Told, between};
use aquifer_tests::redis_server::RedisServer;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::replication::dump_by;
use super::rig::{fill_database, functions, many_strings, portrait, restore, run};

fn warned(outcome: &Outcome, word: &str) -> bool {
    outcome.messages.iter().any(|(level, text)| *level == Level::Warning && text.contains(word))
}

/// Asserts that `auto` reads by scan and says this word, and that `replication` fails with it.
async fn falls_back(params: Json, word: &str, kind: FailureKind) {
    let with = |source: &str| {
        let mut all = params.clone();
        all["source"] = json!(source);
        run_alone(RedisDump, all, Input::None)
    };
    let outcome = with("auto").await;
    let outputs = outcome.result.as_ref().unwrap_or_else(|failure| panic!("{word}: {failure:?}"));
    assert_eq!((&outputs["source"], &outputs["consistency"]), (&json!("scan"), &json!("per-key")), "{word}");
    assert!(warned(&outcome, word), "{word}: {:?}", outcome.messages);
    let outcome = with("replication").await;
    let failure = outcome.result.expect_err(word);
    assert_eq!(failure.kind, kind, "{word}: {}", failure.message);
    assert!(failure.message.contains(word) && failure.help.is_some(), "{word}: {failure:?}");
    assert!(!outcome.finished && outcome.stdout.is_empty(), "{word}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_read_by_scan_and_said() {
    let server = RedisServer::start();
    many_strings(&server, 1000);
    let rights = "+@read +@connection +@transaction +info +time +select +function";
    run(&mut server.client(), &format!("ACL SETUSER reader on >word ~* resetchannels {rights}"));
    let user = json!({"url": server.url(), "username": "reader", "password": "word"});
    falls_back(user.clone(), "NOPERM", FailureKind::Unauthorized).await;
    // The rights that the reference page names are enough, and those to read keys are not needed then.
    run(&mut server.client(), "ACL SETUSER reader reset on >word +info +psync +replconf");
    let mut by_replication = user;
    by_replication["source"] = json!("replication");
    let outcome = run_alone(RedisDump, by_replication, Input::None).await;
    assert_eq!(outcome.result.expect("all that is needed")["keys"], 1000);

    let renamed = RedisServer::with(&["--rename-command", "PSYNC", ""]);
    many_strings(&renamed, 1000);
    falls_back(json!({"url": renamed.url()}), "unknown command", FailureKind::Rejected).await;
    let renamed = RedisServer::with(&["--rename-command", "PSYNC", "xyz"]);
    many_strings(&renamed, 1000);
    let outcome = dump_by(&renamed, json!({"source": "replication", "commands": {"PSYNC": "xyz"}})).await;
    let outputs = outcome.result.expect("under its other name");
    // The server takes it for `SYNC` then, and does not say at which moment it is.
    assert_eq!((&outputs["keys"], &outputs["replicationId"]), (&json!(1000), &Json::Null));
    // `REPLCONF` is only good manners.
    let renamed = RedisServer::with(&["--rename-command", "REPLCONF", ""]);
    many_strings(&renamed, 1000);
    let outcome = dump_by(&renamed, json!({"source": "replication"})).await;
    let outputs = outcome.result.expect("a dump");
    assert_eq!((&outputs["keys"], &outputs["serverDisk"]), (&json!(1000), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_make_its_rdb_is_read_by_scan() {
    let server = RedisServer::with(&["--enable-protected-configs", "yes"]);
    many_strings(&server, 1000);
    // A folder that is gone: the child that is to write there fails.
    let folder = tempfile::tempdir().expect("a folder");
    server.cli(&["CONFIG", "SET", "dir", &folder.path().display().to_string()]);
    folder.close().expect("it was empty");
    let params = json!({"url": server.url(), "serverDisk": true});
    falls_back(params, "before its RDB began", FailureKind::Unavailable).await;
    let outcome = dump_by(&server, json!({"source": "replication"})).await;
    assert_eq!(outcome.result.expect("without the disk it can")["keys"], 1000);
}

/// What the proxy tells instead of what was sent.
type Lie = fn(Sent) -> Told;

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_rdb_are_read_by_scan() {
    let server = RedisServer::start();
    many_strings(&server, 1000);
    let rules: [(&str, FailureKind, Lie); 6] = [
        ("BGSAVE failed", FailureKind::Rejected, |_| {
            Told::then_silent(b"\n\n-ERR BGSAVE failed, replication can't continue\r\n".to_vec())
        }),
        ("CONTINUE", FailureKind::Corrupt, |_| Told::then_silent(b"+CONTINUE\r\n".to_vec())),
        ("before its RDB began", FailureKind::Unavailable, |sent| Told::then_closed(sent.line)),
        ("before its RDB began", FailureKind::Unavailable, |sent| {
            Told::then_closed([&sent.line[..], b"\n\n\n", &sent.announced].concat())
        }),
        ("announces no RDB", FailureKind::Corrupt, |sent| {
            Told::then_silent([&sent.line[..], b"$EOF:short\r\n", &sent.rdb].concat())
        }),
        ("FULLRESYNC", FailureKind::Corrupt, |_| Told::then_silent(b"+FULLRESYNC\r\n".to_vec())),
    ];
    for (word, kind, rule) in rules {
        let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
        falls_back(json!({"url": url}), word, kind).await;
    }
    // An RDB of a version from the future is none that is understood here.
    let rule = |mut sent: Sent| {
        sent.rdb[5..9].copy_from_slice(b"0999");
        Told::then_silent(sent.bytes())
    };
    let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
    falls_back(json!({"url": url}), "version 999", FailureKind::Rejected).await;
    // Silence is one of them, once patience ends.
    let rule = |sent: Sent| Told::then_silent([&sent.line[..], b"\n\n\n"].concat());
    let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
    falls_back(json!({"url": url, "answerTimeout": "300ms"}), "did not answer", FailureKind::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_is_cut_into_pieces_changes_nothing() {
    let server = RedisServer::start();
    fill_database(&server, 0);
    many_strings(&server, 50);
    let whole = dump_by(&server, json!({"source": "replication"})).await.stdout;
    for disk in [false, true] {
        for size in [1, 7, 39, 40, 41, 1000] {
            let rule = move |sent: Sent| {
                let all = [&sent.line[..], b"\n\n", &sent.announced, &sent.rdb, &sent.mark].concat();
                Told { pieces: all.chunks(size).map(<[u8]>::to_vec).collect(), stays_open: true }
            };
            let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
            let params = json!({"url": url, "source": "replication", "serverDisk": disk});
            let outcome = run_alone(RedisDump, params, Input::None).await;
            outcome.result.unwrap_or_else(|failure| panic!("in pieces of {size}: {failure:?}"));
            assert!(outcome.stdout == whole, "in pieces of {size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_or_altered_fails_at_every_place() {
    let server = RedisServer::start();
    fill_database(&server, 0);
    fill_database(&server, 3);
    functions(&mut server.client());
    run(&mut server.client(), "XADD events 1-1 a b");
    many_strings(&server, 50);
    for disk in [false, true] {
        let ways = 120;
        for way in 0..ways {
            let rule = move |mut sent: Sent| {
                let head = sent.line.len() + sent.announced.len();
                let place = 1 + sent.rdb.len() * way / ways;
                match way % 3 {
                    0 => Told::then_closed(sent.bytes()[..head + place.min(sent.rdb.len() - 1)].to_vec()),
                    1 => Told::then_silent({
                        // A byte is missing there, and one more stands at the end.
                        let place = place.min(sent.rdb.len() - 1);
                        sent.rdb[place..].rotate_left(1);
                        sent.bytes()
                    }),
                    _ => Told::then_silent({
                        let place = place.min(sent.rdb.len() - 1);
                        sent.rdb[place] ^= 1 << (way % 8);
                        sent.bytes()
                    }),
                }
            };
            let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
            let params = json!({"url": url, "serverDisk": disk, "answerTimeout": "500ms"});
            let outcome = run_alone(RedisDump, params, Input::None).await;
            assert!(!warned(&outcome, "scan"), "{way}: {:?}", outcome.messages);
            let failure = outcome.result.expect_err("a part of it is no dump, and no reason to read by scan");
            assert!(!outcome.finished && failure.help.is_some(), "{way}: {failure:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_has_to_be_where_the_server_said() {
    let server = RedisServer::start();
    many_strings(&server, 200);
    type Rule = fn(Sent) -> Told;
    let rules: [(&str, bool, Rule); 7] = [
        ("no mark", false, |sent| Told::then_closed(Sent { mark: Vec::new(), ..sent }.bytes())),
        ("half a mark", false, |sent| Told::then_closed(Sent { mark: sent.mark[..20].to_vec(), ..sent }.bytes())),
        ("another mark", false, |sent| Told::then_closed(Sent { mark: vec![b'x'; 40], ..sent }.bytes())),
        ("more before the mark", false, |sent| {
            Told::then_silent(Sent { rdb: [&sent.rdb[..], b"more"].concat(), ..sent }.bytes())
        }),
        ("the mark inside", false, |mut sent| {
            let half = sent.rdb.len() / 2;
            let mark = sent.mark.clone();
            sent.rdb.splice(half..half, mark);
            Told::then_silent(sent.bytes())
        }),
        ("a shorter length", true, |sent| {
            let announced = format!("${}\r\n", sent.rdb.len() - 1).into_bytes();
            Told::then_silent(Sent { announced, ..sent }.bytes())
        }),
        ("a longer length", true, |sent| {
            let announced = format!("${}\r\n", sent.rdb.len() + 1).into_bytes();
            Told::then_closed(Sent { announced, ..sent }.bytes())
        }),
    ];
    for (what, disk, rule) in rules {
        let url = format!("redis://127.0.0.1:{}", between(server.port(), rule));
        let outcome = run_alone(RedisDump, json!({"url": url, "serverDisk": disk}), Input::None).await;
        let failure = outcome.result.expect_err(what);
        assert!(!outcome.finished && failure.help.is_some(), "{what}: {failure:?}");
    }
}

/// A server whose child takes long over its data, and a dump of it in whose middle it is.
async fn in_the_middle(server: &RedisServer, params: Json, cancel: CancellationToken) -> JoinHandle<Outcome> {
    many_strings(server, 300_000);
    // Microseconds for each key.
    server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "100"]);
    let mut all = json!({"url": server.url()});
    all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
    let running = tokio::spawn(run_alone_until(RedisDump, all, Input::None, cancel));
    let begun = Instant::now();
    loop {
        let info = server.cli(&["INFO", "stats"]);
        let sent = info.lines().find_map(|line| line.strip_prefix("total_net_repl_output_bytes:"));
        if sent.and_then(|sent| sent.trim().parse::<u64>().ok()) > Some(100_000) {
            return running;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the RDB must begin: {sent:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_in_the_middle_fails_the_dump() {
    let pid = |server: &RedisServer| nix::unistd::Pid::from_raw(i32::try_from(server.pid()).expect("a process id"));
    type Strike = fn(&mut RedisServer);
    let strikes: [(&str, Strike); 3] = [
        ("killed", |server| server.kill()),
        ("its replicas are killed", |server| drop(server.cli(&["CLIENT", "KILL", "TYPE", "replica"]))),
        ("all are killed", |server| drop(server.cli(&["CLIENT", "KILL", "TYPE", "slave", "SKIPME", "yes"]))),
    ];
    for (what, strike) in strikes {
        let mut server = RedisServer::start();
        let running = in_the_middle(&server, json!({}), CancellationToken::new()).await;
        strike(&mut server);
        let outcome = running.await.expect("no panic");
        let failure = outcome.result.expect_err(what);
        assert_eq!(failure.kind, FailureKind::Unavailable, "{what}: {failure:?}");
        assert!(failure.message.contains("bytes into its RDB") && failure.help.is_some(), "{what}: {failure:?}");
        assert!(!outcome.finished, "{what}");
    }
    // Its child alone is killed.
    let server = RedisServer::start();
    let running = in_the_middle(&server, json!({}), CancellationToken::new()).await;
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid())).expect("Linux has it");
    let child = children.split_whitespace().next().expect("a child").parse().expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).expect("it runs");
    let outcome = running.await.expect("no panic");
    assert_eq!(outcome.result.expect_err("its child was killed").kind, FailureKind::Unavailable);
    assert!(!outcome.finished);
    // It stops, and says nothing any more.
    let server = RedisServer::start();
    let running = in_the_middle(&server, json!({"answerTimeout": "1s"}), CancellationToken::new()).await;
    nix::sys::signal::kill(pid(&server), nix::sys::signal::Signal::SIGSTOP).expect("it runs");
    let outcome = running.await.expect("no panic");
    let failure = outcome.result.expect_err("silence");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.help.is_some_and(|help| help.contains("answerTimeout")), "{}", failure.message);
    nix::sys::signal::kill(pid(&server), nix::sys::signal::Signal::SIGCONT).expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_once_and_leaves_no_replica_behind() {
    for disk in [false, true] {
        let server = RedisServer::start();
        let cancel = CancellationToken::new();
        let running = if disk {
            // While the server writes its file there is nothing but signs of life.
            many_strings(&server, 300_000);
            server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "100"]);
            let params = json!({"url": server.url(), "serverDisk": true});
            let running = tokio::spawn(run_alone_until(RedisDump, params, Input::None, cancel.clone()));
            let begun = Instant::now();
            while !server.cli(&["INFO", "replication"]).contains("state=wait_bgsave") {
                assert!(begun.elapsed() < Duration::from_secs(60), "it must be waiting");
            }
            running
        } else {
            in_the_middle(&server, json!({}), cancel.clone()).await
        };
        cancel.cancel();
        let outcome = tokio::time::timeout(Duration::from_secs(60), running).await.expect("soon").expect("no panic");
        assert_eq!(outcome.result.expect_err("stopped").kind, FailureKind::Cancelled);
        let begun = Instant::now();
        while !server.cli(&["INFO", "replication"]).contains("connected_slaves:0") {
            assert!(begun.elapsed() < Duration::from_secs(60), "the connection must end");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_written_to_for_long_keeps_up_signs_of_life() {
    // The server takes longer over its file than it may be silent.
    let server = RedisServer::start();
    many_strings(&server, 30_000);
    server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "100"]);
    let params = json!({"source": "replication", "serverDisk": true, "answerTimeout": "2s"});
    let begun = Instant::now();
    let outcome = dump_by(&server, params).await;
    outcome.result.expect("it was never silent for so long");
    assert!(begun.elapsed() > Duration::from_secs(3), "the server was too fast for this test");
    let to = RedisServer::start();
    restore(&to, &outcome.stdout, json!({})).await.expect("a restore");
    assert_eq!(portrait(&to), portrait(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_behind_it_fails_the_run() {
    use aquifer_engine::catalog::{Catalog, Inputs};
    use aquifer_engine::event::Status;
    use aquifer_engine::run::{RunOptions, run as run_plan};
    let server = RedisServer::start();
    many_strings(&server, 100_000);
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text(
        "t.yaml",
        &format!(
            "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  steps:
    - {{name: dump, function: redis-dump, params: {{url: \"{}\", source: replication}}}}
    - {{name: file, function: exec, stdin: dump, params: {{command: [dd, of=/dev/full, bs=64K, status=none]}}}}\n",
            server.url()
        ),
    );
    let plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let report = run_plan(Arc::new(plan), RunOptions::default()).await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.first_failure.as_ref().is_some_and(|first| format!("{first:?}").contains("file")), "{report:#?}");
}
