//! A pod that takes another's place: it has a time of its own to begin.

use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::{BackupPhase, BackupSession};
use aquifer_operator::resources::repository::Repository;
use aquifer_tests::held::Way;
use aquifer_tests::kubernetes::Image;
use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::Api;
use serde_json::json;

use super::super::rig::{AQUIFER, aquifer, make, pods_of, running_of, state};
use super::rig::*;

/// How long the operators of the tests let a pod take to begin.
const START: SignedDuration = SignedDuration::from_secs(15);

const JOB: &str = "stash-backup-first";

#[tokio::test]
async fn a_long_session_whose_pod_is_evicted_goes_on_with_another() {
    const ROOM: &str = "replaced";
    let (rig, client, _) = operated(ROOM).await;
    let (server, place) = (server(), folder());
    let way = Way::to(server.port());
    let mut held_binding = binding(&server);
    held_binding["spec"]["clientConfig"]["url"] = json!(format!("redis://127.0.0.1:{}", way.port()));
    // Nobody else's pod needs the image meanwhile.
    let _alone = rig.whole.write().await;
    make::<Secret>(&client, ROOM, auth()).await;
    make::<Secret>(&client, ROOM, storage_secret()).await;
    make::<AppBinding>(&client, ROOM, held_binding).await;
    make::<Repository>(&client, ROOM, repository(place.path())).await;
    make::<BackupConfiguration>(&client, ROOM, configuration(json!({}))).await;
    let mut held = way.hold_after(1);
    make::<BackupSession>(&client, ROOM, session("first")).await;
    let first = running_of(&client, ROOM, JOB).await;
    held.reached().await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), ROOM);
    until("it has run for longer than a pod may take to begin", async || {
        let made = jobs.get(JOB).await.ok()?.metadata.creation_timestamp?.0;
        (Timestamp::now().duration_since(made) > START).then_some(())
    })
    .await;
    rig.node.withdraw(AQUIFER);
    rig.node.evict(ROOM, &first);
    until("another pod waits for its image, and its job knows of it", async || {
        let pods = pods_of(&client, ROOM, JOB).await;
        let other = pods.iter().find(|pod| pod.name_any() != first)?;
        let there = other.status.as_ref()?.container_statuses.is_some();
        let known = jobs.get(JOB).await.ok()?.status?.active == Some(1);
        (there && known && state(other)["waiting"]["reason"] == "ImagePullBackOff").then_some(())
    })
    .await;
    rig.node.offer(AQUIFER, Image::of(&aquifer()));
    drop(held);
    let status = over(&client, ROOM, "first").await.status.expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
}
