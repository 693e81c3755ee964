//! How pods end: deleted, killed, evicted, too late.

use std::time::Instant;

use aquifer_tests::kubernetes::wait::until;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use super::rig::*;

const PATIENT: &str = "trap 'echo asked to end; exit 0' TERM; echo begun; while :; do sleep 0.1; done";
const DEAF: &str = "trap '' TERM; echo begun; while :; do sleep 0.1; done";

#[tokio::test]
async fn a_deleted_pod_ends_its_process_first() {
    let (rig, client) = room("deleted").await;
    let _free = rig.whole.read().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "deleted");
    for (name, script, said) in [("patient", PATIENT, "begun\nasked to end\n"), ("deaf", DEAF, "begun\n")] {
        make::<Pod>(&client, "deleted", pod(name, script)).await;
        running(&client, "deleted", name).await;
        until("it has begun", async || (!rig.node.log("deleted", name, "main").is_empty()).then_some(())).await;
        let process = rig.node.process("deleted", name, "main").expect("it runs");
        let begun = Instant::now();
        pods.delete(name, &DeleteParams::default().grace_period(3)).await.expect("deleted");
        gone(&client, "deleted", name).await;
        assert!(!lives(process), "{name}");
        assert_eq!(rig.node.log("deleted", name, "main"), said);
        assert!(name == "patient" || begun.elapsed().as_secs() >= 3, "the grace was kept");
        assert_eq!(rig.node.process("deleted", name, "main"), None);
    }
}

#[tokio::test]
async fn a_killed_process_is_started_again_where_the_pod_says_so() {
    let (rig, client) = room("killed").await;
    let _free = rig.whole.read().await;
    let mut again = pod("again", "echo run; exec sleep 1000");
    again["spec"]["restartPolicy"] = "OnFailure".into();
    make::<Pod>(&client, "killed", again).await;
    make::<Pod>(&client, "killed", pod("once", "exec sleep 1000")).await;
    for name in ["again", "once"] {
        running(&client, "killed", name).await;
        until("it has begun", async || {
            (name == "once" || rig.node.log("killed", name, "main") == "run\n").then_some(())
        })
        .await;
        rig.node.kill("killed", name, "main");
    }
    let once = over(&client, "killed", "once").await;
    assert_eq!((phase(&once), &state(&once)["terminated"]["exitCode"]), ("Failed", &json!(137)));
    pod_that(&client, "killed", "again", "runs again", |pod| {
        pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).any(|status| {
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            status.restart_count == 1 && status.ready && last.is_some_and(|ended| ended.exit_code == 137)
        })
    })
    .await;
    until("it said so twice", async || (rig.node.log("killed", "again", "main") == "run\nrun\n").then_some(())).await;
}

#[tokio::test]
async fn an_evicted_pod_is_replaced_by_its_job() {
    let (rig, client) = room("evicted").await;
    let _free = rig.whole.read().await;
    make::<Job>(&client, "evicted", job("steady", "exec sleep 1000")).await;
    let first = running_of(&client, "evicted", "steady").await;
    let process = rig.node.process("evicted", &first, "main").expect("it runs");
    rig.node.evict("evicted", &first);
    let evicted = over(&client, "evicted", &first).await;
    assert!(!lives(process));
    let status = evicted.status.expect("a status");
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    let conditions = status.conditions.unwrap_or_default();
    assert!(
        conditions
            .iter()
            .any(|is| is.type_ == "DisruptionTarget" && is.reason.as_deref() == Some("TerminationByKubelet"))
    );
    until("another pod", async || {
        let name = running_of(&client, "evicted", "steady").await;
        (name != first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_s_own_deadline_ends_it() {
    let (rig, client) = room("deadline").await;
    let _free = rig.whole.read().await;
    let mut late = pod("late", PATIENT);
    late["spec"]["activeDeadlineSeconds"] = 2.into();
    make::<Pod>(&client, "deadline", late).await;
    let ended = over(&client, "deadline", "late").await;
    assert_eq!(
        (phase(&ended), ended.status.as_ref().and_then(|status| status.reason.as_deref())),
        ("Failed", Some("DeadlineExceeded"))
    );
    assert_eq!(rig.node.process("deadline", "late", "main"), None);
}
