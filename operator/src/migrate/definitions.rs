//! The definitions of the kinds: those of Stash in the place of ours.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::ResourceExt;
use serde_json::{Map, Value as Json};

use super::Look;
use crate::crds;

/// How ours are put over others. Helm does not do it.
const APPLY: &str = "`aquifer kube crds | kubectl apply --server-side --force-conflicts -f -`";

pub(super) async fn look(look: &mut Look) -> Result<(), kube::Error> {
    let before = look.found.len();
    let there: Vec<CustomResourceDefinition> = look.everywhere().await?;
    if look.found.len() > before {
        // They may not be listed, and that was said.
        return Ok(());
    }
    for ours in crds::all() {
        let name = ours.name_any();
        let Some(stored) = there.iter().find(|one| one.name_any() == name) else {
            look.stops(format!("the cluster has no definition `{name}`"), format!("give it to the cluster: {APPLY}"));
            continue;
        };
        one(look, &name, &ours, stored);
    }
    Ok(())
}

fn one(look: &mut Look, name: &str, ours: &CustomResourceDefinition, stored: &CustomResourceDefinition) {
    let has = |version: &String| ours.spec.versions.iter().any(|own| own.name == *version);
    let stored_versions = stored.status.iter().flat_map(|status| status.stored_versions.iter().flatten());
    let foreign: Vec<String> = stored_versions.filter(|version| !has(version)).cloned().collect();
    if !foreign.is_empty() {
        look.stops(
            format!("resources of the definition `{name}` are stored in a version that is not known here: {}", foreign.join(", ")),
            "let Stash's own tools write them in the newer version, and take the old one out of the definition's `status.storedVersions`",
        );
    }
    let via = stored.spec.conversion.as_ref().is_some_and(|conversion| conversion.strategy == "Webhook");
    if via {
        look.stops(
            format!("versions of the definition `{name}` are converted by a webhook: with its program gone, nothing of the kind can be read"),
            format!("put ours over it: {APPLY}"),
        );
    }
    for own in &ours.spec.versions {
        match stored.spec.versions.iter().find(|other| other.name == own.name) {
            None => look.stops(
                format!("the definition `{name}` has no version `{}`", own.name),
                format!("put ours over it: {APPLY}"),
            ),
            Some(other) if !other.served => look.stops(
                format!("the definition `{name}` does not serve the version `{}`", own.name),
                format!("put ours over it: {APPLY}"),
            ),
            Some(other) if !via => {
                let schema = |version: &CustomResourceDefinitionVersion| serde_json::to_value(&version.schema);
                let (Ok(own), Ok(other)) = (schema(own), schema(other)) else { continue };
                if let Some(path) = difference(&own, &other, "") {
                    look.note(
                        format!("the definition `{name}` is another program's, or an older one of ours; it differs at `{path}`: what is wrong in a manifest may be found later, and columns may be missing"),
                        format!("put ours over it: {APPLY}"),
                    );
                }
            }
            Some(_) => {}
        }
    }
}

/// The first place where two schemas differ in what they take. What is said of a field is not looked at.
fn difference(own: &Json, other: &Json, path: &str) -> Option<String> {
    match (own, other) {
        (Json::Object(own), Json::Object(other)) => {
            let is_field = path.ends_with(".properties");
            let counts = |name: &&String| is_field || name.as_str() != "description";
            let only_there = other.keys().filter(|name| !own.contains_key(*name));
            let names = own.keys().chain(only_there).filter(counts);
            let value = |all: &Map<String, Json>, name: &str| all.get(name).cloned().unwrap_or_default();
            names
                .into_iter()
                .find_map(|name| difference(&value(own, name), &value(other, name), &format!("{path}.{name}")))
        }
        (Json::Array(own), Json::Array(other)) if own.len() == other.len() => {
            own.iter().zip(other).find_map(|(own, other)| difference(own, other, path))
        }
        (Json::Number(own), Json::Number(other)) if own.as_f64() == other.as_f64() => None,
        // The API server leaves out a list that is empty.
        (Json::Array(all), Json::Null) | (Json::Null, Json::Array(all)) if all.is_empty() => None,
        _ if own == other => None,
        _ => Some(path.to_owned()),
    }
}
