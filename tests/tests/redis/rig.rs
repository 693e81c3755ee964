//! What these tests share: running a function, filling a server with everything, and a comparison of two servers that
//! does not use `redis-digest`.

use std::collections::BTreeMap;

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::Failure;
use aquifer_functions::redis_digest::RedisDigest;
use aquifer_functions::redis_dump::RedisDump;
use aquifer_functions::redis_restore::RedisRestore;
use aquifer_tests::redis_server::RedisServer;
use bytes::Bytes;
use redis::{Connection, Value, cmd};
use serde_json::{Value as Json, json};

/// The params of a dump by scan: the one place that says so.
pub(crate) fn by_scan(url: &str, params: Json) -> Json {
    merged(json!({"url": url, "source": "scan"}), params)
}

/// Params and more of them.
pub(crate) fn merged(mut all: Json, params: Json) -> Json {
    all.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
    all
}

pub(crate) async fn dump(server: &RedisServer) -> Outcome {
    run_alone(RedisDump, json!({"url": server.socket_url()}), Input::None).await
}

/// A dump by scan.
pub(crate) async fn scan(server: &RedisServer) -> Outcome {
    scan_with(server, json!({})).await
}

/// A dump by scan with more params than the url.
pub(crate) async fn scan_with(server: &RedisServer, params: Json) -> Outcome {
    run_alone(RedisDump, by_scan(&server.socket_url(), params), Input::None).await
}

/// A dump by scan that must succeed; gives the stream. In it, big values are written by several commands, which is harder on
/// a restore than what a dump by replication writes of values that compress well.
pub(crate) async fn dumped(server: &RedisServer) -> Vec<u8> {
    let outcome = scan(server).await;
    outcome.result.expect("a dump by scan");
    outcome.stdout
}

/// A restore with more params than the url.
pub(crate) async fn restore(server: &RedisServer, stream: &[u8], params: Json) -> Result<Json, Failure> {
    let all = merged(json!({"url": server.socket_url()}), params);
    // Pieces of an odd size, so that nothing depends on where they are cut.
    let pieces = stream.chunks(100_003).map(Bytes::copy_from_slice).collect();
    run_alone(RedisRestore, all, Input::Finished(pieces)).await.result
}

/// The digest of a whole server.
pub(crate) async fn digest(server: &RedisServer) -> String {
    let outputs = digest_outputs(server).await;
    outputs["digest"].as_str().expect("a text").to_owned()
}

pub(crate) async fn digest_outputs(server: &RedisServer) -> Json {
    run_alone(RedisDigest, json!({"url": server.socket_url()}), Input::None).await.result.expect("a digest")
}

/// Carries out one command, words separated by spaces.
pub(crate) fn run(client: &mut Connection, line: &str) -> Value {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().expect("a name"));
    for word in words {
        command.arg(word);
    }
    command.query(client).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A moment that is `milliseconds` from now, in milliseconds of Unix time.
pub(crate) fn in_ms(milliseconds: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() + milliseconds
}

