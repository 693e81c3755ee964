//! `aquifer kube …` and `kubectl aquifer …`, as programs against a real API server, with the operator.

mod back;
mod migrate;
mod notes;
mod overview;
mod sessions;

use std::path::Path;
use std::process::Stdio;

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::repository::Repository;
use aquifer_tests::redis_server::RedisServer;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::process::Command;

use super::operator::rig::{auth, binding, repository, storage_secret};
use super::rig::{Rig, aquifer, make};

/// What a program said.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `aquifer kube` as the administrator, in this namespace.
async fn verb(rig: &Rig, namespace: &str, args: &[&str]) -> Said {
    let mut command = Command::new(aquifer());
    command.arg("kube").args(args).args(["-n", namespace]);
    said(rig.cluster.kubeconfig(), command).await
}

async fn said(kubeconfig: &Path, mut command: Command) -> Said {
    command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { status: done.status.code(), stdout: text(done.stdout), stderr: text(done.stderr) }
}

impl Said {
    #[track_caller]
    fn is(&self, status: i32, stdout: &str, stderr: &str) {
        let is_so = self.status == Some(status) && self.stdout.contains(stdout) && self.stderr.contains(stderr);
        assert!(is_so, "not {status}, `{stdout}`, `{stderr}`: {self:#?}");
    }
}

/// What a backup needs beside its configuration.
async fn furnish(client: &Client, room: &str, server: &RedisServer, place: &Path) {
    make::<Secret>(client, room, auth()).await;
    make::<Secret>(client, room, storage_secret()).await;
    make::<AppBinding>(client, room, binding(server)).await;
    make::<Repository>(client, room, repository(place)).await;
}
