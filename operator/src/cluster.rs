//! The operator: it watches a cluster and brings what it finds to where its specs say.
//!
//! In the data's order: `world` (what there is), `gather` (what a session needs of it), `configuration` (with its `cron_job`), `backup`, `restore`, `repository` and
//! `blueprint` (one for each kind), `wipe` (a repository's end), `job` (a session to a pod), `run` (a pod to what became of it), `hook` (what is done after it) and `exec` (commands in pods), `turn` (what must end before), `push` and `serve` (metrics; `unread`: what those cannot tell of). Always holds: all that
//! is known is in the cluster, so an operator that is killed at any moment is followed by one that goes on; of two, one works; what is
//! reconciled twice is as if once; an error of the API is tried again, later and later, and ends nothing.

mod backup;
mod blueprint;
mod conditions;
mod configuration;
mod context;
mod counts;
mod cron_job;
mod exec;
mod exposition;
mod gather;
mod hook;
mod job;
mod leader;
pub(crate) mod names;
mod push;
mod repository;
mod restore;
mod run;
mod serve;
mod trouble;
mod turn;
mod unread;
mod wipe;
mod world;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{FutureExt, StreamExt, TryFutureExt};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{self, Action};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::counts::Counts;
use self::world::{Queues, World};

pub(crate) use blueprint::{BLUEPRINT, configuration_of};
pub use configuration::new_session;
pub use job::{FILES, FOLDER, INDEX, PARAMS, TASK_FILE};
pub use names::{INVOKER_KIND, INVOKER_NAME};
pub use restore::STILL_WANTED;
pub use trouble::Trouble;
pub(crate) use wipe::FINALIZER;

/// How the operator works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The image with the engine, which its pods run.
    pub image: String,
    /// The Pushgateway that metrics of sessions go to.
    pub pushgateway: Option<String>,
    /// Where its own metrics and its health are asked for.
    pub listen: SocketAddr,
    /// The namespace of its lease.
    pub namespace: String,
    /// Its name among those that want to lead, such as its pod's.
    pub identity: String,
    /// Whether it leads only with the lease.
    pub elect: bool,
    /// How long a session may take that has no `timeOut`.
    pub session_timeout: Duration,
    /// How long its pod may take to begin.
    pub start_timeout: Duration,
    /// Whether hooks may run commands in pods.
    pub exec_hooks: bool,
}

/// Runs until it is to stop, or no longer leads.
///
/// # Errors
/// It cannot listen, or has lost its lease: what runs it starts it again.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> Result<(), Trouble> {
    let counts = Arc::new(Counts::default());
    let (queues, mut heard) = queues();
    let (world, mut watches) = World::watch(&client, &queues);
    let server = serve::serve(&settings, world.clone(), Arc::clone(&counts), stop.clone()).await?;
    let settings = Arc::new(settings);
    let lease = leader::Lease::new(&client, &settings);
    let result = async {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ready = world.ready() => ready.map_err(|error| Trouble::other(error.to_string()))?,
        }
        counts.has_seen();
        let mut led = tokio::time::Instant::now();
        if settings.elect {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                since = lease.take() => led = since,
                // What changes meanwhile is another's work.
                () = heard.drain() => {}
                _ = watches.join_next() => return Err(unwatched()),
            }
        }
        world.ask_all(&queues);
        counts.leads(true);
        tracing::info!("leading");
        let reporter = Reporter { controller: names::US.to_owned(), instance: Some(settings.identity.clone()) };
        let context = Context {
            client: client.clone(),
            world: world.clone(),
            settings: Arc::clone(&settings),
            recorder: Recorder::new(client.clone(), reporter),
            counts: Arc::clone(&counts),
            failures: Arc::default(),
            seen: Arc::default(),
            commands: exec::Commands::default(),
            turns: turn::Turns::default(),
        };
        let work = CancellationToken::new();
        let controllers = control(context, heard, work.clone());
        let mut controllers = std::pin::pin!(controllers);
        let mut lost = std::pin::pin!(lease.lost(led));
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = &mut lost, if settings.elect => Err(Trouble::other("the lease is lost: another one leads")),
            () = &mut controllers => Err(Trouble::other("the controllers have ended")),
            _ = watches.join_next() => Err(unwatched()),
        };
        counts.leads(false);
        if ended.is_ok() {
            // What is being done is done to its end, as long as nobody else may lead.
            work.cancel();
            let in_time = tokio::select! {
                done = tokio::time::timeout(Duration::from_secs(20), controllers) => done.is_ok(),
                () = &mut lost, if settings.elect => false,
            };
            if !in_time {
                tracing::warn!("something did not end in time; what follows goes on with it");
            }
            if settings.elect {
                lease.give_back().await;
            }
        }
        ended
    }
    .await;
    drop(watches);
    server.abort();
    result
}

/// A watch goes on as long as it is wanted.
fn unwatched() -> Trouble {
    Trouble::other("a watch has ended")
}

/// What the watches ask for.
struct Heard {
    repositories: UnboundedReceiver<ObjectRef<crate::resources::repository::Repository>>,
    backups: UnboundedReceiver<ObjectRef<crate::resources::backup::BackupConfiguration>>,
    sessions: UnboundedReceiver<ObjectRef<crate::resources::backup_session::BackupSession>>,
    restores: UnboundedReceiver<ObjectRef<crate::resources::restore::RestoreSession>>,
    bindings: UnboundedReceiver<ObjectRef<crate::resources::app_binding::AppBinding>>,
}

