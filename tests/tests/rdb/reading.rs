//! What these tests share: reading a file, and comparing a restored server with one that loaded the file.

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
    let expected = portrait(loaded);
    for form in ["native", "logical"] {
        let (stream, outputs) = sound(rdb, json!({"form": form})).await;
        let to = RedisServer::with(&["--databases", "300"]);
        let restored =
            restore(&to, &stream, json!({})).await.unwrap_or_else(|failure| panic!("{name} {form}: {failure}"));
        assert_eq!(portrait(&to), expected, "{name} {form}");
        let counted = restored["keys"].as_u64().zip(restored["expired"].as_u64()).map(|(keys, expired)| keys + expired);
        assert_eq!(counted, outputs["keys"].as_u64(), "{name} {form}");
        // A loader that knows nothing of us takes it too.
        let piped = RedisServer::with(&["--databases", "300"]);
        let said = piped.pipe(&stream);
        assert!(said.contains("errors: 0"), "{name} {form}: {said}");
        assert_eq!(portrait(&piped), expected, "{name} {form}, by redis-cli");
    }
}
