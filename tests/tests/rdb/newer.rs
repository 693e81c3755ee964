//! Files that the server of the tests is too old for: held against what stands in them, read by hand.

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::files::file;
use super::reading::{is_what_a_server_loads, lines, read, sound};
use super::rig::{portrait, restore};

/// The file, said to be of Redis 7.0 and without a checksum: for files in which nothing is newer but that number.
fn as_of_7_0(name: &str) -> Vec<u8> {
    let mut rdb = file(name);
    rdb[5..9].copy_from_slice(b"0010");
    let end = rdb.len();
    rdb[end - 8..].fill(0);
    rdb
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_alone_changes_nothing() {
    for name in ["expiration.rdb", "function.rdb", "tree.rdb"] {
        let older = as_of_7_0(name);
        let loaded = RedisServer::loading(&older, &["--databases", "300"]).expect("nothing in it is newer");
        assert!(portrait(&loaded).len() > 2 || loaded.cli(&["FUNCTION", "LIST"]).contains("mylib"), "{name}");
        is_what_a_server_loads(name, &file(name), &loaded).await;
    }
}

async fn logical(name: &str) -> Vec<String> {
    lines(&sound(&file(name), json!({"form": "logical"})).await.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_newer_types_are_read() {
    assert_eq!(logical("set_listpack.rdb").await, ["SELECT 0", "DEL s", "SADD s a b c d"]);
    assert_eq!(
        logical("zipmap_big_len.rdb").await,
        ["SELECT 0", "DEL zimap_doesnt_compress", "HSET zimap_doesnt_compress MKD1G6 2 YNNXK F7TI"]
    );
    // The least expiry of this one stands at its beginning: 55 15 8d 8f 81 02 00 00.
    let least = 0x0281_8f8d_1555_u64;
    assert_eq!(
        logical("hash_with_hfe.rdb").await,
        [
            "SELECT 0".to_owned(),
            "DEL hash-hfe".to_owned(),
            "HSET hash-hfe F2 V2 F5 V5 F3 V3 F1 V1 F6 V6 F4 V4 F7 V7 F8 V8".to_owned(),
            format!("HPEXPIREAT hash-hfe {} FIELDS 1 F2", least + 0x000f_544e - 1),
            format!("HPEXPIREAT hash-hfe {} FIELDS 1 F3", least + 0x001e_a85e - 1),
            format!("HPEXPIREAT hash-hfe {least} FIELDS 1 F1"),
        ]
    );
    assert_eq!(
        logical("hash_as_listpack_with_hfe.rdb").await,
        [
            "SELECT 0".to_owned(),
            "DEL listpack-hfe".to_owned(),
            "HSET listpack-hfe F1 V1 F3 V3 F2 V2".to_owned(),
            format!("HPEXPIREAT listpack-hfe {} FIELDS 1 F1", 0x0281_8f8d_e6f5_u64),
            format!("HPEXPIREAT listpack-hfe {} FIELDS 1 F3", 0x0281_8fac_8126_u64),
        ]
    );
    assert_eq!(
        logical("valkey_hash2_with_hfe.rdb").await,
        [
            "SELECT 0".to_owned(),
            "DEL hash2-hfe".to_owned(),
            "HSET hash2-hfe F1 V1 F2 V2 F3 V3".to_owned(),
            format!("HPEXPIREAT hash2-hfe {} FIELDS 1 F1", 0x0278_5170_3840_u64),
            format!("HPEXPIREAT hash2-hfe {} FIELDS 1 F2", 0x022e_e484_8040_u64),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_marked_with_the_oldest_version_that_has_the_type() {
    for (name, begin, version) in [
        ("set_listpack.rdb", "RESTORE s 0 \\x14\\x13\\x13", "\\x0b\\x00"),
        ("hash_with_hfe.rdb", "RESTORE hash-hfe 0 \\x18U\\x15\\x8d", "\\x0c\\x00"),
        ("hash_as_listpack_with_hfe.rdb", "RESTORE listpack-hfe 0 \\x19\\xf5\\xe6", "\\x0c\\x00"),
        ("valkey_hash2_with_hfe.rdb", "RESTORE hash2-hfe 0 \\x16\\x03\\x02F1", "P\\x00"),
        ("stream_listoacks_3.rdb", "RESTORE mystream 0 \\x15\\x01\\x10", "\\x0b\\x00"),
        ("quicklist.rdb", "RESTORE list 0 \\x0e", "\\x07\\x00"),
        ("intset_16.rdb", "RESTORE intset_16 0 \\x0b", "\\x06\\x00"),
    ] {
        let lines = lines(&sound(&file(name), json!({})).await.0);
        let line = lines.iter().find(|line| line.starts_with("RESTORE")).expect("one");
        assert!(line.starts_with(begin), "{name}: {line}");
        assert!(line.contains(version) && line.contains(" REPLACE ABSTTL"), "{name}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_redis_7_2_is_made_by_commands() {
    let (id, seen) = ("1704557973866-0", 0x0000_018c_df92_f13d_u64);
    assert_eq!(
        logical("stream_listoacks_3.rdb").await,
        [
            "SELECT 0".to_owned(),
            "DEL mystream".to_owned(),
            format!("XADD mystream {id} name Sara surname OConnor"),
            format!("XSETID mystream {id}"),
            format!("XGROUP CREATE mystream consumer-group-name {id} ENTRIESREAD 1"),
            "XGROUP CREATECONSUMER mystream consumer-group-name consumer-name".to_owned(),
            format!("XCLAIM mystream consumer-group-name consumer-name 0 {id} TIME {seen} RETRYCOUNT 1 FORCE JUSTID"),
        ]
    );
    // An older server takes them.
    let to = RedisServer::start();
    let (stream, _) = sound(&file("stream_listoacks_3.rdb"), json!({"form": "logical"})).await;
    restore(&to, &stream, json!({})).await.expect("plain commands");
    assert!(to.cli(&["XPENDING", "mystream", "consumer-group-name"]).contains(id));
}

/// A file of this version with these bytes between its head and its end, without a checksum.
fn by_hand(head: &[u8], body: &[u8]) -> Vec<u8> {
    [head, body, &[0xff], &[0; 8]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_between_keys_is_read_or_passed_over() {
    let script = [&b"\xfa\x03lua\x80\x00\x02\x00\x00"[..], &vec![b's'; 0x20000]].concat();
    // What a module keeps beside the keys: its id, when it was written, a number, a text, the end.
    let module = b"\xf7\x81\x00\x00\x00\x00\x00\x00\x00\x01\x02\x01\x02\x05\x05\x01m\x00";
    let slots = b"\xf4\x05\x01\x00";
    // The scripts stand between what the file says about itself, and the version behind them.
    let body = [&script[..], b"\xfa\x09redis-ver\x051.2.3", module, b"\xfe\x02\xfb\x01\x01", slots].concat();
    // Expiries: -1 stands for none, what is below for long ago; seconds; how often it is used.
    let never = b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01a\xc0\x05";
    let past = b"\xfc\xfe\xff\xff\xff\xff\xff\xff\xff\x00\x01b\x00";
    let seconds = b"\xfd\x02\x00\x00\x00\xf9\x07\x0b\x01c\x0a\x02\x00\x00\x00\x01\x00\x00\x00\xff\xff";
    let body = [&body[..], never, past, seconds, b"\x01\x05empty\x00"].concat();
    let (stream, outputs) = sound(&by_hand(b"REDIS0012", &body), json!({})).await;
    let lines = lines(&stream);
    assert_eq!(lines[..3], ["SELECT 2", "SET a 5", "SET b  PXAT 1"]);
    assert!(
        lines[3].starts_with("RESTORE c 2000 \\x0b\\n\\x02") && lines[3].ends_with(" REPLACE ABSTTL FREQ 7"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 4);
    assert_eq!((&outputs["serverVersion"], &outputs["moduleData"]), (&json!("1.2.3"), &json!(1)));
    assert_eq!((&outputs["empty"], &outputs["databases"]), (&json!(1), &json!({"2": 3})));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_means_two_things() {
    // Valkey: the name of an import of slots, and two ranges of them.
    let valkey = sound(&by_hand(b"VALKEY080", b"\xf3\x04name\x02\x01\x02\x05\x09\x00\x01a\x01b"), json!({})).await;
    assert_eq!(lines(&valkey.0), ["SELECT 0", "SET a b"]);
    // Redis: what a module keeps beside the key that follows.
    let redis = sound(&by_hand(b"REDIS0013", b"\xf3\x01abcd\x02\x07\x00\x00\x01a\x01b"), json!({})).await;
    assert_eq!(lines(&redis.0), ["SELECT 0", "SET a b"]);
    assert_eq!(redis.1["moduleData"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_a_module_is_passed_on_or_refused_by_name() {
    let rdb = by_hand(b"REDIS0009", b"\x07\x03mod\x81\x00\x00\x00\x00\x00\x00\x00\x01\x05\x02xy\x04abcdefgh\x00");
    let (stream, outputs) = sound(&rdb, json!({})).await;
    assert!(lines(&stream)[1].starts_with("RESTORE mod 0 \\x07\\x81"), "{:?}", lines(&stream));
    assert_eq!(outputs["perType"]["other"], 1);
    let failure = read(&rdb, json!({"form": "logical"})).await.result.expect_err("no commands make it");
    assert!(failure.to_string().contains("the key `mod` is a module's value"), "{failure}");
    let (stream, outputs) = sound(&rdb, json!({"form": "logical", "filter": {"types": ["string"]}})).await;
    assert_eq!((lines(&stream).len(), &outputs["leftOut"]), (0, &json!(1)));
}
