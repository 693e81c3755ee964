//! A pod's status, as a kubelet reports it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::run::{Ended, Run, State};

/// A moment as the API has it, in seconds.
pub(super) fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn now() -> String {
    shown(Timestamp::now())
}

/// What a pod's conditions were, and since when.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<&'static str, (bool, String)>);

impl Conditions {
    fn one(&mut self, kind: &'static str, is: bool, reason: Option<&str>) -> Value {
        let known = self.0.entry(kind).or_insert_with(|| (is, now()));
        if known.0 != is {
            *known = (is, now());
        }
        let mut condition =
            json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": known.1});
        // A patch that leaves it out would leave what was there.
        condition["reason"] = reason.map_or(Value::Null, Value::from);
        condition
    }
}

/// What is said of a pod as a whole.
pub(super) struct Whole<'a> {
    pub(super) phase: &'a str,
    pub(super) started: Timestamp,
    pub(super) verdict: Option<&'a (String, String)>,
    pub(super) runs: &'a [Run],
    pub(super) uid: &'a str,
}

fn terminated(ended: &Ended, id: &str) -> Value {
    let mut state =
        json!({"exitCode": ended.code, "reason": ended.reason, "finishedAt": shown(ended.finished), "containerID": id});
    if let Some(message) = &ended.message {
        state["message"] = message.as_str().into();
    }
    if let Some(started) = ended.started {
        state["startedAt"] = shown(started).into();
    }
    json!({"terminated": state})
}

fn container(run: &Run, uid: &str) -> Value {
    let id = |restarts: i32| format!("tests://{uid}-{}-{restarts}", run.spec.name);
    let runs = matches!(run.state, State::Running { .. });
    let done = matches!(&run.state, State::Terminated(ended) if ended.code == 0);
    let mut status = json!({
        "name": run.spec.name,
        "image": run.spec.image,
        "imageID": "",
        "ready": if run.init { done } else { runs },
        "started": runs,
        "restartCount": run.restarts,
        "lastState": run.last.as_ref().map_or_else(|| json!({}), |ended| terminated(ended, &id(run.restarts - 1))),
    });
    status["state"] = match &run.state {
        State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        State::Running { since } => json!({"running": {"startedAt": shown(*since)}}),
        State::Terminated(ended) => terminated(ended, &id(run.restarts)),
    };
    if run.has_run() {
        status["containerID"] = id(run.restarts).into();
        status["imageID"] = format!("tests://{}", run.spec.image.as_deref().unwrap_or_default()).into();
    }
    status
}

/// All of it, as a patch's `status`.
pub(super) fn status(conditions: &mut Conditions, whole: &Whole<'_>) -> Value {
    let ended = match whole.phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let init = |run: &&Run| run.init;
    let initialized =
        whole.runs.iter().filter(init).all(|run| matches!(&run.state, State::Terminated(end) if end.code == 0));
    let ready = ended.is_none()
        && initialized
        && whole.runs.iter().filter(|run| !run.init).all(|run| matches!(run.state, State::Running { .. }));
    let not_ready = ended.or((!ready).then_some("ContainersNotReady"));
    let mut all = vec![
        conditions.one("PodReadyToStartContainers", ended.is_none(), None),
        conditions.one("Initialized", initialized, (!initialized).then_some("ContainersNotInitialized")),
        conditions.one("ContainersReady", ready, not_ready),
        conditions.one("Ready", ready, not_ready),
    ];
    if whole.verdict.is_some_and(|(reason, _)| reason == "Evicted") {
        all.push(conditions.one("DisruptionTarget", true, Some("TerminationByKubelet")));
    }
    let [containers, inits] = [false, true].map(|init| {
        let those = whole.runs.iter().filter(|run| run.init == init);
        those.map(|run| container(run, whole.uid)).collect::<Vec<_>>()
    });
    let mut status = json!({
        "phase": whole.phase,
        "startTime": shown(whole.started),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": all,
        "containerStatuses": containers,
        "initContainerStatuses": inits,
    });
    if let Some((reason, message)) = whole.verdict {
        status["reason"] = reason.as_str().into();
        status["message"] = message.as_str().into();
    }
    status
}
