//! Commands in pods of a database, as hooks with `exec` ask for them.
//!
//! Takes a command and the Service whose pods it is for. Gives whether it ended with the status 0, or why not in words. Always holds: nothing that is
//! looked at waits for one; one that was begun here is begun here once, and again only by an operator that comes after this one and cannot know of
//! it; what it prints is kept as far as people read it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, ListParams};
use kube::client::UpgradeConnectionError;
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use super::hook::LONGEST;
use super::names;
use crate::amounts::span;
use crate::hooks::Command;

/// How long an API server that does not answer is asked again for the pods.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long what became of a command is remembered: its session has read that long before.
const REMEMBERED: Duration = Duration::from_secs(7200);

/// How long the rest of what a command printed is waited for once it has ended.
const REST: Duration = Duration::from_secs(1);

/// How much of the end of each of a command's two outputs is told, in bytes.
const TAIL: usize = 512;

/// The annotation by which a pod says which of its containers is meant.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What became of a command; nothing as long as it runs.
type Done = Option<Result<(), String>>;

/// The commands that were begun here.
#[derive(Debug, Clone, Default)]
pub(super) struct Commands(Arc<Mutex<HashMap<String, Begun>>>);

/// When a command was begun, and where its end is told.
type Begun = (Instant, watch::Receiver<Done>);

impl Commands {
    /// Whether the command that was begun here under this key still runs.
    pub(super) fn runs(&self, key: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|(_, heard)| heard.has_changed().is_ok() && heard.borrow().is_none())
    }

    /// Begins a command in a namespace, or looks how far the one is that was begun under this key.
    pub(super) fn run(&self, client: &Client, namespace: &str, key: String, command: &Command) -> Done {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (begun, _)| begun.elapsed() < REMEMBERED);
        match all.entry(key) {
            Entry::Occupied(known) => {
                let (_, heard) = known.get();
                // In this order: what it says last is there before it is gone.
                let is_over = heard.has_changed().is_err();
                let done = heard.borrow().clone();
                done.or_else(|| is_over.then(|| Err("the command was not run to its end".to_owned())))
            }
            Entry::Vacant(place) => {
                let (told, heard) = watch::channel(None);
                place.insert((Instant::now(), heard));
                let (client, namespace, command) = (client.clone(), namespace.to_owned(), command.clone());
                tokio::spawn(async move {
                    let done = tokio::time::timeout(LONGEST, run(&client, &namespace, &command)).await;
                    let longest = || format!("its command did not end in {}", span(LONGEST.as_secs_f64()));
                    told.send_replace(Some(done.unwrap_or_else(|_| Err(longest()))));
                });
                None
            }
        }
    }
}

async fn run(client: &Client, namespace: &str, command: &Command) -> Result<(), String> {
    let pod = found(client, namespace, &command.service).await?;
    let (name, container) = (pod.name_any(), container(&pod, command.container.as_deref())?);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = AttachParams::default().container(container);
    let mut attached = pods.exec(&name, &command.words, &params).await.map_err(|error| refused(&error))?;
    let (stdout, stderr, status) = (attached.stdout(), attached.stderr(), attached.take_status());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // All at once: a command whose output nobody takes does not end, and an output whose connection is lost does not either.
    let status = {
        let mut tails = std::pin::pin!(async { tokio::join!(tail(stdout, &mut out), tail(stderr, &mut err)) });
        let status = async { if let Some(status) = status { status.await } else { None } };
        let mut status = std::pin::pin!(status);
        tokio::select! {
            _ = &mut tails => status.await,
            status = &mut status => {
                drop(tokio::time::timeout(REST, tails).await);
                status
            }
        }
    };
    // Its arguments may be nobody else's business.
    let program = command.words.first().map(String::as_str).unwrap_or_default();
    ended(status.as_ref(), &[told(&err), told(&out)]).map_err(|why| format!("`{program}` in the pod `{name}` {why}"))
}

/// What the API server says of a command's end.
fn ended(status: Option<&Status>, outputs: &[String]) -> Result<(), String> {
    let status = status.ok_or("was left by its connection before it ended: it may still run")?;
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code =
        causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode")).find_map(|cause| cause.message.clone());
    let said: Vec<&str> = outputs.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    match code {
        Some(code) if said.is_empty() => Err(format!("ended with the status {code}")),
        Some(code) => Err(format!("ended with the status {code}: {}", said.join(" "))),
        None => Err(format!("could not be run: {}", status.message.as_deref().unwrap_or("no more is known"))),
    }
}

/// Keeps the end of what is read.
async fn tail(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
}

