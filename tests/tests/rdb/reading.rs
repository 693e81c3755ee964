//! What these tests share: reading a file, and comparing a restored server with one that loaded the file.

use std::collections::BTreeMap;

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_functions::rdb_read::RdbRead;
use aquifer_tests::redis_server::RedisServer;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::rig::{portrait, restore};

/// Reads a file in pieces of this size.
pub(crate) async fn read_in(pieces: usize, rdb: &[u8], params: Json) -> Outcome {
    let pieces = rdb.chunks(pieces).map(Bytes::copy_from_slice).collect();
    run_alone(RdbRead, params, Input::Finished(pieces)).await
}

/// Reads a file.
pub(crate) async fn read(rdb: &[u8], params: Json) -> Outcome {
    read_in(70_001, rdb, params).await
}

/// Reads a file that is sound; gives the stream and the outputs.
pub(crate) async fn sound(rdb: &[u8], params: Json) -> (Vec<u8>, Json) {
    let outcome = read(rdb, params).await;
    let outputs = outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(outputs["bytes"], outcome.stdout.len());
    (outcome.stdout, outputs)
}

/// Restores what was read from a file in both forms, and compares with the server that loaded the file.
pub(crate) async fn is_what_a_server_loads(name: &str, rdb: &[u8], loaded: &RedisServer) {
    let whole = portrait(loaded);
    for form in ["native", "logical"] {
        let (stream, outputs) = sound(rdb, json!({"form": form})).await;
        // Redis 5 did not say how much a group has read: a server guesses it where it loads the file or a `RESTORE`, and the
        // commands that any server takes do not say it.
        let estimated = form == "logical" && name.starts_with("stream_listpacks_1");
        let seen =
            |server: &RedisServer| if estimated { without_estimates(portrait(server)) } else { portrait(server) };
        let mut expected = if estimated { without_estimates(whole.clone()) } else { whole.clone() };
        if let Some(trim) = expected.get_mut("0 trim").filter(|_| estimated) {
            // This stream says in the file that it has 120 entries, and has 118 (`XRANGE` says so too).
            *trim = trim.replace("int(120)", "int(118)");
        }
        let to = RedisServer::with(&["--databases", "300"]);
        let restored =
            restore(&to, &stream, json!({})).await.unwrap_or_else(|failure| panic!("{name} {form}: {failure}"));
        same(&seen(&to), &expected, &format!("{name} {form}"));
        let counted = restored["keys"].as_u64().zip(restored["expired"].as_u64()).map(|(keys, expired)| keys + expired);
        assert_eq!(counted, outputs["keys"].as_u64(), "{name} {form}");
        // A loader that knows nothing of us takes it too.
        let piped = RedisServer::with(&["--databases", "300"]);
        let said = piped.pipe(&stream);
        assert!(said.contains("errors: 0"), "{name} {form}: {said}");
        // `DEBUG DIGEST` sees keys whose expiry has passed; `SCAN` removes them.
        for database in outputs["databases"].as_object().expect("a map").keys() {
            piped.cli(&["-n", database, "--scan"]);
        }
        same(&seen(&piped), &expected, &format!("{name} {form}, by redis-cli"));
    }
}

/// Without what a server may guess about a group.
fn without_estimates(portrait: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let cut = |text: String| {
        let mut parts = text.split(", ").peekable();
        let mut kept = Vec::new();
        while let Some(part) = parts.next() {
            if part.contains("entries-read") || part.contains("lag") {
                parts.next();
            } else {
                kept.push(part);
            }
        }
        kept.join(", ")
    };
    portrait.into_iter().map(|(key, text)| (key, cut(text))).collect()
}

/// Holds two servers against each other; says the first difference.
pub(crate) fn same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>, what: &str) {
    for (key, text) in expected {
        let other = found.get(key).unwrap_or_else(|| panic!("{what}: {key} is missing"));
        for (part, other) in text.split(", ").zip(other.split(", ")) {
            assert_eq!(other, part, "{what}: {key}");
        }
        assert_eq!(other, text, "{what}: {key}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// The commands of a stream as lines, without head and trailer; what is no text is escaped.
pub(crate) fn lines(stream: &[u8]) -> Vec<String> {
    fn number(rest: &mut &[u8], mark: u8) -> usize {
        assert_eq!(rest[0], mark);
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let number = std::str::from_utf8(&rest[1..end - 1]).expect("ASCII").parse().expect("a number");
        *rest = &rest[end + 1..];
        number
    }
    let mut rest = stream;
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let words: Vec<String> = (0..number(&mut rest, b'*'))
            .map(|_| {
                let length = number(&mut rest, b'$');
                let word = rest[..length].escape_ascii().to_string();
                assert_eq!(&rest[length..length + 2], b"\r\n");
                rest = &rest[length + 2..];
                word
            })
            .collect();
        lines.push(words.join(" "));
    }
    lines.retain(|line| !line.starts_with("ECHO "));
    lines
}
