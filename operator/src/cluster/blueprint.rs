//! `BackupBlueprint`: a database that names one by an annotation gets a `Repository` and a `BackupConfiguration`.
//!
//! Takes an AppBinding with `stash.appscode.com/backup-blueprint`, and beside it `stash.appscode.com/schedule` and `params.stash.appscode.com/…`. Always holds: what
//! was made stays the blueprint's work as long as it stands (a change of one is brought to the other); what a person made under that name is
//! left alone and said; a configuration in the AppBinding's namespace goes with it, one in another has to be removed, and the backups stay.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::names::{MANAGED_BY, US};
use super::{Context, Trouble, names};
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::{BackupConfiguration, BackupConfigurationSpec};
use crate::resources::blueprint::BackupBlueprint;
use crate::resources::repository::{Repository, RepositorySpec};
use crate::resources::target::{BackupTarget, RepositoryRef, TargetRef, TaskParam, TaskRef};
use crate::substitute::{Variables, substitute};

/// The blueprint's name.
pub(crate) const BLUEPRINT: &str = "stash.appscode.com/backup-blueprint";

/// The schedule, in the place of the blueprint's.
const SCHEDULE: &str = "stash.appscode.com/schedule";

/// Params of the task, by the rest of the key.
const PARAMS: &str = "params.stash.appscode.com/";

/// How soon one is looked at again that could not be made.
const SOON: Duration = Duration::from_secs(30);

/// Makes what the database's blueprint says.
pub(super) async fn reconcile(binding: Arc<AppBinding>, context: Arc<Context>) -> Result<Action, Trouble> {
    let Some(name) = binding.annotations().get(BLUEPRINT).filter(|_| binding.metadata.deletion_timestamp.is_none())
    else {
        return Ok(Action::await_change());
    };
    let made = match context.world.blueprints.get(&ObjectRef::new(name)) {
        None => Err(format!("the BackupBlueprint `{name}` is not there")),
        Some(blueprint) => match wanted(&binding, &blueprint) {
            Ok((repository, configuration)) => {
                let repository = ensure(&context, repository).await?;
                let configuration = ensure(&context, configuration).await?;
                repository.and(configuration)
            }
            Err(why) => Err(why),
        },
    };
    match made {
        Ok(()) => Ok(Action::await_change()),
        Err(why) => {
            context.tell(&*binding, EventType::Warning, "BackupBlueprintFailed", &why).await;
            Ok(Action::requeue(SOON))
        }
    }
}

/// The namespace and the name of the BackupConfiguration that a blueprint makes for a database.
pub(crate) fn configuration_of(blueprint: &BackupBlueprint, binding: &AppBinding) -> (String, String) {
    let home = binding.namespace().unwrap_or_default();
    let here = blueprint.spec.backup_namespace.clone().unwrap_or_else(|| home.clone());
    let name = names::blueprint(&binding.name_any(), (here != home).then_some(&home));
    (here, name)
}

