//! What the operator knows of the cluster: a copy of each kind that it looks at, kept fresh by a watch.
//!
//! Takes a client. Gives stores, and asks for what has to be looked at again when something changes. Always holds: Secrets and pods are in none of
//! them (they are asked for when they are needed), nor is what the API server keeps of who wrote which field.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::cron_job::KnownCronJob;
use super::names::{INVOKER_NAME, MANAGED_BY, US};
use super::unread::Unread;
use crate::guarded::Guarded;
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::BackupSession;
use crate::resources::blueprint::BackupBlueprint;
use crate::resources::own::{OwnFunction, OwnTask};
use crate::resources::repository::Repository;
use crate::resources::restore::RestoreSession;
use crate::resources::target::{RepositoryRef, TargetRef, TaskRef};
use crate::resources::task::{Function, Task};

/// The stores.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) repositories: Store<Repository>,
    pub(super) backups: Store<BackupConfiguration>,
    pub(super) sessions: Store<BackupSession>,
    pub(super) restores: Store<RestoreSession>,
    pub(super) bindings: Store<AppBinding>,
    pub(super) blueprints: Store<BackupBlueprint>,
    pub(super) tasks: Store<Task>,
    pub(super) functions: Store<Function>,
    pub(super) own_tasks: Store<OwnTask>,
    pub(super) own_functions: Store<OwnFunction>,
    pub(super) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(super) cron_jobs: Store<KnownCronJob>,
    pub(super) jobs: Store<PartialObjectMeta<Job>>,
    pub(super) unread: Arc<Unread>,
}

/// Where it is said what is to be looked at.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    pub(super) repositories: UnboundedSender<ObjectRef<Repository>>,
    pub(super) backups: UnboundedSender<ObjectRef<BackupConfiguration>>,
    pub(super) sessions: UnboundedSender<ObjectRef<BackupSession>>,
    pub(super) restores: UnboundedSender<ObjectRef<RestoreSession>>,
    pub(super) bindings: UnboundedSender<ObjectRef<AppBinding>>,
}

/// Says that one is to be looked at. Who no longer listens is about to end.
fn ask<K: Resource>(queue: &UnboundedSender<ObjectRef<K>>, one: ObjectRef<K>)
where
    K::DynamicType: Hash + Eq + Debug + Clone,
{
    drop(queue.unbounded_send(one));
}

