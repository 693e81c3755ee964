//! A repository on a server that takes nothing but new files: backups and all that reads work, what removes is refused with the next
//! step, and nothing that was there is touched.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::FailureKind;
use aquifer_engine::function::Function;
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_key::ResticKey;
use aquifer_functions::restic_prune::ResticPrune;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_functions::restic_stats::ResticStats;
use serde_json::{Value, json};

use crate::rig::{Place, on_each, pieces, refused, sample, with};

const PASSWORD: &str = "correct horse";

/// Runs an action that must succeed.
async fn run<F: Function>(function: F, params: Value, input: Input) -> Value {
    run_alone(function, params, input).await.result.unwrap_or_else(|failure| panic!("{}: {failure:?}", F::NAME))
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_on_and_nothing_is_removed() {
    let bytes = sample(3 << 20);
    let tested = std::cell::Cell::new(0);
    on_each(async |place: Place| {
        let Some(location) = place.server.append_only(&place.name) else { return };
        tested.set(tested.get() + 1);
        let params = |more: Value| with(json!({"repository": location, "password": PASSWORD}), more);
        let push = async |start: usize| {
            let more = json!({"filename": "dump", "verify": "data", "host": "a"});
            run(ResticPush, params(more), pieces(&bytes[start..])).await
        };
        assert_eq!(push(0).await["created"], json!(true));
        for start in [1 << 20, 2 << 20] {
            push(start).await;
        }
        // Its owner removes a snapshot on the server itself, so that there is something to prune.
        let first = run(ResticSnapshots, params(json!({})), Input::None).await["snapshots"][0]["time"].clone();
        let owner = with(json!({"repository": place.location(), "password": PASSWORD}), json!({"keepLast": 2}));
        assert_eq!(run(ResticForget, owner, Input::None).await["removedSnapshots"][0]["time"], first);
        let before = place.names().await;

        let forget = run_alone(ResticForget, params(json!({"keepLast": 1})), Input::None).await.result;
        let prune = run_alone(ResticPrune, params(json!({"maxUnused": "0B"})), Input::None).await.result;
        let rotate = json!({"action": "rotate", "newPassword": "battery staple"});
        let rotate = run_alone(ResticKey, params(rotate), Input::None).await.result;
        for result in [&forget, &prune, &rotate] {
            refused(result, FailureKind::Unauthorized, "--append-only");
        }
        let told = rotate.expect_err("refused").message;
        assert!(told.contains("the new password opens the repository, and so does the old one still"), "{told}");
        let after = place.names().await;
        assert!(before.iter().all(|name| after.contains(name)), "{before:#?} {after:#?}");
        assert!(!after.iter().any(|name| name.starts_with("locks/")), "{after:#?}");

        // All that reads works, with its lock, and backups do.
        let check = run(ResticCheck, params(json!({"readData": true})), Input::None).await;
        assert_eq!(check["snapshots"], json!(2));
        assert_eq!(run(ResticStats, params(json!({})), Input::None).await["snapshots"], json!(2));
        assert_eq!(
            run(ResticKey, params(json!({"action": "list"})), Input::None).await["keys"].as_array().map(Vec::len),
            Some(2)
        );
        push(0).await;
        let pulled = run_alone(ResticPull, params(json!({})), Input::None).await;
        assert!(pulled.result.is_ok() && pulled.stdout == bytes);
        assert!(!place.names().await.iter().any(|name| name.starts_with("locks/")));
    })
    .await;
    assert!(tested.get() > 0, "no server takes only new files");
}
