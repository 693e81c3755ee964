//! `checksum` beside `sha256sum` and `sha512sum`.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::registry::Registry;
use aquifer_functions::checksum::Checksum;
use serde_json::json;

use crate::rig::{failure, pieces, sample, tool};

#[tokio::test]
async fn digests_are_those_of_the_coreutils_and_the_stream_is_unchanged() {
    let plain = sample(1_000_003);
    for algorithm in ["sha256", "sha512"] {
        let theirs = tool(&[&format!("{algorithm}sum")], &plain);
        let theirs = String::from_utf8_lossy(&theirs).split(' ').next().expect("a digest").to_owned();
        let expect = theirs.to_uppercase();
        let outcome = run_alone(Checksum, json!({"algorithm": algorithm, "expect": expect}), pieces(&plain)).await;
        let expected = json!({"digest": theirs, "algorithm": algorithm, "bytes": plain.len()});
        assert_eq!(outcome.result.expect("equal"), expected);
        assert!(outcome.stdout == plain);
    }
}

#[tokio::test]
async fn another_digest_than_the_expected_one_is_a_failure() {
    let outcome = run_alone(Checksum, json!({"expect": "0".repeat(64)}), Input::bytes("x")).await;
    let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert!(failure(&outcome, FailureKind::Corrupt).message.contains(digest));
    let registry = Registry::new().with(Checksum);
    for wrong in ["", "abc", &"g".repeat(64), &"0".repeat(128)] {
        let error =
            registry.get("checksum").expect("registered").prepare(json!({"expect": wrong})).expect_err("refused");
        assert_eq!(error.path, "expect");
    }
}