/// Fills database 0 with a key of every type in every encoding, expiries, big values and odd bytes; databases 7 and 299
/// get some keys too where the server has so many.
pub(crate) fn fill(server: &RedisServer) {
    let client = &mut server.client();
    let set = |client: &mut Connection, key: &[u8], value: &[u8]| {
        cmd("SET").arg(key).arg(value).exec(client).expect("room");
    };
    let all_bytes: Vec<u8> = (0..=255).collect();
    set(client, b"empty", b"");
    set(client, b"", b"the empty key");
    set(client, &all_bytes, &all_bytes);
    set(client, b"*3\r\n$3\r\nSET\r\n", b"\r\n$-1\r\n");
    set(client, b"int", b"-12345");
    set(client, b"raw", &[b'r'; 1000]);
    set(client, b"big", &vec![b'b'; 3 << 20]);
    set(client, b"timed", b"until then");
    run(client, &format!("PEXPIREAT timed {}", in_ms(3_600_123)));
    run(client, "RPUSH list a b c a  1 -2");
    run(client, "HSET hash f v g w n 1 e ");
    run(client, "SADD ints 1 2 3");
    run(client, "SADD words one two three");
    run(client, "ZADD board 1.5 a -inf b +inf c 0.1 d -0 e 3 f");
    run(client, &format!("PEXPIREAT board {}", in_ms(86_400_456)));
    run(client, "PFADD guesses a b c");
    run(client, "SETBIT bits 1000 1");
    run(client, "GEOADD places 13.361389 38.115556 Palermo");
    many(client, "RPUSH", "long-list", 30_000, |n| vec![format!("element {n} {}", "x".repeat(40))]);
    many(client, "HSET", "long-hash", 12_000, |n| vec![format!("field {n}"), format!("value {n} {}", "y".repeat(60))]);
    many(client, "SADD", "long-set", 20_000, |n| vec![format!("member {n} {}", "z".repeat(30))]);
    many(client, "ZADD", "long-board", 15_000, |n| vec![format!("{}", f64::from(n) / 7.0), format!("player {n}")]);
    run(client, &format!("PEXPIREAT long-hash {}", in_ms(7_200_789)));
    // Values whose commands are longer than what a restore keeps whole.
    set(client, b"big-timed", &vec![b't'; 2 << 20]);
    run(client, &format!("PEXPIREAT big-timed {}", in_ms(5_000_321)));
    many(client, "RPUSH", "fat-list", 3, |n| vec!["f".repeat((1 << 20) + n as usize)]);
    many_entries(client);
    streams(client);
    functions(client);
}

/// One command for every 500 of `count` parts.
pub(crate) fn many(client: &mut Connection, name: &str, key: &str, count: u32, part: impl Fn(u32) -> Vec<String>) {
    for from in (0..count).step_by(500) {
        let mut command = cmd(name);
        command.arg(key);
        for n in from..count.min(from + 500) {
            command.arg(part(n));
        }
        command.exec(client).expect("room");
    }
}

/// A stream that the server's compression does not make small.
fn many_entries(client: &mut Connection) {
    let mut pipeline = redis::pipe();
    let mut state = 1u64;
    for n in 1..=20_000 {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(100)
        .collect();
        pipeline.cmd("XADD").arg("long-events").arg(format!("{n}-0")).arg("noise").arg(noise).ignore();
    }
    pipeline.exec(client).expect("room");
    run(client, "XGROUP CREATE long-events readers 0");
    run(client, "XREADGROUP GROUP readers alice COUNT 1500 STREAMS long-events >");
    run(client, &format!("PEXPIREAT long-events {}", in_ms(6_000_654)));
}

fn streams(client: &mut Connection) {
    for n in 1..=50 {
        run(client, &format!("XADD events {n}-{n} kind click n {n}"));
    }
    run(client, "XDEL events 50-50 7-7");
    run(client, "XGROUP CREATE events readers 0");
    run(client, "XGROUP CREATE events idle 20-20 ENTRIESREAD 19");
    run(client, "XGROUP CREATECONSUMER events readers carol");
    run(client, "XREADGROUP GROUP readers alice COUNT 5 STREAMS events >");
    run(client, "XREADGROUP GROUP readers bob COUNT 3 STREAMS events >");
    run(client, "XACK events readers 2-2");
    run(client, "XCLAIM events readers bob 0 3-3 RETRYCOUNT 4");
    run(client, "XADD emptied 5-5 a b");
    run(client, "XDEL emptied 5-5");
    run(client, "XSETID emptied 9-9 ENTRIESADDED 12 MAXDELETEDID 5-5");
    run(client, "XADD far 18446744073709551615-18446744073709551615 a b");
}

/// The value of `key:n`.
pub(crate) fn value(n: u32) -> String {
    format!("value {n} {}", "v".repeat(n as usize % 60))
}

/// Strings `key:0` to `key:count-1`, some of them longer than what a server keeps inside the key's own record.
pub(crate) fn many_strings(server: &RedisServer, count: u32) {
    let client = &mut server.client();
    for from in (0..count).step_by(10_000) {
        let mut command = cmd("MSET");
        for n in from..count.min(from + 10_000) {
            command.arg(format!("key:{n}")).arg(value(n));
        }
        command.exec(client).expect("room");
    }
}