impl Heard {
    /// Throws away what is heard, for as long as it is waited for.
    async fn drain(&mut self) {
        async fn one<T>(heard: &mut UnboundedReceiver<T>) {
            while heard.next().await.is_some() {}
        }
        tokio::join!(
            one(&mut self.repositories),
            one(&mut self.backups),
            one(&mut self.sessions),
            one(&mut self.restores),
            one(&mut self.bindings)
        );
    }
}

fn queues() -> (Queues, Heard) {
    let (repositories, repositories_heard) = unbounded();
    let (backups, backups_heard) = unbounded();
    let (sessions, sessions_heard) = unbounded();
    let (restores, restores_heard) = unbounded();
    let (bindings, bindings_heard) = unbounded();
    (
        Queues { repositories, backups, sessions, restores, bindings },
        Heard {
            repositories: repositories_heard,
            backups: backups_heard,
            sessions: sessions_heard,
            restores: restores_heard,
            bindings: bindings_heard,
        },
    )
}

/// All controllers.
async fn control(context: Context, heard: Heard, stop: CancellationToken) {
    let context = Arc::new(context);
    let world = &context.world;
    tokio::join!(
        controller(
            ("repository", GATHERS),
            &context,
            world.repositories.clone(),
            heard.repositories,
            &stop,
            repository::reconcile
        ),
        controller(
            ("backupconfiguration", GATHERS),
            &context,
            world.backups.clone(),
            heard.backups,
            &stop,
            configuration::reconcile
        ),
        controller(
            ("backupsession", Duration::ZERO),
            &context,
            world.sessions.clone(),
            heard.sessions,
            &stop,
            backup::reconcile
        ),
        controller(
            ("restoresession", Duration::ZERO),
            &context,
            world.restores.clone(),
            heard.restores,
            &stop,
            restore::reconcile
        ),
        controller(
            ("appbinding", GATHERS),
            &context,
            world.bindings.clone(),
            heard.bindings,
            &stop,
            blueprint::reconcile
        ),
    );
}

/// How many of a kind are looked at at once.
const AT_ONCE: u16 = 8;

/// How long changes of what is looked over are gathered: one resource that is made touches several.
const GATHERS: Duration = Duration::from_millis(300);

/// One kind's controller, and how long it gathers changes.
async fn controller<K, F>(
    (name, gathers): (&'static str, Duration),
    context: &Arc<Context>,
    store: Store<K>,
    heard: UnboundedReceiver<ObjectRef<K>>,
    stop: &CancellationToken,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, Trouble>> + Send + 'static,
{
    let key = |one: &K| format!("{name}/{}/{}", one.namespace().unwrap_or_default(), one.name_any());
    let queue = heard.take_until(stop.clone().cancelled_owned()).map(Ok::<_, std::convert::Infallible>);
    let work = move |one: Arc<K>, context: Arc<Context>| {
        let (key, began) = (key(&one), Instant::now());
        let counted = Arc::clone(&context);
        trouble::contained(reconcile(one, context))
            .inspect_ok({
                let counted = Arc::clone(&counted);
                let key = key.clone();
                move |_| {
                    counted.worked(&key);
                    counted.counts.reconciled(name, true, began.elapsed());
                }
            })
            .inspect_err(move |error| {
                if error.is_behind() {
                    tracing::debug!("{key}: {error}");
                } else {
                    tracing::warn!("{key}: {error}");
                }
                counted.counts.reconciled(name, error.is_behind(), began.elapsed());
            })
            .boxed()
    };
    let again = move |one: Arc<K>, _: &Trouble, context: Arc<Context>| Action::requeue(context.backoff(key(&one)));
    let config = controller::Config::default().concurrency(AT_ONCE).debounce(gathers);
    controller::applier(work, again, Arc::clone(context), store, queue, config).for_each(async |_| {}).await;
}

/// Writes a status: all of it, and only over the version that it was made of.
async fn patch_status<K, S>(context: &Context, one: &K, status: &S) -> Result<K, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    S: Serialize,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    let unsaid = |error: serde_json::Error| Trouble::other(error.to_string());
    let mut status = serde_json::to_value(status).map_err(unsaid)?;
    let before = serde_json::to_value(one).map_err(unsaid)?;
    // What was said and is no longer so goes by a null.
    if let (Some(status), Some(before)) = (status.as_object_mut(), before["status"].as_object()) {
        for name in before.keys() {
            status.entry(name).or_insert(serde_json::Value::Null);
        }
    }
    let patch = json!({"metadata": {"resourceVersion": one.resource_version()}, "status": status});
    Ok(api.patch_status(&one.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// Whether what is known of one is the newest: a watch may be behind, and its end may have been written already.
async fn is_newest<K>(context: &Context, one: &K) -> Result<bool, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    let now = api.get_opt(&one.name_any()).await?;
    Ok(now.is_some_and(|now| now.resource_version() == one.resource_version()))
}

/// Removes what has this uid, or any where none is said; what is gone is removed.
async fn remove<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<(), Trouble>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let this = Preconditions { uid, resource_version: None };
    match api.delete(name, &DeleteParams::background().preconditions(this)).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(other) => Err(other.into()),
        Ok(_) => Ok(()),
    }
}

/// The folder of files in a session's pod.
pub(crate) fn files_folder() -> PathBuf {
    Path::new(FOLDER).join(FILES)
}
