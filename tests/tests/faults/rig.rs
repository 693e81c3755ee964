//! What these tests share: a repository at a place, all that was stored in it, and the judgement at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::run::RunOptions;
use aquifer_functions::restic_check::ResticCheck;
use aquifer_functions::restic_forget::ResticForget;
use aquifer_functions::restic_prune::ResticPrune;
use aquifer_functions::restic_pull::ResticPull;
use aquifer_functions::restic_push::ResticPush;
use aquifer_functions::restic_snapshots::ResticSnapshots;
use aquifer_tests::streams::{noise, pieces};
use serde_json::{Value as Json, json};

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A repository, and what was reported as stored in it, by host.
pub(crate) struct Repository {
    location: Json,
    stored: BTreeMap<String, Vec<u8>>,
    tried: u64,
}

impl Repository {
    /// At a place where there is none; a first backup is in it, which went well.
    pub(crate) async fn at(location: Json) -> Self {
        let mut repository = Self { location: location.clone(), stored: BTreeMap::new(), tried: 0 };
        repository.push(&location, "first").await.expect("nothing fails yet");
        repository
    }

    fn params(location: &Json, more: Json) -> Json {
        let mut params = json!({"repository": location, "password": "correct horse", "lockTimeout": "1m"});
        params.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        params
    }

    /// Stores something new by way of a location. What is told must be clear, and what is reported is remembered.
    pub(crate) async fn push(&mut self, way: &Json, what: &str) -> Result<(), Failure> {
        self.tried += 1;
        let host = format!("{what} {}", self.tried);
        let bytes = [noise(1 << 20, 1), noise(4 << 20, 100 + self.tried)].concat();
        let params = Self::params(way, json!({"host": host, "filename": "dump"}));
        let pushing = tokio::time::timeout(PATIENCE, run_alone(ResticPush, params, pieces(&bytes)));
        let result = pushing.await.unwrap_or_else(|_| panic!("{host}: it hangs")).result;
        match result {
            Ok(_) => {
                self.stored.insert(host, bytes);
                Ok(())
            }
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Unavailable, "{host} at {way}: {failure:?}");
                assert!(!failure.message.is_empty(), "{host}");
                Err(failure)
            }
        }
    }

    /// Stores something by way of a location that never answers; the step may take so many seconds.
    pub(crate) async fn push_for_seconds(&self, way: &Json, seconds: u32) {
        let input = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(input.path(), noise(3 << 20, 7)).expect("written");
        let text = format!(
            "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  steps:\n    \
             - {{name: r, function: file-read, params: {{path: {}}}}}\n    \
             - {{name: p, function: restic-push, stdin: r, timeout: {seconds}s, params: {}}}\n",
            input.path().display(),
            Self::params(way, json!({"host": "silence"}))
        );
        let mut catalog = Catalog::new(aquifer_functions::builtins());
        catalog.add_text("t.yaml", &text);
        let plan = catalog.plan("t", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let running = aquifer_engine::run::run(Arc::new(plan), RunOptions::default());
        let report = tokio::time::timeout(PATIENCE, running).await.expect("it hangs");
        let first = report.first_failure.expect("it fails");
        assert_eq!((&*first.step, first.failure.kind), ("p", FailureKind::TimedOut), "{:?}", first.failure);
    }

    /// Removes all snapshots but the newest ones.
    pub(crate) async fn forget_oldest(&mut self, keep: u32) {
        let params = Self::params(&self.location, json!({"keepLast": keep, "groupBy": []}));
        let outputs = run_alone(ResticForget, params, Input::None).await.result.expect("forgotten");
        for removed in outputs["removedSnapshots"].as_array().expect("a list") {
            self.stored.remove(removed["host"].as_str().expect("a host"));
        }
    }

    /// Removes what no snapshot needs, by way of a location.
    pub(crate) async fn prune(&self, way: &Json, more: Json) -> Result<Json, Failure> {
        let params = Self::params(way, more);
        tokio::time::timeout(PATIENCE, run_alone(ResticPrune, params, Input::None)).await.expect("it hangs").result
    }

    /// Nothing that was reported is missing, nothing that was not is there, and all of it is sound; and now everything works.
    pub(crate) async fn assert_whole(&mut self) {
        let location = self.location.clone();
        let listed =
            run_alone(ResticSnapshots, json!({"repository": location, "password": "correct horse"}), Input::None);
        let listed = listed.await.result.expect("listed");
        let hosts =
            listed["snapshots"].as_array().expect("a list").iter().map(|one| one["host"].as_str().expect("a host"));
        let mut hosts: Vec<&str> = hosts.collect();
        hosts.sort_unstable();
        assert_eq!(
            hosts,
            self.stored.keys().map(String::as_str).collect::<Vec<_>>(),
            "what is there is what was reported"
        );
        for (host, bytes) in &self.stored {
            let pulled =
                run_alone(ResticPull, Self::params(&location, json!({"filter": {"host": host}})), Input::None).await;
            pulled.result.unwrap_or_else(|failure| panic!("{host}: {failure:?}"));
            assert!(pulled.stdout == *bytes, "{host} is what was stored");
        }
        let check = Self::params(&location, json!({"readData": true}));
        run_alone(ResticCheck, check, Input::None).await.result.expect("sound");
        self.push(&location, "afterwards").await.expect("the next one works");
        self.prune(&location, json!({"maxUnused": 0, "repackSmall": true}))
            .await
            .expect("nobody's lock is in the way for long");
    }
}
