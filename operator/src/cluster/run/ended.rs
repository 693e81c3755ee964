//! What became of a Job: what its pod said, and why it failed.
//!
//! Takes a Job that ended, and its pods as far as they are still there. Always holds: what failed has a reason in words; what a pod says of itself may be
//! anything; of several pods, what one has stored is no backup of them all.

use std::time::Duration;

use aquifer_engine::event::Status;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::LATE;
use super::pods::{all_said, end, said};
use crate::cluster::names;
use crate::hooks::STEP;
use crate::outcome::Outcome;
use crate::session::steps;

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Ended {
    /// Whether it did all that it was to do.
    pub(in super::super) succeeded: bool,
    /// What its pod said, where it said something that is known here.
    pub(in super::super) outcome: Option<Outcome>,
    /// Why it failed; nothing after success.
    pub(in super::super) error: Option<String>,
    /// Whether its time was over.
    pub(in super::super) late: bool,
    /// What its pods said, in their order, where a Job of several succeeded; nothing of those that were gone before they were heard.
    pub(in super::super) parts: Vec<Option<Outcome>>,
    /// How long its Job took, from its pods' making to their end, by its controller; nothing where that is not known.
    pub(in super::super) took: Option<Duration>,
    /// What the pods of its Job are called in locks, where there was one.
    pub(in super::super) host: Option<String>,
    /// The repository that its Job was made for, as `namespace/name`, where there was a Job.
    pub(in super::super) repository: Option<String>,
}

impl Ended {
    /// The end of what could not be run.
    pub(in super::super) fn failed(error: impl Into<String>) -> Self {
        Self {
            succeeded: false,
            outcome: None,
            error: Some(error.into()),
            late: false,
            parts: Vec::new(),
            took: None,
            host: None,
            repository: None,
        }
    }

    /// With what became of the hook after it: a session whose hook failed has not done all that it was to do.
    pub(in super::super) fn with_hook(self, hook: Result<(), String>) -> Self {
        match hook {
            Err(why) if self.succeeded => {
                let stored = self.words(steps::PUSH, "snapshot");
                let stored = stored.map(|id| format!(", and the snapshot {} is there", short(id))).unwrap_or_default();
                Self { succeeded: false, error: Some(format!("the hook after it failed{stored}: {why}")), ..self }
            }
            _ => self,
        }
    }

    /// How long the engine ran.
    pub(in super::super) fn seconds(&self) -> Option<f64> {
        self.outcome.as_ref().map(|outcome| outcome.seconds)
    }

    /// How a step ended; nothing where it did not run.
    pub(in super::super) fn status(&self, step: &str) -> Option<Status> {
        self.outcome.as_ref()?.status(step)
    }

    /// A number among a step's outputs.
    pub(in super::super) fn number(&self, step: &str, output: &str) -> Option<i64> {
        self.outcome.as_ref()?.number(step, output)
    }

    /// A text among a step's outputs.
    pub(in super::super) fn words(&self, step: &str, output: &str) -> Option<&str> {
        self.outcome.as_ref()?.words(step, output)
    }
}

/// A Job's condition of this type, where it is so.
pub(super) fn condition<'j>(job: &'j Job, kind: &str) -> Option<&'j JobCondition> {
    let all = job.status.as_ref()?.conditions.iter().flatten();
    all.into_iter().find(|one| one.type_ == kind && one.status == "True")
}

/// What became of a Job that ended; of its pods the newest of each number, in the order in which they were made.
pub(super) fn of(job: &Job, pods: &[Pod]) -> Ended {
    let failed = condition(job, "Failed");
    let succeeded = failed.is_none();
    let shards = job.annotations().get(names::SHARDS).and_then(|said| said.parse::<usize>().ok());
    let parts = shards.filter(|_| succeeded).map(|shards| all_said(pods, shards)).unwrap_or_default();
    let outcomes = || pods.iter().rev().filter_map(said);
    // Of several the one that failed: the others are stopped then, or had done their part.
    let culprit = outcomes().find(|outcome| !outcome.succeeded && !outcome.stopped);
    let is_part = shards.is_some() && !succeeded;
    let mut outcome = culprit.clone().or_else(|| outcomes().find(|outcome| !is_part || !outcome.succeeded));
    if let Some(outcome) = outcome.as_mut().filter(|_| is_part) {
        outcome.steps.clear();
    }
    let late = failed.and_then(|one| one.reason.as_deref()) == Some("DeadlineExceeded");
    let error = failed.map(|one| {
        let told = |outcome: &Option<Outcome>| {
            let error = outcome.as_ref()?.error.as_ref()?;
            Some(match error.step.as_str() {
                "" => error.message.clone(),
                STEP => format!("the hook before it failed: {}", error.message),
                step => format!("`{step}` failed: {}", error.message),
            })
        };
        let of_pod = || pods.iter().rev().filter(|pod| said(pod).is_none()).find_map(end);
        let of_job = || one.message.clone().unwrap_or_else(|| "its Job failed".to_owned());
        if late {
            LATE.to_owned()
        } else {
            told(&culprit).or_else(of_pod).or_else(|| told(&outcome)).unwrap_or_else(of_job)
        }
    });
    let repository = job.annotations().get(names::REPOSITORY).cloned();
    let host = job.annotations().get(names::HOST).cloned();
    let status = job.status.as_ref();
    let times = status.and_then(|status| Some((status.start_time.as_ref()?.0, status.completion_time.as_ref()?.0)));
    let took = times.and_then(|(start, end)| Duration::try_from(end.duration_since(start)).ok());
    Ended { succeeded, outcome, error, late, parts, took, host, repository }
}

