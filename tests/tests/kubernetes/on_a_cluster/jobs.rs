//! Jobs, run by the real controllers on our node.

use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::rig::*;

#[tokio::test]
async fn a_job_completes() {
    let (rig, client) = room("completes").await;
    let _free = rig.whole.read().await;
    make::<Job>(&client, "completes", job("once", "echo done by $(hostname)")).await;
    job_that(&client, "completes", "once", "Complete").await;
    let pods = pods_of(&client, "completes", "once").await;
    assert_eq!(pods.len(), 1);
    let name = pods[0].name_any();
    assert_eq!(phase(&pods[0]), "Succeeded");
    let ended = &state(&pods[0])["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(0), &json!("Completed")));
    assert_eq!(rig.node.log("completes", &name, "main"), format!("done by {name}\n"));
}

#[tokio::test]
async fn a_cron_job_makes_jobs() {
    let (rig, client) = room("cron").await;
    let _free = rig.whole.read().await;
    let template = job("nightly", "exit 0")["spec"].clone();
    let cron =
        json!({"metadata": {"name": "nightly"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": template}}});
    make::<CronJob>(&client, "cron", cron).await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), "cron");
    let name = until("a job of the schedule", async || {
        let made = jobs.list(&ListParams::default()).await.ok()?.items;
        let of_cron = |job: &&Job| job.owner_references().iter().any(|owner| owner.kind == "CronJob");
        made.iter().find(of_cron).map(ResourceExt::name_any)
    })
    .await;
    job_that(&client, "cron", &name, "Complete").await;
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_and_given_up() {
    let (rig, client) = room("fails").await;
    let _free = rig.whole.read().await;
    let mut failing = job("failing", "echo no such server >/dev/termination-log; exit 3");
    failing["spec"]["backoffLimit"] = 1.into();
    make::<Job>(&client, "fails", failing).await;
    assert_eq!(job_that(&client, "fails", "failing", "Failed").await, "BackoffLimitExceeded");
    let pods = pods_of(&client, "fails", "failing").await;
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        assert_eq!(phase(pod), "Failed");
        let ended = &state(pod)["terminated"];
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
        assert_eq!(ended["message"], "no such server\n");
    }
}

#[tokio::test]
async fn a_job_s_deadline_ends_its_process() {
    let (rig, client) = room("late").await;
    let _free = rig.whole.read().await;
    let mut late = job("late", "trap 'echo asked to end; exit 1' TERM; echo begun; while :; do sleep 0.1; done");
    late["spec"]["activeDeadlineSeconds"] = 5.into();
    make::<Job>(&client, "late", late).await;
    let name = running_of(&client, "late", "late").await;
    let process = rig.node.process("late", &name, "main").expect("it runs");
    assert_eq!(job_that(&client, "late", "late", "Failed").await, "DeadlineExceeded");
    until("the process ends", async || (!lives(process)).then_some(())).await;
    assert_eq!(rig.node.log("late", &name, "main"), "begun\nasked to end\n");
}

#[tokio::test]
async fn a_finished_job_is_removed_in_time() {
    let (rig, client) = room("removed").await;
    let _free = rig.whole.read().await;
    let mut brief = job("brief", "exit 0");
    brief["spec"]["ttlSecondsAfterFinished"] = 0.into();
    make::<Job>(&client, "removed", brief).await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), "removed");
    until("the job is removed", async || jobs.get_opt("brief").await.ok()?.is_none().then_some(())).await;
    until("its pods are removed", async || pods_of(&client, "removed", "brief").await.is_empty().then_some(())).await;
}