impl World {
    /// Begins to watch. The tasks go on until they are dropped.
    pub(super) fn watch(client: &Client, queues: &Queues) -> (Self, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let (repositories, repository_writer) = reflector::store();
        let (backups, backup_writer) = reflector::store();
        let (sessions, session_writer) = reflector::store();
        let (restores, restore_writer) = reflector::store();
        let (bindings, binding_writer) = reflector::store();
        let (blueprints, blueprint_writer) = reflector::store();
        let (task_store, task_writer) = reflector::store();
        let (functions, function_writer) = reflector::store();
        let (own_tasks, own_task_writer) = reflector::store();
        let (own_functions, own_function_writer) = reflector::store();
        let (namespaces, namespace_writer) = reflector::store();
        let (cron_jobs, cron_writer) = reflector::store();
        let (jobs, job_writer) = reflector::store();
        let world = Self {
            repositories,
            backups,
            sessions,
            restores,
            bindings,
            blueprints,
            tasks: task_store,
            functions,
            own_tasks,
            own_functions,
            namespaces,
            cron_jobs,
            jobs,
            unread: Arc::default(),
        };
        // Of what others write, one may be as large as the API server takes: few are read at once.
        let all = watcher::Config::default().page_size(50);
        let ours = all.clone().labels(&format!("{MANAGED_BY}={US}"));
        let seen = || (world.clone(), queues.clone());

        let (it, to) = seen();
        tasks.spawn(keep(
            world.watched(client, &all, &world.repositories),
            repository_writer,
            move |one: &Repository| {
                ask(&to.repositories, ObjectRef::from_obj(one));
                it.users_of(&to, one);
                owners(one, "AppBinding", |owner| ask(&to.bindings, owner));
            },
        ));
        let (_, to) = seen();
        tasks.spawn(keep(
            world.watched(client, &all, &world.backups),
            backup_writer,
            move |one: &BackupConfiguration| {
                ask(&to.backups, ObjectRef::from_obj(one));
                ask(&to.repositories, repository_of(&one.spec.repository, one));
                owners(one, "AppBinding", |owner| ask(&to.bindings, owner));
            },
        ));
        let (_, to) = seen();
        tasks.spawn(keep(world.watched(client, &all, &world.sessions), session_writer, move |one: &BackupSession| {
            ask(&to.sessions, ObjectRef::from_obj(one));
        }));
        let (_, to) = seen();
        tasks.spawn(keep(world.watched(client, &all, &world.restores), restore_writer, move |one: &RestoreSession| {
            ask(&to.restores, ObjectRef::from_obj(one));
            ask(&to.repositories, repository_of(&one.spec.repository, one));
        }));
        let (it, to) = seen();
        // Only what is asked of them stays.
        let small =
            world.watched(client, &all, &world.bindings).modify(|one: &mut AppBinding| one.spec.keep_what_is_read());
        tasks.spawn(keep(small, binding_writer, move |one: &AppBinding| {
            ask(&to.bindings, ObjectRef::from_obj(one));
            it.with_target(&to, one);
        }));
        let (it, to) = seen();
        tasks.spawn(keep(
            world.watched(client, &all, &world.blueprints),
            blueprint_writer,
            move |_: &BackupBlueprint| {
                it.bindings.state().iter().for_each(|one| ask(&to.bindings, ObjectRef::from_obj(&**one)));
            },
        ));
        let (it, to) = seen();
        tasks.spawn(keep(world.watched(client, &all, &world.tasks), task_writer, move |_: &Task| {
            it.backups.state().iter().for_each(|one| ask(&to.backups, ObjectRef::from_obj(&**one)));
        }));
        let (it, to) = seen();
        tasks.spawn(keep(world.watched(client, &all, &world.functions), function_writer, move |_: &Function| {
            it.backups.state().iter().for_each(|one| ask(&to.backups, ObjectRef::from_obj(&**one)));
        }));
        let (it, to) = seen();
        tasks.spawn(keep(world.watched(client, &all, &world.own_tasks), own_task_writer, move |one: &OwnTask| {
            it.with_tasks(&to, one.namespace());
        }));
        let (it, to) = seen();
        tasks.spawn(keep(
            world.watched(client, &all, &world.own_functions),
            own_function_writer,
            move |one: &OwnFunction| {
                it.with_tasks(&to, one.namespace());
            },
        ));
        // Whose labels change is looked at again in time.
        let metadata: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        tasks.spawn(keep(watcher(metadata, all.clone()), namespace_writer, |_| {}));
        let (_, to) = seen();
        // Also what another program made for the same, which has its labels.
        let owned = only(world.watched(client, &all, &world.cron_jobs), KnownCronJob::is_owned);
        tasks.spawn(keep(owned, cron_writer, move |one: &KnownCronJob| {
            owners(one, "BackupConfiguration", |owner| ask(&to.backups, owner));
        }));
        let (_, to) = seen();
        // Of jobs only whose they are: each has its session's whole task in it.
        let jobs: Api<PartialObjectMeta<Job>> = Api::all(client.clone());
        tasks.spawn(keep(watcher(jobs, ours), job_writer, move |one: &PartialObjectMeta<Job>| {
            owners(one, "BackupSession", |owner| ask(&to.sessions, owner));
            owners(one, "RestoreSession", |owner| ask(&to.restores, owner));
            owners(one, "Repository", |owner| ask(&to.repositories, owner));
            // A slot's job is the cron job's; its annotation has the whole name.
            if let Some(configuration) = one.annotations().get(INVOKER_NAME) {
                let namespace = one.namespace().unwrap_or_default();
                ask(&to.backups, ObjectRef::new(configuration).within(&namespace));
            }
        }));
        (world, tasks)
    }