/// What is to be there.
fn wanted(binding: &AppBinding, blueprint: &BackupBlueprint) -> Result<(Repository, BackupConfiguration), String> {
    let spec = &blueprint.spec;
    let home = binding.namespace().unwrap_or_default();
    let (here, name) = configuration_of(blueprint, binding);
    let there = spec.repo_namespace.clone().unwrap_or_else(|| here.clone());
    // Databases of several namespaces may have their repositories in one.
    let repository_name = names::blueprint(&binding.name_any(), (there != home).then_some(&home));
    let known = variables(binding, &home);
    if let Some((variable, value)) = known.iter().find(|(_, value)| value.split('/').any(|part| part == "..")) {
        return Err(format!("`{variable}` would stand for `{value}`, which leads elsewhere"));
    }
    let backend = serde_json::to_value(&spec.repository).map_err(|error| error.to_string())?;
    let repository: RepositorySpec =
        serde_json::from_value(replaced(backend, &known)?).map_err(|error| format!("its backend: {error}"))?;
    let mut repository = Repository::new(&repository_name, repository);
    repository.metadata.namespace = Some(there.clone());
    let target = TargetRef {
        api_version: "appcatalog.appscode.com/v1alpha1".to_owned(),
        kind: "AppBinding".to_owned(),
        name: binding.name_any(),
        namespace: (here != home).then(|| home.clone()),
    };
    let mut task = spec.task.clone();
    let params = binding
        .annotations()
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(PARAMS)?.to_owned(), value.clone())))
        .map(|(name, value)| TaskParam { name, value, value_from: None });
    let params: Vec<TaskParam> = params.collect();
    if !params.is_empty() {
        let own = task.get_or_insert_with(TaskRef::default);
        own.params.retain(|old| params.iter().all(|new| new.name != old.name));
        own.params.extend(params);
    }
    let configuration = BackupConfigurationSpec {
        schedule: binding.annotations().get(SCHEDULE).cloned().or_else(|| spec.schedule.clone()),
        time_zone: spec.time_zone.clone(),
        task,
        repository: RepositoryRef { name: repository_name, namespace: (there != here).then(|| there.clone()) },
        target: Some(BackupTarget {
            r#ref: target,
            alias: None,
            paths: Vec::new(),
            volume_mounts: Vec::new(),
            exclude: Vec::new(),
            args: Vec::new(),
            replicas: None,
            snapshot_class_name: None,
        }),
        retention_policy: spec.retention_policy.clone(),
        runtime_settings: spec.runtime_settings.clone(),
        temp_dir: spec.temp_dir.clone(),
        interim_volume_template: spec.interim_volume_template.clone(),
        paused: false,
        backup_history_limit: spec.backup_history_limit,
        hooks: spec.hooks.clone(),
        time_out: spec.time_out.clone(),
        retry_config: spec.retry_config.clone(),
        driver: None,
    };
    let mut configuration = BackupConfiguration::new(&name, configuration);
    configuration.metadata.namespace = Some(here.clone());
    if here == home {
        // The backups outlive the database, and so does the resource that says where they are.
        configuration.metadata.owner_references = binding.owner_ref(&()).map(|owner| vec![owner]);
    }
    for metadata in [&mut repository.metadata, &mut configuration.metadata] {
        let labels = [(MANAGED_BY, US), (names::BLUEPRINT, &*names::label(&blueprint.name_any()))];
        metadata.labels = Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
    Ok((repository, configuration))
}

