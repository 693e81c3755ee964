//! The operator's own page: its health, and its metrics with what the resources say.
//!
//! Takes requests. Gives `/healthz` (it works), `/readyz` (it has seen the cluster) and `/metrics`. Always holds: nothing is asked of the cluster
//! for an answer; what is told was in the stores at that moment.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::blueprint::{BLUEPRINT, configuration_of};
use super::counts::Counts;
use super::exposition::{Exposition, Label};
use super::unread::Name;
use super::world::World;
use super::{Settings, Trouble};
use crate::resources::backup_session::BackupPhase;
use crate::resources::condition::ConditionStatus;
use crate::resources::restore::RestorePhase;
use crate::resources::target::TargetRef;

/// How long a request may take to be said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Begins to answer.
///
/// # Errors
/// The address cannot be listened to.
pub(super) async fn serve(
    settings: &Settings,
    world: World,
    counts: Arc<Counts>,
    stop: CancellationToken,
) -> Result<AbortHandle, Trouble> {
    let listener = TcpListener::bind(settings.listen).await;
    let listener =
        listener.map_err(|error| Trouble::other(format!("cannot listen to {}: {error}", settings.listen)))?;
    let page = Arc::new((world, counts));
    let serving = async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No more files can be opened: some will be closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let page = Arc::clone(&page);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let page = Arc::clone(&page);
                    async move { Ok::<_, Infallible>(answer(&request, &page.0, &page.1)) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
                // Who does not listen to the answer needs none.
                drop(http.serve_connection(TokioIo::new(stream), answer).await);
            });
        }
    };
    let task = tokio::spawn(async move { stop.run_until_cancelled(serving).await });
    Ok(task.abort_handle())
}

