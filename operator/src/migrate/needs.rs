//! What a `BackupConfiguration` or a `RestoreSession` refers to, as the operator gathers it, by single questions to the API server.
//!
//! Always holds: each is asked for once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::BLUEPRINT;
use crate::cluster::names::{ALLOWED, allows, is_name};
use crate::manifests::{Key, Manifests};
use crate::resources::blueprint::BackupBlueprint;
use crate::resources::own::{OwnFunction, OwnTask};
use crate::resources::target::{RepositoryRef, TargetRef, TaskRef};

/// Why something cannot be looked over.
pub(super) enum Lack {
    /// It is not there.
    Gone(String),
    /// Who looks may not see it.
    Hidden(String),
}

/// Puts into manifests what is referred to. Gives what is lacking.
pub(super) async fn gather(
    client: &Client,
    to: &mut Manifests,
    namespace: &str,
    repository: &RepositoryRef,
    target: Option<&TargetRef>,
    task: Option<&TaskRef>,
) -> Result<Vec<Lack>, kube::Error> {
    let mut lacks = match task.filter(|task| task.is_own()) {
        Some(task) => own(client, to, namespace, task).await?,
        None => Vec::new(),
    };
    let home = repository.namespace.as_deref().unwrap_or(namespace);
    if home != namespace && !to.namespaces.contains_key(namespace) {
        let api: Api<Namespace> = Api::all(client.clone());
        // Without its labels, a policy that asks for some says so.
        if let Ok(Some(found)) = api.get_opt(namespace).await {
            to.namespaces.insert(namespace.to_owned(), found.labels().clone());
        }
    }
    lacks.extend(get(client, &mut to.repositories, home, &repository.name).await?);
    let secret = to.repositories.get(&(home.to_owned(), repository.name.clone()));
    if let Some(secret) = secret.and_then(|found| found.spec.backend.storage_secret_name.clone()) {
        lacks.extend(get::<Secret>(client, &mut to.secrets, home, &secret).await?);
    }
    let Some(target) = target.filter(|target| target.kind == "AppBinding") else { return Ok(lacks) };
    let home = target.namespace.as_deref().unwrap_or(namespace);
    lacks.extend(get(client, &mut to.app_bindings, home, &target.name).await?);
    let Some(binding) = to.app_bindings.get(&(home.to_owned(), target.name.clone())) else { return Ok(lacks) };
    let annotations = binding.annotations().clone();
    let spec = binding.spec.clone();
    if home != namespace && !allows(&annotations, namespace) && !is_let_in(client, &annotations, namespace).await? {
        lacks.push(Lack::Gone(format!(
            "the AppBinding `{home}/{}` may not be used from the namespace `{namespace}` until it is annotated with `{ALLOWED}={namespace}`",
            target.name
        )));
    }
    for one in spec.secrets() {
        let there = one.namespace.as_deref().unwrap_or(home);
        lacks.extend(get::<Secret>(client, &mut to.secrets, there, &one.name).await?);
        let found = to.secrets.get(&(there.to_owned(), one.name.clone()));
        if there != home && found.is_some_and(|found| !allows(found.annotations(), home)) {
            lacks.push(Lack::Gone(format!(
                "the Secret `{there}/{}` may not be used from the namespace `{home}` until it is annotated with `{ALLOWED}={home}`",
                one.name
            )));
        }
    }
    Ok(lacks)
}

/// A Task of the user's own, with the Functions of its namespace and the Secrets of its params.
async fn own(client: &Client, to: &mut Manifests, namespace: &str, task: &TaskRef) -> Result<Vec<Lack>, kube::Error> {
    let mut lacks: Vec<Lack> =
        get::<OwnTask>(client, &mut to.own_tasks, namespace, &task.name).await?.into_iter().collect();
    match Api::<OwnFunction>::namespaced(client.clone(), namespace).list(&ListParams::default()).await {
        Ok(found) => {
            let keyed = |one: OwnFunction| ((namespace.to_owned(), one.name_any()), one);
            to.own_functions.extend(found.items.into_iter().map(keyed));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            lacks.push(Lack::Hidden(format!("the Functions of aquifer.dev in `{namespace}` may not be read")));
        }
        Err(other) => return Err(other),
    }
    for source in task.params.iter().filter_map(|param| param.value_from.as_ref()) {
        lacks.extend(get::<Secret>(client, &mut to.secrets, namespace, &source.secret_key_ref.name).await?);
    }
    Ok(lacks)
}

/// Whether the blueprint that a database names makes its backups in this namespace; also where who looks may not read it.
async fn is_let_in(
    client: &Client,
    annotations: &BTreeMap<String, String>,
    namespace: &str,
) -> Result<bool, kube::Error> {
    let Some(name) = annotations.get(BLUEPRINT).filter(|name| is_name(name)) else { return Ok(false) };
    match Api::<BackupBlueprint>::all(client.clone()).get_opt(name).await {
        Ok(found) => Ok(found.is_some_and(|found| found.spec.backup_namespace.as_deref() == Some(namespace))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(kube::Error::SerdeError(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

/// One resource.
async fn get<K>(
    client: &Client,
    to: &mut BTreeMap<Key, K>,
    namespace: &str,
    name: &str,
) -> Result<Option<Lack>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let key = (namespace.to_owned(), name.to_owned());
    if to.contains_key(&key) {
        return Ok(None);
    }
    let what = format!("the {} `{namespace}/{name}`", K::kind(&()));
    match Api::<K>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(Some(found)) => {
            to.insert(key, found);
            Ok(None)
        }
        Ok(None) => Ok(Some(Lack::Gone(format!("{what} is not there")))),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Some(Lack::Hidden(format!("{what} may not be read"))))
        }
        Err(kube::Error::SerdeError(error)) => Ok(Some(Lack::Gone(format!("{what} cannot be read here: {error}")))),
        Err(other) => Err(other),
    }
}
