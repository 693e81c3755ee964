//! The definitions of the kinds, for a cluster's API server.
//!
//! Takes nothing. Gives a `CustomResourceDefinition` for each kind. Always holds: what Stash's manifests have is in the schemas; nothing is filled in that says nothing, so that what is stored is what was written and the defaults that have a meaning.

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::Value as Json;

use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::BackupSession;
use crate::resources::blueprint::BackupBlueprint;
use crate::resources::own::{OwnFunction, OwnTask};
use crate::resources::repository::Repository;
use crate::resources::restore::RestoreSession;
use crate::resources::task::{Function, Task};

/// All definitions.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        AppBinding::crd(),
        BackupBlueprint::crd(),
        BackupConfiguration::crd(),
        BackupSession::crd(),
        Function::crd(),
        Repository::crd(),
        RestoreSession::crd(),
        Task::crd(),
        OwnFunction::crd(),
        OwnTask::crd(),
    ];
    for definition in &mut all {
        let is_restore = definition.spec.names.kind == "RestoreSession";
        for version in &mut definition.spec.versions {
            let root = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
            if let Some(root) = root.filter(|_| is_restore) {
                root.x_kubernetes_validations.get_or_insert_default().push(stays());
            }
            if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
                as_stash_has_it(schema);
            }
        }
    }
    all
}

/// A restore that has begun is of what it was begun for.
fn stays() -> ValidationRule {
    ValidationRule {
        rule: "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase in ['Pending', 'Invalid'] \
               || (self.spec.repository == oldSelf.spec.repository && has(self.spec.target) == has(oldSelf.spec.target) \
               && (!has(self.spec.target) || self.spec.target.ref == oldSelf.spec.target.ref))"
            .to_owned(),
        message: Some(
            "a RestoreSession that has begun stays with its repository and its target: make another one".to_owned(),
        ),
        ..ValidationRule::default()
    }
}

/// All definitions, as YAML documents.
///
/// # Errors
/// One cannot be written as YAML.
pub fn documents() -> Result<String, String> {
    let mut text = String::new();
    for definition in all() {
        let document = serde_saphyr::to_string(&definition);
        let document =
            document.map_err(|error| format!("the definition of {}: {error}", definition.spec.names.kind))?;
        text.push_str("---\n");
        text.push_str(&document);
    }
    Ok(text)
}

/// Takes no more than can be read: a port that is one, and a volume's claim of the version that is known.
fn only_readable(schema: &mut JSONSchemaProps) {
    let port = schema.properties.as_mut().and_then(|all| all.get_mut("port"));
    if let Some(port) = port.filter(|port| port.x_kubernetes_int_or_string == Some(true)) {
        (port.minimum, port.maximum) = (Some(1.0), Some(65535.0));
    }
    let volume = schema.properties.as_mut().and_then(|all| all.get_mut("interimVolumeTemplate"));
    if let Some(fields) = volume.and_then(|volume| volume.properties.as_mut()) {
        for (name, is) in [("apiVersion", PersistentVolumeClaim::API_VERSION), ("kind", PersistentVolumeClaim::KIND)] {
            if let Some(field) = fields.get_mut(name) {
                field.enum_ = Some(vec![JSON(is.into())]);
            }
        }
    }
}

/// A template needs no metadata, nor a time in it, and a default that says nothing is none.
fn as_stash_has_it(schema: &mut JSONSchemaProps) {
    only_readable(schema);
    if let Some(required) = &mut schema.required {
        required.retain(|name| name != "metadata");
    }
    if let Some(written_by_go) = schema.properties.as_mut().and_then(|all| all.get_mut("creationTimestamp")) {
        written_by_go.nullable = Some(true);
    }
    schema.default = schema.default.take().filter(|default| !says_nothing(&default.0));
    let maps = [&mut schema.properties, &mut schema.pattern_properties, &mut schema.definitions];
    maps.into_iter().flatten().flat_map(|map| map.values_mut()).for_each(as_stash_has_it);
    let lists = [&mut schema.any_of, &mut schema.one_of, &mut schema.all_of];
    lists.into_iter().flatten().flatten().for_each(as_stash_has_it);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => as_stash_has_it(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(as_stash_has_it),
        None => {}
    }
    for more in [&mut schema.additional_properties, &mut schema.additional_items] {
        if let Some(JSONSchemaPropsOrBool::Schema(more)) = more {
            as_stash_has_it(more);
        }
    }
    if let Some(not) = &mut schema.not {
        as_stash_has_it(not);
    }
}

/// `false`, an empty text and the like mean what nothing means.
fn says_nothing(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(text) => text.is_empty(),
        Json::Array(all) => all.is_empty(),
        Json::Object(all) => all.values().all(says_nothing),
        Json::Bool(true) | Json::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_the_definitions() {
        let read: Vec<CustomResourceDefinition> =
            serde_saphyr::from_multiple(&documents().expect("YAML")).expect("YAML again");
        let names = |all: &[CustomResourceDefinition]| -> Vec<String> {
            all.iter().filter_map(|one| one.metadata.name.clone()).collect()
        };
        assert_eq!(names(&read), names(&all()));
        for (read, one) in read.into_iter().zip(all()) {
            assert!(read == one, "{:?}", one.metadata.name);
        }
    }

    #[test]
    fn no_default_is_empty() {
        for definition in all() {
            let text = serde_json::to_string(&definition).expect("JSON");
            for wrong in ["\"default\":null", "\"default\":{}", "\"default\":[]", "uint"] {
                let at = text.find(wrong).map(|at| &text[at.saturating_sub(300)..at + wrong.len()]);
                assert_eq!(at, None, "{:?}: {wrong}", definition.metadata.name);
            }
        }
    }

    #[test]
    fn a_hook_s_rule_is_also_that_of_the_hook_afterwards() {
        let definition = serde_json::to_value(BackupConfiguration::crd()).expect("JSON");
        let hooks = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["hooks"]["properties"];
        let rules = |hook: &str| hooks[hook]["x-kubernetes-validations"].clone();
        assert!(rules("preBackup").is_array(), "{hooks}");
        assert_eq!(rules("preBackup"), rules("postBackup"));
    }
}
