//! What goes, and the data with it; what is listed.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use serde_json::{Value as Json, json};

use crate::rig::{Repository, noise, pull, push};

async fn forget(repository: &Repository, more: Json) -> Json {
    run_alone(ResticForget, repository.params(more), Input::None).await.result.expect("forgotten")
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_with_the_last_snapshot_that_needs_it() {
    let repository = Repository::nowhere();
    let shared = noise(20 << 20, 31);
    push(&repository, &[shared.clone(), noise(20 << 20, 32)].concat(), json!({})).await.expect("stored");
    push(&repository, &shared, json!({})).await.expect("stored");
    let outputs = forget(&repository, json!({"keepLast": 1, "prune": true})).await;
    assert_eq!((&outputs["kept"], &outputs["removed"]), (&json!(1), &json!(1)));
    assert!(outputs["freedBytes"].as_u64().expect("a number") > 10 << 20, "{outputs}");
    let outcome = pull(&repository, json!({})).await;
    assert!(outcome.result.is_ok() && outcome.stdout == shared);
    repository.assert_sound();
    let again = forget(&repository, json!({"keepLast": 1, "prune": true})).await;
    assert_eq!(again["removed"], json!(0));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_listed_and_filtered() {
    let repository = Repository::nowhere();
    for (host, tags) in [("a", json!(["x"])), ("b", json!(["x", "y"])), ("a", json!([]))] {
        push(&repository, host.as_bytes(), json!({"host": host, "tags": tags})).await.expect("stored");
    }
    let list = async |filter: Json| {
        let params = repository.params(json!({"filter": filter}));
        run_alone(ResticSnapshots, params, Input::None).await.result.expect("listed")
    };
    let all = list(json!({})).await;
    assert_eq!(all["count"], json!(3));
    assert_eq!(all["latest"], all["snapshots"][2]["id"]);
    assert_eq!(all["snapshots"][1]["tags"], json!(["x", "y"]));
    assert_eq!(all["snapshots"][0]["bytes"], json!(1));
    assert_eq!(list(json!({"host": "a"})).await["count"], json!(2));
    assert_eq!(list(json!({"tags": ["x", "y"]})).await["count"], json!(1));
    assert_eq!(list(json!({"paths": ["/stdin"]})).await["count"], json!(3));
    assert_eq!(list(json!({"host": "c"})).await["latest"], Json::Null);
    let id = all["snapshots"][1]["id"].as_str().expect("an id");
    let outcome = pull(&repository, json!({"snapshot": &id[..10]})).await;
    assert_eq!(outcome.stdout, b"b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_takes_nothing_and_a_dry_run_say_so() {
    let repository = Repository::nowhere();
    push(&repository, b"a", json!({"host": "one"})).await.expect("stored");
    let says = async |params: Json, what: &str| {
        let outcome = run_alone(ResticForget, repository.params(params), Input::None).await;
        outcome.result.expect("it goes well");
        outcome.messages.iter().any(|(_, text)| text.contains(what))
    };
    let (none, dry) = ("takes no snapshot", "nothing was changed");
    assert!(says(json!({"keepLast": 1, "filter": {"host": "two"}}), none).await);
    assert!(!says(json!({"keepLast": 1, "filter": {"host": "one"}}), none).await);
    assert!(says(json!({"keepLast": 1, "dryRun": true}), dry).await && !says(json!({"keepLast": 1}), dry).await);
}
