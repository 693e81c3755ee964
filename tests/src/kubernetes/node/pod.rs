//! A pod's worker: it brings a pod's containers to where the pod's object says, and reports how they are, until the object is gone.
//!
//! Always holds: a pod that is over never runs again; a pod that was deleted is removed only after its processes have ended.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::container::{self, Start};
use super::events::Event;
use super::run::{Ended, Run, State};
use super::shared::Shared;
use super::status::{Conditions, Whole, status};
use super::{environment, volumes};

const TICK: Duration = Duration::from_millis(50);

/// How long an evicted pod has.
const EVICTION: Duration = Duration::from_secs(1);

/// How often an object that is to go is asked to: others may hold it for a while.
const ASK: Duration = Duration::from_millis(500);

pub(super) struct Worker {
    shared: Arc<Shared>,
    client: Client,
    pod: Pod,
    uid: String,
    folder: PathBuf,
    events: UnboundedSender<Event>,
    runs: Vec<Run>,
    volumes: Option<BTreeMap<String, PathBuf>>,
    started: Timestamp,
    /// Why the node ended it: reason and message.
    verdict: Option<(String, String)>,
    /// When what still runs is killed, once it is to end.
    stopping: Option<Instant>,
    conditions: Conditions,
    reported: Value,
    /// When it is asked again to go.
    ask: Instant,
    waiting: JoinSet<()>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, client: Client, pod: Pod, events: UnboundedSender<Event>) -> Self {
        let uid = pod.uid().unwrap_or_default();
        let folder = shared.folder.join("pods").join(&uid);
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.unwrap_or_default().into_iter().map(|spec| Run::new(spec, true));
        let mut runs: Vec<Run> = inits.chain(spec.containers.into_iter().map(|spec| Run::new(spec, false))).collect();
        let was = pod.status.clone().unwrap_or_default();
        let known = was.init_container_statuses.into_iter().chain(was.container_statuses).flatten();
        let known: BTreeMap<String, _> = known.map(|status| (status.name.clone(), status)).collect();
        for run in &mut runs {
            if let Some(was) = known.get(&run.spec.name) {
                run.found(was);
            }
        }
        let started = was.start_time.and_then(|at| at.0.to_string().parse().ok()).unwrap_or_else(Timestamp::now);
        // What was ended for a reason stays so.
        let verdict = was.reason.map(|reason| (reason, was.message.unwrap_or_default()));
        let stopping = verdict.is_some().then(Instant::now);
        let (conditions, now) = (Conditions::default(), Instant::now());
        Self {
            shared,
            client,
            pod,
            uid,
            folder,
            events,
            runs,
            volumes: None,
            started,
            verdict,
            stopping,
            conditions,
            reported: Value::Null,
            ask: now,
            waiting: JoinSet::new(),
        }
    }

    /// Works until the pod is gone.
    pub(super) async fn work(mut self, mut heard: UnboundedReceiver<Event>) {
        loop {
            self.judge();
            self.go_on().await;
            self.report().await;
            let mut event = tokio::select! {
                event = heard.recv() => event,
                () = tokio::time::sleep(TICK) => None,
            };
            while let Some(next) = event {
                if self.hear(next).is_break() {
                    return self.clean_up().await;
                }
                event = heard.try_recv().ok();
            }
        }
    }

    fn hear(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Gone => return ControlFlow::Break(()),
            Event::Newer(pod) => self.pod = *pod,
            Event::Evict => {
                if !self.over() && self.verdict.is_none() {
                    let message = "The node was low on resource: memory.".to_owned();
                    self.end_for("Evicted", message, EVICTION);
                }
            }
            Event::Started(slot, process) => {
                let run = &mut self.runs[slot];
                run.process = Some(process);
                run.state = State::Running { since: Timestamp::now() };
                let key = self.key(slot);
                self.shared.state().processes.insert(key, process);
                if self.stopping.is_some() {
                    self.ask_to_end(slot);
                }
            }
            Event::Ended(slot, code, said) => self.ended(slot, code, said),
        }
        ControlFlow::Continue(())
    }

    fn key(&self, slot: usize) -> (String, String, String) {
        (self.pod.namespace().unwrap_or_default(), self.pod.name_any(), self.runs[slot].spec.name.clone())
    }

    fn ended(&mut self, slot: usize, code: i32, said: Option<String>) {
        let (key, policy, stopping) = (self.key(slot), self.policy(), self.stopping.is_some());
        self.shared.state().processes.remove(&key);
        let run = &mut self.runs[slot];
        let started = if let State::Running { since } = run.state { Some(since) } else { None };
        let reason = if said.is_some() {
            "StartError"
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        };
        let log = self.shared.logs(&key.0, &key.1).join(container::log(&run.spec.name, run.restarts));
        let message = said.or_else(|| container::last_words(&self.folder, &run.spec, code, &log));
        let ended = Ended { code, reason: reason.to_owned(), message, started, finished: Timestamp::now() };
        run.ends(ended, &policy, stopping);
    }

    fn policy(&self) -> String {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.clone()).unwrap_or_else(|| "Always".to_owned())
    }

    fn grace(&self) -> Duration {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn end_for(&mut self, reason: &str, message: String, grace: Duration) {
        self.verdict = Some((reason.to_owned(), message));
        self.stop(grace);
    }

    /// Asks all that runs to end; a shorter time than before counts.
    fn stop(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        let first = self.stopping.is_none();
        self.stopping = Some(self.stopping.map_or(at, |before| before.min(at)));
        if first {
            for slot in 0..self.runs.len() {
                self.ask_to_end(slot);
            }
        }
    }

    fn ask_to_end(&self, slot: usize) {
        if let Some(process) = self.runs[slot].process {
            // It may have ended this moment.
            let _gone = kill(Pid::from_raw(process), Signal::SIGTERM);
        }
    }

    /// Whether its object or its own deadline ends it.
    fn judge(&mut self) {
        let metadata = &self.pod.metadata;
        let deleted = metadata.deletion_timestamp.is_some();
        let grace = Duration::from_secs(
            metadata.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
        );
        if deleted && self.stopping.is_none() {
            self.stop(grace);
        } else if deleted && grace.is_zero() {
            self.stopping = Some(Instant::now());
        }
        let deadline = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let age = Timestamp::now().duration_since(self.started).as_secs();
        if deadline.is_some_and(|deadline| age >= deadline) && !self.over() && self.stopping.is_none() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.end_for("DeadlineExceeded", message, self.grace());
        }
    }

    /// Whether nothing of it runs, and nothing ever will.
    fn over(&self) -> bool {
        let policy = self.policy();
        if self.runs.iter().any(|run| run.kill.is_some()) {
            return false;
        }
        let failed = |run: &Run| run.init && run.finished(&policy).is_some_and(|code| code != 0);
        let all = self.runs.iter().filter(|run| !run.init).all(|run| run.finished(&policy).is_some());
        self.stopping.is_some() || all || self.runs.iter().any(failed)
    }

    fn phase(&self) -> &'static str {
        let mut main = self.runs.iter().filter(|run| !run.init);
        if self.over() {
            let succeeded = main.all(|run| matches!(&run.state, State::Terminated(ended) if ended.code == 0));
            return if succeeded && self.verdict.is_none() { "Succeeded" } else { "Failed" };
        }
        if main.any(Run::has_run) { "Running" } else { "Pending" }
    }

    /// Starts what is due, and kills what has had its time.
    async fn go_on(&mut self) {
        if let Some(at) = self.stopping {
            if Instant::now() >= at {
                self.runs
                    .iter()
                    .filter_map(|run| run.kill.as_ref())
                    .for_each(tokio_util::sync::CancellationToken::cancel);
            }
            return;
        }
        if self.over() || !self.shared.connected() {
            return;
        }
        if self.volumes.is_none() {
            match volumes::prepare(&self.shared, &self.client, &self.pod, &self.folder.join("volumes")).await {
                Ok(volumes) => self.volumes = Some(volumes),
                Err(message) => {
                    let unstarted = self.runs.iter_mut().filter(|run| !run.has_run());
                    unstarted.for_each(|run| run.waits("ContainerCreating", Some(message.clone())));
                    return;
                }
            }
        }
        let policy = self.policy();
        for slot in 0..self.runs.len() {
            let run = &self.runs[slot];
            if run.finished(&policy) == Some(0) || (!run.init && run.finished(&policy).is_some()) {
                continue;
            }
            if run.kill.is_none() && Instant::now() >= run.due {
                self.begin(slot).await;
            }
            // What comes after an init container waits for it.
            if self.runs[slot].init {
                return;
            }
        }
    }

    async fn begin(&mut self, slot: usize) {
        let run = &self.runs[slot];
        let name = run.spec.image.clone().unwrap_or_default();
        let image = self.shared.state().images.get(&name).cloned();
        let Some(image) = image else {
            let message = format!("Back-off pulling image \"{name}\"");
            return self.runs[slot].waits("ImagePullBackOff", Some(message));
        };
        let environment = environment::of(&self.shared, &self.client, &self.pod, &run.spec).await;
        let volumes = self.volumes.clone().unwrap_or_default();
        let start = environment.and_then(|environment| {
            let start = Start {
                shared: &self.shared,
                pod: &self.pod,
                run,
                image: &image,
                environment,
                volumes,
                folder: &self.folder,
            };
            start.process()
        });
        match start {
            Ok(process) => {
                let run = &mut self.runs[slot];
                run.kill = Some(process.kill.clone());
                // The last end is the last state from now on.
                if let State::Terminated(ended) = &run.state {
                    run.last = Some(ended.clone());
                    run.restarts += 1;
                }
                run.state = State::Waiting { reason: "ContainerCreating".to_owned(), message: None };
                self.waiting.spawn(process.watch(slot, self.events.clone()));
            }
            Err(message) => self.runs[slot].waits("CreateContainerConfigError", Some(message)),
        }
    }

    async fn report(&mut self) {
        if !self.shared.connected() {
            return;
        }
        let (phase, pods) = (self.phase(), self.pods());
        let whole =
            Whole { phase, started: self.started, verdict: self.verdict.as_ref(), runs: &self.runs, uid: &self.uid };
        let status = status(&mut self.conditions, &whole);
        if status != self.reported {
            let patch = Patch::Strategic(json!({"metadata": {"uid": self.uid}, "status": status}));
            // A server that is down is told the next time.
            if pods.patch_status(&self.pod.name_any(), &PatchParams::default(), &patch).await.is_err() {
                return;
            }
            self.reported = status;
        }
        if self.over() && self.pod.metadata.deletion_timestamp.is_some() && Instant::now() >= self.ask {
            self.ask = Instant::now() + ASK;
            let this = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
            let now = DeleteParams::default().grace_period(0).preconditions(this);
            drop(pods.delete(&self.pod.name_any(), &now).await);
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.pod.namespace().unwrap_or_default())
    }

    async fn clean_up(mut self) {
        self.runs.iter().filter_map(|run| run.kill.as_ref()).for_each(tokio_util::sync::CancellationToken::cancel);
        while self.waiting.join_next().await.is_some() {}
        for slot in 0..self.runs.len() {
            let key = self.key(slot);
            self.shared.state().processes.remove(&key);
        }
        // It is in the cluster's folder, which goes as a whole in the end.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
