//! A container of a pod: how it is, and what it was.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus};
use tokio_util::sync::CancellationToken;

/// How long the first restart waits; each further one twice as long. A kubelet's are fifty times longer.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: Option<String>,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Waiting { reason: String, message: Option<String> },
    Running { since: Timestamp },
    Terminated(Ended),
}

/// A container.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) spec: Container,
    pub(super) init: bool,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: i32,
    /// While there is a process, also one that is not as far as to run: it ends all of it.
    pub(super) kill: Option<CancellationToken>,
    /// The id of what runs in it, on this machine.
    pub(super) process: Option<i32>,
    /// When it may be tried again.
    pub(super) due: Instant,
}

impl Run {
    pub(super) fn new(spec: Container, init: bool) -> Self {
        let state = State::Waiting { reason: "ContainerCreating".to_owned(), message: None };
        Self { spec, init, state, last: None, restarts: 0, kill: None, process: None, due: Instant::now() }
    }

    /// One that a node reported before it was lost: what ran then is gone, and nobody knows how.
    pub(super) fn found(&mut self, was: &ContainerStatus) {
        self.restarts = was.restart_count;
        let Some(state) = &was.state else { return };
        if let Some(ended) = &state.terminated {
            self.state = State::Terminated(Ended {
                code: ended.exit_code,
                reason: ended.reason.clone().unwrap_or_default(),
                message: ended.message.clone(),
                started: ended.started_at.as_ref().and_then(|at| at.0.to_string().parse().ok()),
                finished: Timestamp::now(),
            });
        } else if let Some(running) = &state.running {
            self.state = State::Terminated(Ended {
                code: 137,
                reason: "ContainerStatusUnknown".to_owned(),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                started: running.started_at.as_ref().and_then(|at| at.0.to_string().parse().ok()),
                finished: Timestamp::now(),
            });
        }
    }

    pub(super) fn waits(&mut self, reason: &str, message: Option<String>) {
        self.state = State::Waiting { reason: reason.to_owned(), message };
        self.due = Instant::now() + BACK_OFF;
    }

    /// Whether a policy lets it run again after such an end.
    fn again(&self, policy: &str, code: i32) -> bool {
        match policy {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => !self.init || code != 0,
        }
    }

    /// Its exit code, where it does not run again.
    pub(super) fn finished(&self, policy: &str) -> Option<i32> {
        match &self.state {
            State::Terminated(ended) if self.kill.is_none() && !self.again(policy, ended.code) => Some(ended.code),
            _ => None,
        }
    }

    /// Whether it ever ran.
    pub(super) fn has_run(&self) -> bool {
        self.last.is_some() || !matches!(self.state, State::Waiting { .. })
    }

    /// It ended; where it is to run again, it waits for that.
    pub(super) fn ends(&mut self, ended: Ended, policy: &str, stopping: bool) {
        self.kill = None;
        self.process = None;
        if stopping || !self.again(policy, ended.code) {
            self.state = State::Terminated(ended);
            return;
        }
        let message = format!("back-off restarting failed container={}", self.spec.name);
        self.waits("CrashLoopBackOff", Some(message));
        self.due = Instant::now() + BACK_OFF * 2u32.pow(u32::try_from(self.restarts).unwrap_or(0).min(6));
        self.last = Some(ended);
        self.restarts += 1;
    }
}
