//! Files that are cut off, altered or no files: an error that says where, and never a success.

use std::time::Duration;

use aquifer_engine::failure::FailureKind;
use serde_json::json;

use super::files::{file, names};
use super::reading::{read, read_in, sound};

/// Files short enough to be damaged at every byte.
fn short() -> Vec<(String, Vec<u8>)> {
    names().into_iter().map(|name| (name.clone(), file(&name))).filter(|(_, rdb)| rdb.len() < 450).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_anywhere_is_an_error() {
    for (name, rdb) in short() {
        for end in 0..rdb.len() {
            let outcome = tokio::time::timeout(Duration::from_secs(60), read(&rdb[..end], json!({}))).await;
            let failure = outcome.expect("it ends").result.expect_err(&format!("{name} up to {end}"));
            assert_eq!(failure.kind, FailureKind::Corrupt, "{name} up to {end}: {failure}");
            assert!(failure.to_string().contains("byte"), "{name} up to {end}: {failure}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_is_another_is_an_error_wherever_there_is_a_checksum() {
    for (name, rdb) in short() {
        // Before version 5 there was no checksum: what comes out then may be wrong, but has to come.
        let summed = rdb[..9] > b"REDIS0004"[..] && rdb[rdb.len() - 8..] != [0; 8];
        for form in ["native", "logical"] {
            for at in 0..rdb.len() {
                let mut altered = rdb.clone();
                altered[at] ^= 1 << (at % 8);
                let outcome =
                    tokio::time::timeout(Duration::from_secs(60), read(&altered, json!({"form": form}))).await;
                let result = outcome.expect("it ends").result;
                // The number of the version may become one that has no checksum.
                if summed && at >= 9 {
                    let failure = result.expect_err(&format!("{name} at {at}"));
                    let text = format!("{failure}");
                    assert!(text.contains("byte") || text.contains("the key"), "{name} at {at}: {failure}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_mark_of_redis_cli_may_follow() {
    let rdb = file("quicklist.rdb");
    let mark = b"0123456789abcdef0123456789abcdef01234567";
    let with = |tail: &[u8]| [&rdb[..], tail].concat();
    sound(&with(mark), json!({})).await;
    for tail in
        [&b"x"[..], b"\n", &mark[1..], b"g123456789abcdef0123456789abcdef01234567", &[&mark[..], b"0"].concat(), &rdb]
    {
        let failure = read(&with(tail), json!({})).await.result.expect_err("something follows");
        assert!(
            failure.to_string().contains(&format!("at byte {} of the RDB: something follows", rdb.len())),
            "{failure}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rdb_or_not_known_is_said() {
    for (bytes, what) in [
        (&b""[..], "it is empty"),
        (b"REDIS", "cut off"),
        (b"*1\r\n$4\r\nPING\r\n", "it begins with `*1\\r\\n$4\\r\\nP`"),
        (b"\x28\xb5\x2f\xfd abcdefg", "no RDB does"),
        (b"REDIS00x1\xff", "no RDB does"),
        (b"REDIS0000\xff", "version 0"),
        (b"REDIS0099\xff", "version 99"),
        (b"VALKEY011\xff", "version 11"),
        (b"REDIS0003\xfe\x00\x63\x01a", "at byte 11 of the RDB: 99, which is no type"),
        (b"REDIS0003\xfe\x00\x06\x01a", "before Redis 4.0 was released"),
        (b"REDIS0010\xf6", "release candidate"),
        (
            b"REDIS0003\xfe\x00\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            "the name of a key has 18446744073709551615 bytes",
        ),
        (b"REDIS0003\xfe\x00\x00\x01a\x81\x00\xff\xff\xff\xff\xff\xff\xff", "has 72057594037927935 bytes"),
        (b"REDIS0003\xfe\x00\x01\x01a\x81\x00\xff\xff\xff\xff\xff\xff\xff\x01a", "cut off"),
        (b"REDIS0003\xfe\x00\x00\x01a\xc3\x21\x20\x1faa", "cut off"),
        (b"REDIS0003\xfe\x00\x00\x01a\xc3\x03\x14\x1faa", "a compressed text is damaged"),
        (b"REDIS0003\xfe\x00\x00\x01a\xc3\x02\x40\xff\x20\x05", "impossible length"),
        (b"REDIS0003\xfe\x00\x00\x01a\xc3\x02\x03\x20\x05", "a compressed text is damaged"),
    ] {
        for form in ["native", "logical"] {
            let failure = read_in(3, bytes, json!({"form": form})).await.result.expect_err("no RDB");
            assert!(failure.to_string().contains(what), "{}: {failure}", bytes.escape_ascii());
        }
    }
}

/// In a stream the second `DEL` would take back the first one's parts, and the trailer promise a key too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_parts_that_stands_twice_in_a_row_is_refused_by_name() {
    let set = |key: &[u8], member: &[u8]| [b"\x02\x01", key, b"\x01\x01", member].concat();
    let rdb = |keys: &[Vec<u8>]| [&b"REDIS0002"[..], &keys.concat(), b"\xff"].concat();
    let logical = json!({"form": "logical"});
    let twice = rdb(&[set(b"k", b"a"), set(b"k", b"b")]);
    let failure = read(&twice, logical.clone()).await.result.expect_err("it stands there twice");
    assert!(failure.to_string().contains("at byte 18 of the RDB: the key `k` stands there twice"), "{failure}");
    // Whoever restores it finds out about these: they are two keys of the stream.
    sound(&twice, json!({})).await;
    let apart = rdb(&[set(b"k", b"a"), set(b"l", b"b"), set(b"k", b"a")]);
    let databases = rdb(&[set(b"k", b"a"), b"\xfe\x01".to_vec(), set(b"k", b"a")]);
    let string = rdb(&[set(b"k", b"a"), b"\x00\x01k\x01v".to_vec(), set(b"k", b"a")]);
    for sound_file in [apart, databases, string] {
        assert!(sound(&sound_file, logical.clone()).await.1["keys"].as_u64() > Some(1));
    }
}
