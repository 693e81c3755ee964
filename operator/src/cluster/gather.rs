//! What a session needs of the cluster: its repository, its database, and their Secrets.
//!
//! Takes what a `BackupConfiguration` or a `RestoreSession` refers to. Gives it as manifests, and says of each part whether it is there. Always
//! holds: Secrets are asked for one by one, and only those that are referred to; what lies in another namespace than who refers to it is used only
//! where it says itself that it may be, since the operator may read what its users may not.

use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::blueprint::BLUEPRINT;
use super::names::ALLOWED;
use super::{Context, Trouble, names};
use crate::manifests::Manifests;
use crate::resources::app_binding::AppBinding;
use crate::resources::backend::LocalBackend;
use crate::resources::own::OwnFunction;
use crate::resources::repository::Repository;
use crate::resources::target::{RepositoryRef, TargetRef, TaskRef};
use crate::session::may_use;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// All that is there.
    pub(super) manifests: Manifests,
    /// Whether the repository is, in words.
    pub(super) repository: Result<String, String>,
    /// Whether its Secret is.
    pub(super) secret: Result<String, String>,
    /// Whether the database is, with its Secrets.
    pub(super) target: Result<String, String>,
    /// Whether the Task of the user's own is, with the Secrets of its params; nothing where none is meant.
    pub(super) task: Option<Result<String, String>>,
    /// The volume that the repository lies on.
    pub(super) volume: Option<Box<LocalBackend>>,
}

impl Found {
    /// Whether nothing is missing.
    pub(super) fn is_all(&self) -> bool {
        self.missing().is_empty()
    }

    /// What is missing, in a line each.
    pub(super) fn missing(&self) -> Vec<String> {
        [&self.repository, &self.secret, &self.target]
            .into_iter()
            .chain(&self.task)
            .filter_map(|one| one.clone().err())
            .collect()
    }
}

/// A repository with its Secret, as manifests, and whether that is there.
pub(super) async fn storage(
    context: &Context,
    one: &Repository,
) -> Result<(Manifests, Result<String, String>), Trouble> {
    let (home, name) = (one.namespace().unwrap_or_default(), one.name_any());
    let mut manifests = Manifests::default();
    let found = match &one.spec.backend.storage_secret_name {
        Some(secret) => self::secret(context, &mut manifests, &home, secret, &home).await?,
        None => Err(format!("the Repository `{name}` names no `storageSecretName`")),
    };
    manifests.repositories.insert((home, name), one.clone());
    Ok((manifests, found))
}

/// Gathers it, for a namespace.
pub(super) async fn gather(
    context: &Context,
    namespace: &str,
    repository: &RepositoryRef,
    target: Option<&TargetRef>,
    task: Option<&TaskRef>,
) -> Result<Found, Trouble> {
    let world = &context.world;
    let mut manifests = Manifests::default();
    for task in world.tasks.state() {
        manifests.tasks.insert((String::new(), task.name_any()), (*task).clone());
    }
    for function in world.functions.state() {
        manifests.functions.insert((String::new(), function.name_any()), (*function).clone());
    }
    if let Some(labels) = world.labels(namespace) {
        manifests.namespaces.insert(namespace.to_owned(), labels);
    }
    let home = repository.namespace.as_deref().unwrap_or(namespace);
    let (mut volume, mut storage) = (None, Err("its Repository is not there".to_owned()));
    let there = known(context, &world.repositories, home, &repository.name).await?;
    let labels = world.labels(namespace);
    let may = |found: &Repository| may_use(found, &repository.name, home, namespace, labels.as_ref()).is_ok();
    let found = match there {
        // The session's own look at the policy says so. What else it is made of is none of their business.
        Ok(found) if !may(&found) => {
            storage = Ok("its Secret was not looked at".to_owned());
            manifests.repositories.insert((home.to_owned(), repository.name.clone()), (*found).clone());
            Ok(format!("the Repository `{home}/{}` is there", repository.name))
        }
        // Soon it is empty, or nobody looks after it.
        Ok(found) if found.metadata.deletion_timestamp.is_some() => {
            storage = Ok("its Secret was not looked at".to_owned());
            Err(format!("the Repository `{home}/{}` is being removed", repository.name))
        }
        Ok(found) => {
            volume = found.spec.backend.local.clone();
            storage = match &found.spec.backend.storage_secret_name {
                Some(name) => secret(context, &mut manifests, home, name, home).await?,
                None => Err(format!("the Repository `{}` names no `storageSecretName`", repository.name)),
            };
            manifests.repositories.insert((home.to_owned(), repository.name.clone()), (*found).clone());
            Ok(format!("the Repository `{home}/{}` is there", repository.name))
        }
        Err(why) => Err(why),
    };
    let database = match target {
        None => Ok("it has no target".to_owned()),
        Some(target) if target.kind != "AppBinding" => Ok(format!("its target is a {}", target.kind)),
        Some(target) => {
            let home = target.namespace.as_deref().unwrap_or(namespace);
            match known(context, &world.bindings, home, &target.name).await? {
                Ok(binding) if !may_reach(context, &binding, home, namespace) => Err(format!(
                    "the AppBinding `{home}/{}` may not be used from the namespace `{namespace}`: annotate it with `{ALLOWED}={namespace}` if it may",
                    target.name
                )),
                Ok(binding) => {
                    let secrets = secrets_of(context, &mut manifests, &binding, home).await?;
                    manifests.app_bindings.insert((home.to_owned(), target.name.clone()), (*binding).clone());
                    secrets.map(|()| format!("the AppBinding `{home}/{}` is there", target.name))
                }
                Err(why) => Err(why),
            }
        }
    };
    let task = match task.filter(|task| task.is_own()) {
        Some(task) => Some(own(context, &mut manifests, namespace, task).await?),
        None => None,
    };
    Ok(Found { manifests, repository: found, secret: storage, target: database, task, volume })
}