fn answer(request: &Request<Incoming>, world: &World, counts: &Counts) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" if counts.is_ready() => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the cluster has not been seen yet\n".to_owned()),
        "/metrics" => {
            let mut all = Exposition::default();
            counts.expose(&mut all);
            of_world(world, &mut all);
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", all.text())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "there are /metrics, /healthz and /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// What the resources say, under the names that dashboards of Stash's users ask for.
fn of_world(world: &World, all: &mut Exposition) {
    for one in world.backups.state() {
        let (name, namespace) = (one.name_any(), one.namespace().unwrap_or_default());
        let own: [Label<'_>; 3] =
            [("invoker_kind", "BackupConfiguration"), ("invoker_name", &name), ("namespace", &namespace)];
        created(all, "stash_appscode_com_backupconfiguration_created", &*one, &own);
        let target = of_target(one.spec.target.as_ref().map(|target| &target.r#ref));
        let schedule = one.spec.schedule.clone().unwrap_or_default();
        let phase = word(one.status.as_ref().and_then(|status| status.phase));
        let more = [
            ("driver", "Restic"),
            ("repository", one.spec.repository.name.as_str()),
            ("repository_namespace", one.spec.repository.namespace.as_deref().unwrap_or(&namespace)),
            ("schedule", &schedule),
            ("phase", &phase),
        ];
        let labels: Vec<Label<'_>> =
            own.into_iter().chain(more).chain(target.iter().map(|(n, v)| (*n, v.as_str()))).collect();
        all.gauge("stash_appscode_com_backupconfiguration_info", "What it is.", &labels, 1.0);
        for condition in one.status.iter().flat_map(|status| &status.conditions) {
            for status in [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown] {
                let word = format!("{status:?}");
                let labels: Vec<Label<'_>> =
                    own.into_iter().chain([("condition", condition.r#type.as_str()), ("status", &word)]).collect();
                let is = f64::from(u8::from(condition.status == status));
                all.gauge("stash_appscode_com_backupconfiguration_conditions", "What is so of it.", &labels, is);
            }
        }
    }
    for one in world.sessions.state() {
        let (name, namespace) = (one.name_any(), one.namespace().unwrap_or_default());
        let own: [Label<'_>; 4] = [
            ("invoker_kind", &one.spec.invoker.kind),
            ("invoker_name", &one.spec.invoker.name),
            ("namespace", &namespace),
            ("name", &name),
        ];
        created(all, "stash_appscode_com_backupsession_created", &*one, &own);
        let phase = word(one.status.as_ref().and_then(|status| status.phase));
        let labels: Vec<Label<'_>> = own.into_iter().chain([("phase", phase.as_str())]).collect();
        all.gauge("stash_appscode_com_backupsession_info", "How far it is.", &labels, 1.0);
    }
    last_successes(world, all);
    blueprints(world, all);
    for Name { group, kind, namespace, name } in world.unread.all() {
        let labels: [Label<'_>; 4] = [("group", &group), ("kind", &kind), ("namespace", &namespace), ("name", &name)];
        all.gauge("aquifer_unreadable_info", "That it cannot be read, and nothing is done for it.", &labels, 1.0);
    }
    for one in world.restores.state() {
        let (name, namespace) = (one.name_any(), one.namespace().unwrap_or_default());
        let own: [Label<'_>; 3] =
            [("invoker_kind", "RestoreSession"), ("invoker_name", &name), ("namespace", &namespace)];
        created(all, "stash_appscode_com_restoresession_created", &*one, &own);
        let target = of_target(one.spec.target.as_ref().map(|target| &target.r#ref));
        let phase = word(one.status.as_ref().and_then(|status| status.phase));
        let more = [
            ("driver", "Restic"),
            ("repository", one.spec.repository.name.as_str()),
            ("repository_namespace", one.spec.repository.namespace.as_deref().unwrap_or(&namespace)),
            ("phase", &phase),
        ];
        let labels: Vec<Label<'_>> =
            own.into_iter().chain(more).chain(target.iter().map(|(n, v)| (*n, v.as_str()))).collect();
        all.gauge("stash_appscode_com_restoresession_info", "How far it is.", &labels, 1.0);
    }
    for one in world.repositories.state() {
        let (name, namespace) = (one.name_any(), one.namespace().unwrap_or_default());
        let own: [Label<'_>; 2] = [("name", &name), ("namespace", &namespace)];
        created(all, "stash_appscode_com_repository_created", &*one, &own);
        let status = one.status.clone().unwrap_or_default();
        let writers = status.references.iter().filter(|by| by.kind.as_deref() == Some("BackupConfiguration")).count();
        let help = "How many BackupConfigurations name it.";
        all.gauge("aquifer_repository_writers", help, &own, writers as f64);
        if let Some(at) = status.last_backup_time {
            let help = "When a backup was last stored in it.";
            all.gauge("aquifer_repository_last_backup_seconds", help, &own, at.0.as_second() as f64);
        }
        if let Some(at) = status.last_verified_time {
            let help = "When a check last found it sound.";
            all.gauge("aquifer_repository_last_verified_seconds", help, &own, at.0.as_second() as f64);
        }
        if let Some(is_sound) = status.integrity {
            let help = "Whether the last check found it sound.";
            all.gauge("aquifer_repository_integrity", help, &own, f64::from(u8::from(is_sound)));
        }
    }
}

/// Databases whose blueprint has not made their backup. Nobody would miss it otherwise.
fn blueprints(world: &World, all: &mut Exposition) {
    for one in world.bindings.state() {
        let Some(name) = one.annotations().get(BLUEPRINT) else { continue };
        let home = one.namespace().unwrap_or_default();
        let found = world.blueprints.get(&ObjectRef::new(name));
        let is_made = found.is_some_and(|found| {
            let (here, its) = configuration_of(&found, &one);
            world.backups.get(&ObjectRef::new(&its).within(&here)).is_some()
        });
        let labels = [("namespace", home.as_str()), ("name", &one.name_any()), ("blueprint", name)];
        let help = "Whether its blueprint has not made its backup.";
        all.gauge("aquifer_appbinding_without_backup", help, &labels, f64::from(u8::from(!is_made)));
    }
}

/// When each database was last backed up and restored. The newest session that succeeded is never forgotten.
fn last_successes(world: &World, all: &mut Exposition) {
    let mut backups = BTreeMap::new();
    for one in world.sessions.state() {
        let succeeded = one.status.as_ref().and_then(|status| status.phase) == Some(BackupPhase::Succeeded);
        if let Some(at) = one.metadata.creation_timestamp.as_ref().filter(|_| succeeded) {
            let invoker = one.spec.invoker.clone();
            let newest =
                backups.entry((one.namespace().unwrap_or_default(), invoker.kind, invoker.name)).or_insert(at.0);
            *newest = (*newest).max(at.0);
        }
    }
    for ((namespace, kind, name), at) in backups {
        let labels = [("namespace", namespace.as_str()), ("invoker_kind", &kind), ("invoker_name", &name)];
        let help = "When the last session that succeeded was made.";
        all.gauge("aquifer_backupsession_last_success_seconds", help, &labels, at.as_second() as f64);
    }
    let mut restores = BTreeMap::new();
    for one in world.restores.state() {
        let succeeded = one.status.as_ref().and_then(|status| status.phase) == Some(RestorePhase::Succeeded);
        let target = one.spec.target.as_ref().map(|target| target.r#ref.name.clone()).unwrap_or_default();
        if let Some(at) = one.metadata.creation_timestamp.as_ref().filter(|_| succeeded) {
            let key = (one.namespace().unwrap_or_default(), target, one.spec.repository.name.clone());
            let newest = restores.entry(key).or_insert(at.0);
            *newest = (*newest).max(at.0);
        }
    }
    for ((namespace, target, repository), at) in restores {
        let labels = [("namespace", namespace.as_str()), ("target_name", &target), ("repository", &repository)];
        let help = "When the last restore that succeeded was asked for.";
        all.gauge("aquifer_restoresession_last_success_seconds", help, &labels, at.as_second() as f64);
    }
}

fn created<K: kube::Resource>(all: &mut Exposition, metric: &str, one: &K, labels: &[Label<'_>]) {
    if let Some(at) = &one.meta().creation_timestamp {
        all.gauge(metric, "When it was made.", labels, at.0.as_second() as f64);
    }
}

/// A phase as it stands in a status; an empty text where there is none.
fn word<P: std::fmt::Debug>(phase: Option<P>) -> String {
    phase.map_or_else(String::new, |phase| format!("{phase:?}"))
}

fn of_target(target: Option<&TargetRef>) -> Vec<(&'static str, String)> {
    let target = target.map(|target| (target.api_version.clone(), target.kind.clone(), target.name.clone()));
    let (version, kind, name) = target.unwrap_or_default();
    vec![("target_api_version", version), ("target_kind", kind), ("target_name", name)]
}