/// A snapshot's id as people read it. A pod may say anything.
pub(in super::super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn job(end: &str) -> Job {
        let conditions = json!([{"type": end, "status": "True", "message": "too many pods failed"}]);
        let job = json!({"metadata": {"annotations": {names::SHARDS: "3"}}, "status": {"conditions": conditions}});
        serde_json::from_value(job).expect("a job")
    }

    fn pod(number: usize, phase: &str, reason: &str, message: &str) -> Pod {
        let terminated = json!({"exitCode": 1, "reason": reason, "message": message});
        let status = json!({"phase": phase, "containerStatuses": [{"name": "aquifer", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": terminated}}]});
        let annotations = json!({super::super::POD_INDEX: number.to_string()});
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "status": status})).expect("a pod")
    }

    fn stored(id: &str) -> String {
        let push = json!({"status": "succeeded", "seconds": 1.0, "outputs": {"snapshot": id, "bytes": 9}});
        json!({"version": 1, "succeeded": true, "seconds": 1.0, "steps": {"push": push}}).to_string()
    }

    #[test]
    fn what_a_part_has_stored_is_no_backup_and_who_failed_says_why() {
        let done = [0, 1].map(|number| pod(number, "Succeeded", "Completed", &stored("aaaa")));
        let killed = pod(2, "Failed", "OOMKilled", "");
        // It ended before the others, which had done their part.
        let failed = of(&job("Failed"), &[killed.clone(), done[0].clone(), done[1].clone()]);
        assert!(failed.words("push", "snapshot").is_none() && failed.parts.is_empty() && !failed.succeeded);
        assert!(failed.error.as_ref().is_some_and(|error| error.contains("no memory left")), "{failed:?}");
        // The others were stopped for it, and say so.
        let stopped = json!({"version": 1, "succeeded": false, "stopped": true, "seconds": 1.0, "steps": {}, "error": {"step": "dump", "kind": "cancelled", "message": "stopped"}});
        let failed = of(&job("Failed"), &[killed, pod(0, "Failed", "Error", &stopped.to_string())]);
        assert!(failed.error.as_ref().is_some_and(|error| error.contains("no memory left")), "{failed:?}");
        let failed = of(&job("Failed"), &[pod(0, "Failed", "Error", &stopped.to_string())]);
        assert_eq!(failed.error.as_deref(), Some("`dump` failed: stopped"));
        let third = pod(2, "Succeeded", "Completed", &stored("cccc"));
        let mut complete = job("Complete");
        let status = complete.status.as_mut().expect("a status");
        status.start_time = Some(Time("2026-03-01T03:00:00Z".parse().expect("a time")));
        status.completion_time = Some(Time("2026-03-01T03:01:30Z".parse().expect("a time")));
        let whole = of(&complete, &[done[0].clone(), done[1].clone(), third]);
        assert_eq!((whole.took, failed.took), (Some(Duration::from_secs(90)), None));
        assert!(whole.succeeded && whole.error.is_none() && whole.parts.len() == 3);
        assert_eq!(whole.parts[2].as_ref().and_then(|part| part.words("push", "snapshot")), Some("cccc"));
    }

    #[test]
    fn an_id_that_is_none_is_not_cut_in_a_letter() {
        assert_eq!(
            [short("0123456789"), short("a"), short("a\u{e9}\u{e9}\u{e9}\u{e9}")],
            ["01234567", "a", "a\u{e9}\u{e9}\u{e9}\u{e9}"]
        );
    }
}