/// A Task of the user's own, the Functions beside it, and the Secrets that its params come from.
async fn own(
    context: &Context,
    manifests: &mut Manifests,
    namespace: &str,
    task: &TaskRef,
) -> Result<Result<String, String>, Trouble> {
    let world = &context.world;
    let found = match known(context, &world.own_tasks, namespace, &task.name).await? {
        Ok(found) => found,
        Err(why) => return Ok(Err(format!("{why}; it is one of aquifer.dev"))),
    };
    manifests.own_tasks.insert((namespace.to_owned(), task.name.clone()), (*found).clone());
    let is_here = |one: &OwnFunction| one.namespace().as_deref() == Some(namespace);
    for one in world.own_functions.state_filter(is_here) {
        manifests.own_functions.insert((namespace.to_owned(), one.name_any()), (*one).clone());
    }
    for source in task.params.iter().filter_map(|param| param.value_from.as_ref()) {
        let name = &source.secret_key_ref.name;
        if let Err(missing) = secret(context, manifests, namespace, name, namespace).await? {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(format!("the Task `{namespace}/{}` is there", task.name)))
}

/// What has this name, or why there is none: a watch may be behind, so what it does not show is asked for.
pub(super) async fn known<K>(
    context: &Context,
    store: &Store<K>,
    namespace: &str,
    name: &str,
) -> Result<Result<Arc<K>, String>, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let found = store.get(&ObjectRef::new(name).within(namespace));
    // One that is being removed may have been made anew by now.
    if let Some(found) = found.filter(|found| found.meta().deletion_timestamp.is_none()) {
        return Ok(Ok(found));
    }
    let this = format!("the {} `{}`", K::kind(&()), format!("{namespace}/{name}").escape_debug());
    if !names::is_name(name) || !names::is_name(namespace) {
        return Ok(Err(format!("{this} is not there")));
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(found) => Ok(found.map(Arc::new).ok_or_else(|| format!("{this} is not there"))),
        Err(kube::Error::SerdeError(error)) => Ok(Err(format!("{this} cannot be read here: {error}"))),
        Err(other) => Err(other.into()),
    }
}

/// Whether a database may be backed up and restored from a namespace: its own, one that it allows, or that of the blueprint that it names.
pub(super) fn may_reach(context: &Context, binding: &AppBinding, home: &str, namespace: &str) -> bool {
    let blueprint =
        binding.annotations().get(BLUEPRINT).and_then(|name| context.world.blueprints.get(&ObjectRef::new(name)));
    let there = blueprint.and_then(|blueprint| blueprint.spec.backup_namespace.clone());
    home == namespace || names::allows(binding.annotations(), namespace) || there.as_deref() == Some(namespace)
}

/// All Secrets of a database.
async fn secrets_of(
    context: &Context,
    manifests: &mut Manifests,
    binding: &AppBinding,
    home: &str,
) -> Result<Result<(), String>, Trouble> {
    for one in binding.spec.secrets() {
        let there = one.namespace.as_deref().unwrap_or(home);
        if let Err(missing) = secret(context, manifests, there, &one.name, home).await? {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(()))
}

/// One Secret, for what lies in `home`.
async fn secret(
    context: &Context,
    manifests: &mut Manifests,
    namespace: &str,
    name: &str,
    home: &str,
) -> Result<Result<String, String>, Trouble> {
    if name.is_empty() {
        return Ok(Err(format!("a Secret of the namespace `{namespace}` is referred to, and its name is empty")));
    }
    if !names::is_name(name) || !names::is_name(namespace) {
        let shown = format!("{namespace}/{name}");
        return Ok(Err(format!("the Secret `{}` has a name that none can have", shown.escape_debug())));
    }
    let may_not_be_used = || {
        Ok(Err(format!(
            "the Secret `{namespace}/{name}` may not be used from the namespace `{home}`: annotate it with `{ALLOWED}={home}` if it may"
        )))
    };
    let may = |found: &Secret| namespace == home || names::allows(found.annotations(), home);
    match manifests.secrets.entry((namespace.to_owned(), name.to_owned())) {
        // It was asked for by somebody else, who may have had the right.
        Entry::Occupied(found) if !may(found.get()) => return may_not_be_used(),
        Entry::Occupied(_) => {}
        Entry::Vacant(place) => {
            let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
            let found = match secrets.get_opt(name).await {
                Ok(Some(found)) if may(&found) => found,
                // Whether it is there is none of their business either.
                Ok(_) if namespace != home => return may_not_be_used(),
                Ok(_) => return Ok(Err(format!("the Secret `{namespace}/{name}` is not there"))),
                Err(kube::Error::Api(status)) if context.is_settled(status.code, &format!("{namespace}/{name}")) => {
                    return Ok(Err(format!("the Secret `{namespace}/{name}` cannot be read: {}", status.message)));
                }
                Err(other) => return Err(other.into()),
            };
            place.insert(found);
        }
    }
    Ok(Ok(format!("the Secret `{namespace}/{name}` is there")))
}