    /// Asks for all that there is.
    pub(super) fn ask_all(&self, to: &Queues) {
        self.repositories.state().iter().for_each(|one| ask(&to.repositories, ObjectRef::from_obj(&**one)));
        self.backups.state().iter().for_each(|one| ask(&to.backups, ObjectRef::from_obj(&**one)));
        self.sessions.state().iter().for_each(|one| ask(&to.sessions, ObjectRef::from_obj(&**one)));
        self.restores.state().iter().for_each(|one| ask(&to.restores, ObjectRef::from_obj(&**one)));
        self.bindings.state().iter().for_each(|one| ask(&to.bindings, ObjectRef::from_obj(&**one)));
    }

    /// Waits until each store has all that there is. For one that waits: of several, a store wakes the last.
    pub(super) async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.repositories.wait_until_ready().await?;
        self.backups.wait_until_ready().await?;
        self.sessions.wait_until_ready().await?;
        self.restores.wait_until_ready().await?;
        self.bindings.wait_until_ready().await?;
        self.blueprints.wait_until_ready().await?;
        self.tasks.wait_until_ready().await?;
        self.functions.wait_until_ready().await?;
        self.own_tasks.wait_until_ready().await?;
        self.own_functions.wait_until_ready().await?;
        self.namespaces.wait_until_ready().await?;
        self.cron_jobs.wait_until_ready().await?;
        self.jobs.wait_until_ready().await
    }

    /// Watches a kind. What cannot be read is left out aloud: one of somebody's must not hide all others.
    fn watched<K>(
        &self,
        client: &Client,
        config: &watcher::Config,
        known: &Store<K>,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let api: Api<Guarded<K>> = Api::all(client.clone());
        let (known, unread) = (known.clone(), Arc::clone(&self.unread));
        watcher(api, config.clone()).filter_map(move |event| {
            let event = match event {
                Ok(event) => {
                    unread.hear(&event);
                    readable(event, &known).map(Ok)
                }
                Err(error) => Some(Err(error)),
            };
            std::future::ready(event)
        })
    }

    /// What uses a repository is looked at again.
    fn users_of(&self, to: &Queues, repository: &Repository) {
        let this = ObjectRef::from_obj(repository);
        for one in self.backups.state().iter().filter(|one| repository_of(&one.spec.repository, &***one) == this) {
            ask(&to.backups, ObjectRef::from_obj(&**one));
        }
        for one in self.restores.state().iter().filter(|one| repository_of(&one.spec.repository, &***one) == this) {
            ask(&to.restores, ObjectRef::from_obj(&**one));
        }
    }

    /// What is done by a Task of one's own in this namespace is looked at again.
    fn with_tasks(&self, to: &Queues, namespace: Option<String>) {
        let is = |task: Option<&TaskRef>, home: Option<String>| task.is_some_and(TaskRef::is_own) && home == namespace;
        for one in self.backups.state().iter().filter(|one| is(one.spec.task.as_ref(), one.namespace())) {
            ask(&to.backups, ObjectRef::from_obj(&**one));
        }
        for one in self.restores.state().iter().filter(|one| is(one.spec.task.as_ref(), one.namespace())) {
            ask(&to.restores, ObjectRef::from_obj(&**one));
        }
    }

    /// What backs a database up or restores it is looked at again.
    fn with_target(&self, to: &Queues, binding: &AppBinding) {
        let this = ObjectRef::from_obj(binding);
        let is_target = |target: Option<&TargetRef>, namespace: Option<String>| {
            target.is_some_and(|target| binding_of(target, &namespace.unwrap_or_default()) == this)
        };
        for one in self.backups.state() {
            if is_target(one.spec.target.as_ref().map(|target| &target.r#ref), one.namespace()) {
                ask(&to.backups, ObjectRef::from_obj(&*one));
            }
        }
        for one in self.restores.state() {
            if is_target(one.spec.target.as_ref().map(|target| &target.r#ref), one.namespace()) {
                ask(&to.restores, ObjectRef::from_obj(&*one));
            }
        }
    }

    /// Whether a namespace is being removed.
    pub(super) fn is_ending(&self, namespace: &str) -> bool {
        let found = self.namespaces.find(|one| one.metadata.name.as_deref() == Some(namespace));
        found.is_some_and(|one| one.metadata.deletion_timestamp.is_some())
    }

    /// The labels of a namespace.
    pub(super) fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let found = self.namespaces.find(|one| one.metadata.name.as_deref() == Some(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }
}

/// The repository that one refers to.
pub(super) fn repository_of<K: Resource>(of: &RepositoryRef, by: &K) -> ObjectRef<Repository> {
    let own = by.meta().namespace.clone().unwrap_or_default();
    ObjectRef::new(&of.name).within(of.namespace.as_deref().unwrap_or(&own))
}

/// The AppBinding that a target is.
pub(super) fn binding_of(target: &TargetRef, namespace: &str) -> ObjectRef<AppBinding> {
    ObjectRef::new(&target.name).within(target.namespace.as_deref().unwrap_or(namespace))
}

/// Those of a kind that control a resource.
fn owners<K, O>(one: &K, kind: &str, mut found: impl FnMut(ObjectRef<O>))
where
    K: Resource,
    O: Resource<DynamicType = ()>,
{
    let namespace = one.meta().namespace.clone().unwrap_or_default();
    let owners = one.meta().owner_references.iter().flatten().filter(|owner| owner.kind == kind);
    owners.for_each(|owner| found(ObjectRef::new(&owner.name).within(&namespace)));
}

/// Keeps a store fresh, and says what changes.
async fn keep<K>(stream: impl Stream<Item = watcher::Result<Event<K>>> + Send, writer: Writer<K>, changed: impl Fn(&K))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let stream = stream.default_backoff().modify(strip).reflect(writer).touched_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(one) = stream.next().await {
        match one {
            Ok(one) => changed(&one),
            // It is watched again, later and later.
            Err(error) => tracing::warn!("watching {}: {error}", K::kind(&())),
        }
    }
}

/// An event of what can be read. What was known of one that cannot be read any more is no longer so: it is as if it had gone.
fn readable<K>(event: Event<Guarded<K>>, known: &Store<K>) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let read = |guard: Guarded<K>| match guard.0 {
        Ok(one) => Ok(one),
        Err(wrong) => {
            let (namespace, name) = (wrong.metadata.namespace, wrong.metadata.name);
            let mut this = ObjectRef::new(&name.unwrap_or_default());
            this.namespace = namespace;
            tracing::warn!("{this} cannot be read here, and is left alone: {}", wrong.error);
            Err(known.get(&this).map(Arc::unwrap_or_clone))
        }
    };
    match event {
        Event::Apply(one) => read(one).map_or_else(|known| known.map(Event::Delete), |one| Some(Event::Apply(one))),
        Event::Delete(one) => read(one).map_or_else(|known| known, Some).map(Event::Delete),
        Event::InitApply(one) => read(one).ok().map(Event::InitApply),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// Of what is watched only these: others are as if they were not there.
fn only<K>(
    stream: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    is: fn(&K) -> bool,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Send,
{
    stream.filter_map(move |event| {
        std::future::ready(match event {
            // It may have been one of these.
            Ok(Event::Apply(one)) if !is(&one) => Some(Ok(Event::Delete(one))),
            Ok(Event::InitApply(one)) if !is(&one) => None,
            other => Some(other),
        })
    })
}

/// Takes away what is said twice: who wrote which field, and the whole manifest as `kubectl apply` keeps it.
fn strip<K: Resource>(one: &mut K) {
    one.managed_fields_mut().clear();
    one.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}