/// Two libraries of functions.
pub(crate) fn functions(client: &mut Connection) {
    for name in ["one", "two"] {
        let code = format!("#!lua name={name}\nredis.register_function('{name}_f', function() return 1 end)");
        cmd("FUNCTION").arg("LOAD").arg(code).exec(client).expect("a sound library");
    }
}

/// A few keys in this database.
pub(crate) fn fill_database(server: &RedisServer, index: u32) {
    let client = &mut server.client();
    run(client, &format!("SELECT {index}"));
    run(client, &format!("SET here {index}"));
    run(client, "RPUSH list x y");
    run(client, &format!("SET timed soon PXAT {}", in_ms(9_999_999)));
}

/// All there is to know of a server by other means than ours: `DEBUG DIGEST` for the values, and what it does not see:
/// exact expiries, and the groups, consumers and pending entries of streams.
pub(crate) fn portrait(server: &RedisServer) -> BTreeMap<String, String> {
    let client = &mut server.client();
    let mut all = BTreeMap::new();
    all.insert("digest".to_owned(), server.cli(&["DEBUG", "DIGEST"]));
    all.insert("functions".to_owned(), sorted(&run(client, "FUNCTION LIST WITHCODE")));
    let databases: Vec<u32> = server
        .cli(&["INFO", "keyspace"])
        .lines()
        .filter_map(|line| line.strip_prefix("db")?.split_once(':')?.0.parse().ok())
        .collect();
    for index in databases {
        run(client, &format!("SELECT {index}"));
        let keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query(client).expect("keys");
        for key in keys {
            let name = format!("{index} {}", key.escape_ascii());
            let ask = |client: &mut Connection, words: &[&str]| -> Value {
                let mut command = cmd(words[0]);
                for word in &words[1..] {
                    command.arg(if *word == "KEY" { &key[..] } else { word.as_bytes() });
                }
                command.query(client).unwrap_or_else(|error| panic!("{words:?} {name}: {error}"))
            };
            let mut what = format!("{:?} {:?}", ask(client, &["TYPE", "KEY"]), ask(client, &["PEXPIRETIME", "KEY"]));
            if what.contains("stream") {
                what += &format!("{:?}", steady(ask(client, &["XINFO", "STREAM", "KEY", "FULL", "COUNT", "0"])));
            }
            all.insert(name, what);
        }
    }
    all
}

fn sorted(value: &Value) -> String {
    let mut parts: Vec<String> = match value {
        Value::Array(items) => items.iter().map(|item| format!("{item:?}")).collect(),
        other => vec![format!("{other:?}")],
    };
    parts.sort();
    parts.join("\n")
}

/// What `XINFO STREAM FULL` says, without how the server has laid it out and without ages.
fn steady(value: Value) -> Value {
    let Value::Array(items) = value else { return value };
    let mut kept = Vec::new();
    let mut items = items.into_iter().map(steady).peekable();
    while let Some(item) = items.next() {
        let name = match &item {
            Value::BulkString(name) => String::from_utf8_lossy(name).into_owned(),
            _ => String::new(),
        };
        if ["radix-tree-keys", "radix-tree-nodes", "seen-time", "active-time"].contains(&name.as_str()) {
            items.next();
        } else {
            kept.push(item);
        }
    }
    Value::Array(kept)
}

/// A stream of commands.
pub(crate) fn stream<Word: AsRef<[u8]>>(commands: &[Vec<Word>]) -> Vec<u8> {
    let mut out = Vec::new();
    for command in commands {
        out.extend(format!("*{}\r\n", command.len()).into_bytes());
        for word in command.iter().map(AsRef::as_ref) {
            out.extend(format!("${}\r\n", word.len()).into_bytes());
            out.extend([word, &b"\r\n"[..]].concat());
        }
    }
    out
}

/// A stream of commands, each on a line, words separated by spaces.
pub(crate) fn lines<Line: AsRef<str>>(lines: &[Line]) -> Vec<u8> {
    let commands: Vec<Vec<&str>> = lines.iter().map(|line| line.as_ref().split(' ').collect()).collect();
    stream(&commands)
}