/// What was kept, for people.
fn told(kept: &[u8]) -> String {
    let text = String::from_utf8_lossy(kept);
    text.split(|letter: char| letter.is_control() || letter.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A pod of the Service that is ready; of several always the same.
async fn found(client: &Client, namespace: &str, service: &str) -> Result<Pod, String> {
    let begun = Instant::now();
    loop {
        match look(client, namespace, service).await {
            Ok(found) => return found,
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                return Err(refused(&kube::Error::Api(status)));
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(refused(&error)),
            Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
        }
    }
}

async fn look(client: &Client, namespace: &str, service: &str) -> Result<Result<Pod, String>, kube::Error> {
    if !names::is_name(service) {
        return Ok(Err(format!("the Service `{}` has a name that none can have", service.escape_debug())));
    }
    let shown = format!("the Service `{namespace}/{service}`");
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(found) = services.get_opt(service).await? else { return Ok(Err(format!("{shown} is not there"))) };
    let selector = found.spec.and_then(|spec| spec.selector).unwrap_or_default();
    if selector.is_empty() {
        return Ok(Err(format!("{shown} has no selector, so its pods are not known")));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let all = pods.list(&ListParams::default().labels(&names::selector(&selector))).await?.items;
    let ready = all.into_iter().filter(is_ready).min_by_key(ResourceExt::name_any);
    Ok(ready.ok_or_else(|| format!("{shown} has no pod that is ready")))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The container that is meant: by its name, by the pod's own word, or the first.
fn container<'p>(pod: &'p Pod, name: Option<&'p str>) -> Result<&'p str, String> {
    let all: Vec<&str> = pod.spec.iter().flat_map(|spec| &spec.containers).map(|one| one.name.as_str()).collect();
    let own = pod.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CONTAINER)).map(String::as_str);
    match name.filter(|name| !name.is_empty()) {
        Some(name) if all.contains(&name) => Ok(name),
        Some(name) => Err(format!(
            "the pod `{}` has no container `{name}`: it has {}",
            pod.name_any(),
            all.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")
        )),
        None => own
            .filter(|own| all.contains(own))
            .or(all.first().copied())
            .ok_or_else(|| format!("the pod `{}` has no container", pod.name_any())),
    }
}

/// Why it could not be begun.
fn refused(error: &kube::Error) -> String {
    let forbidden = match error {
        kube::Error::Api(status) => status.code == 403,
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => status.as_u16() == 403,
        _ => false,
    };
    if forbidden {
        return format!(
            "the operator has no right to run commands in pods, or to look for them: install its chart with `hooks.exec=true` ({error})"
        );
    }
    format!("its command could not be begun: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn a_commands_end_is_told_with_what_it_printed_last() {
        let code = |code: &str| {
            status(
                json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with non-zero exit code",
                "details": {"causes": [{"reason": "ExitCode", "message": code}]}}),
            )
        };
        let said = ["no space".to_owned(), String::new()];
        assert_eq!(ended(Some(&status(json!({"status": "Success"}))), &said), Ok(()));
        assert_eq!(ended(Some(&code("3")), &said), Err("ended with the status 3: no space".to_owned()));
        assert_eq!(ended(Some(&code("3")), &[]), Err("ended with the status 3".to_owned()));
        let missing = status(json!({"status": "Failure", "message": "exec: \"sync\": not found"}));
        assert_eq!(ended(Some(&missing), &said), Err("could not be run: exec: \"sync\": not found".to_owned()));
        assert!(ended(None, &said).expect_err("nobody knows").contains("may still run"));
    }

    #[tokio::test]
    async fn the_end_of_an_output_is_kept_and_has_no_lines() {
        let long = format!("{}\n\u{1b}[31mthe last\r\nline\n", "x".repeat(10_000));
        let mut kept = Vec::new();
        tail(Some(long.as_bytes()), &mut kept).await;
        let said = told(&kept);
        assert!(kept.len() <= TAIL && said.ends_with("x [31mthe last line"), "{said}");
        tail(None::<&[u8]>, &mut kept).await;
        assert_eq!(told(&kept), said);
    }

    #[test]
    fn the_container_that_is_meant() {
        let pod = |own: Option<&str>| -> Pod {
            let annotations = own.map(|own| json!({DEFAULT_CONTAINER: own})).unwrap_or_default();
            let containers = json!([{"name": "proxy"}, {"name": "redis"}]);
            serde_json::from_value(
                json!({"metadata": {"name": "db-0", "annotations": annotations}, "spec": {"containers": containers}}),
            )
            .expect("a pod")
        };
        assert_eq!(container(&pod(None), None), Ok("proxy"));
        assert_eq!(container(&pod(Some("redis")), None), Ok("redis"));
        assert_eq!(container(&pod(Some("gone")), Some("")), Ok("proxy"));
        assert_eq!(container(&pod(None), Some("redis")), Ok("redis"));
        let why = container(&pod(None), Some("mysql")).expect_err("none");
        assert_eq!(why, "the pod `db-0` has no container `mysql`: it has `proxy`, `redis`");
    }
}