/// What `${TARGET_NAME}` and the like stand for.
fn variables(binding: &AppBinding, home: &str) -> Variables {
    let mut all = Variables::from([
        ("TARGET_API_VERSION".to_owned(), "appcatalog.appscode.com/v1alpha1".to_owned()),
        ("TARGET_KIND".to_owned(), "AppBinding".to_owned()),
        ("TARGET_RESOURCE".to_owned(), "appbindings".to_owned()),
        ("TARGET_NAME".to_owned(), binding.name_any()),
        ("TARGET_NAMESPACE".to_owned(), home.to_owned()),
        ("TARGET_APP_VERSION".to_owned(), binding.spec.version.clone().unwrap_or_default()),
        ("TARGET_APP_TYPE".to_owned(), binding.spec.r#type.clone().unwrap_or_default()),
    ]);
    // `kubedb.com/redis` is a group and a resource.
    let kind = binding.spec.r#type.clone().unwrap_or_default();
    let (group, resource) = kind.split_once('/').unwrap_or(("", &kind));
    all.insert("TARGET_APP_GROUP".to_owned(), group.to_owned());
    all.insert("TARGET_APP_RESOURCE".to_owned(), resource.to_owned());
    all
}

/// A value with the variables of all its texts replaced.
fn replaced(value: Json, known: &Variables) -> Result<Json, String> {
    Ok(match value {
        Json::String(text) => Json::String(substitute(&text, known)?),
        Json::Array(all) => all.into_iter().map(|one| replaced(one, known)).collect::<Result<_, _>>()?,
        Json::Object(all) => {
            all.into_iter().map(|(name, one)| Ok((name, replaced(one, known)?))).collect::<Result<_, String>>()?
        }
        other => other,
    })
}

/// Makes a resource, or brings it to where it is to be. Gives why not, where it is another's.
async fn ensure<K>(context: &Context, wanted: K) -> Result<Result<(), String>, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let Some(known) = api.get_opt(&name).await? else {
        return match api.create(&PostParams::default(), &wanted).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 422) => Ok(Err(status.message.clone())),
            Err(other) => Err(other.into()),
            Ok(_) => Ok(Ok(())),
        };
    };
    let of: BTreeMap<String, String> = known.labels().clone();
    if of.get(names::BLUEPRINT) != wanted.labels().get(names::BLUEPRINT) {
        let whose = match of.get(names::BLUEPRINT) {
            Some(other) => format!("the blueprint `{other}` made: remove it, and this one makes its own"),
            None => "no blueprint made: it is left alone".to_owned(),
        };
        return Ok(Err(format!("there is a {} `{namespace}/{name}` that {whose}", K::kind(&()))));
    }
    let spec = |one: &K| serde_json::to_value(one).map(|value| value["spec"].clone()).unwrap_or_default();
    let (is, mut is_to_be) = (spec(&known), spec(&wanted));
    // Who pauses one by hand has paused it.
    if let (Some(paused), Some(to)) = (is.get("paused"), is_to_be.get_mut("paused")) {
        *to = paused.clone();
    }
    if is != is_to_be {
        // Over the version that it was made of: a pause that came meanwhile stays.
        let patch = json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": known.resource_version()},
            {"op": "replace", "path": "/spec", "value": is_to_be},
        ]);
        let patch: Patch<()> =
            Patch::Json(serde_json::from_value(patch).map_err(|error| Trouble::other(error.to_string()))?);
        api.patch(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_has_stands_in_its_place() {
        let binding = json!({
            "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
            "metadata": {"name": "cart", "namespace": "shop", "annotations": {SCHEDULE: "0 1 * * *", "params.stash.appscode.com/args": "-db 1"}},
            "spec": {"type": "kubedb.com/redis", "version": "7.0"},
        });
        let blueprint = json!({
            "apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupBlueprint", "metadata": {"name": "all"},
            "spec": {
                "backend": {"gcs": {"bucket": "b", "prefix": "/${TARGET_NAMESPACE}/${TARGET_APP_RESOURCE}/${TARGET_NAME}"}, "storageSecretName": "s"},
                "schedule": "0 5 * * *", "retentionPolicy": {"name": "p", "keepLast": 3},
            },
        });
        let (binding, blueprint) =
            (serde_json::from_value(binding).expect("one"), serde_json::from_value(blueprint).expect("one"));
        let (repository, configuration) = wanted(&binding, &blueprint).expect("sound");
        assert_eq!(repository.spec.backend.gcs.expect("gcs").prefix.as_deref(), Some("/shop/redis/cart"));
        assert_eq!(configuration.spec.schedule.as_deref(), Some("0 1 * * *"));
        assert_eq!(configuration.spec.task.clone().expect("a task").params[0].value, "-db 1");
        assert_eq!(
            (configuration.name_any(), configuration.spec.repository.name),
            ("app-cart".into(), "app-cart".into())
        );
    }

    #[test]
    fn databases_of_two_namespaces_have_their_repositories_in_one() {
        let blueprint = json!({"backend": {"s3": {"bucket": "b", "prefix": "/${TARGET_NAMESPACE}/${TARGET_NAME}"}, "storageSecretName": "keys"},
            "repoNamespace": "backups", "retentionPolicy": {"name": "r"}});
        let blueprint: BackupBlueprint =
            BackupBlueprint::new("all", serde_json::from_value(blueprint).expect("a spec"));
        let of = |home: &str| {
            let mut binding = AppBinding::new("cart", serde_json::from_value(json!({})).expect("a spec"));
            binding.metadata.namespace = Some(home.to_owned());
            wanted(&binding, &blueprint).expect("sound")
        };
        let ((one, first), (other, second)) = (of("shop"), of("test"));
        assert_ne!(one.name_any(), other.name_any());
        for (repository, configuration) in [(one, first), (other, second)] {
            assert_eq!(configuration.name_any(), "app-cart", "each in its own namespace");
            let named = &configuration.spec.repository;
            assert_eq!((named.name.clone(), named.namespace.as_deref()), (repository.name_any(), Some("backups")));
            assert_eq!(repository.namespace().as_deref(), Some("backups"));
        }
    }
}
