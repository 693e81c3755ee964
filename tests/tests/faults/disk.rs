//! A disk that fills up while a repository on it is written to.

use aquifer_tests::mounted::Mounted;
use serde_json::json;

use crate::rig::Repository;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_earlier_backup_and_a_prune_makes_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let _mounted = Mounted::small(folder.path(), 48);
    let location = json!(folder.path().join("repository"));
    let mut repository = Repository::at(location.clone()).await;
    let full = loop {
        if let Err(failure) = repository.push(&location, "filling").await {
            break failure;
        }
    };
    assert!(
        full.message.contains("No space left on device")
            || full.causes.iter().any(|cause| cause.contains("No space left on device")),
        "{full:?}"
    );
    // Again, with nothing to gain: it fails the same way, and harms nothing.
    repository.push(&location, "still full").await.expect_err("full");
    // There is no room for copies, but what the failed ones left and what nobody needs any more goes without any.
    repository.forget_oldest(2).await;
    repository.prune(&location, json!({"maxUnused": "unlimited"})).await.expect("pruned");
    repository.assert_whole().await;
}
