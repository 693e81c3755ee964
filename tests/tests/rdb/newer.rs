//! Files that the server of the tests is too old for: held against what stands in them, read by hand.

use aquifer_tests::redis_server::RedisServer;
use serde_json::json;

use super::files::file;
use super::reading::{is_what_a_server_loads, lines, sound};
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
