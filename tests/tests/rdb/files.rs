//! The files in `tests/data/rdb`.

use std::path::PathBuf;

use aquifer_tests::redis_server::RedisServer;

use super::reading::is_what_a_server_loads;

/// A file's bytes.
pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/rdb").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All of them.
pub(crate) fn names() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/rdb");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".rdb")).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_is_restored_as_a_server_loads_it() {
    let mut not_loaded = Vec::new();
    for name in names() {
        let rdb = file(&name);
        match RedisServer::loading(&rdb, &["--databases", "300"]) {
            Some(loaded) => is_what_a_server_loads(&name, &rdb, &loaded).await,
            None => not_loaded.push(name),
        }
    }
    // The server of the tests is older than these, and reads a zipmap that does not say its size for damaged.
    assert_eq!(
        not_loaded,
        [
            "expiration.rdb",
            "function.rdb",
            "hash_as_listpack_with_hfe.rdb",
            "hash_with_hfe.rdb",
            "set_listpack.rdb",
            "stream_listoacks_3.rdb",
            "tree.rdb",
            "valkey_hash2_with_hfe.rdb",
            "zipmap_big_len.rdb",
        ]
    );
}
