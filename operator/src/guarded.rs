//! What somebody's own manifest holds, and cannot be read, must not hide all others.
//!
//! Takes a resource in a list or a watch. Gives it, or why it cannot be read, and whose that is. Always holds: a resource is read by itself, from its own text,
//! so that also one that is too deep for the reader of JSON fails alone.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A resource, or why it cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<K>(pub(crate) Result<K, Unreadable>);

/// One that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    /// Whose that is.
    pub(crate) metadata: ObjectMeta,
    /// Why.
    pub(crate) error: String,
}

/// As much of a resource as each has: of who wrote which field nothing, which is as deep as the resource itself.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl From<Name> for ObjectMeta {
    fn from(Name { name, namespace, uid, resource_version }: Name) -> Self {
        Self { name, namespace, uid, resource_version, ..Self::default() }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is only passed over may be of any depth.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str(text.get()) {
            Ok(one) => Ok(Self(Ok(one))),
            Err(error) => {
                let Named { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Ok(Self(Err(Unreadable { metadata: metadata.into(), error: error.to_string() })))
            }
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|one| &one.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|one| &mut one.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use kube::api::{ObjectList, WatchEvent};

    use super::*;
    use crate::resources::app_binding::AppBinding;

    /// A database whose parameters are so many levels deep.
    fn one(name: &str, levels: usize) -> String {
        let deep = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"apiVersion":"v","kind":"AppBinding","metadata":{{"name":"{name}","managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{{"clientConfig":{{"url":"redis://r"}},"parameters":{deep}}}}}"#
        )
    }

    #[test]
    fn one_that_is_too_deep_fails_alone() {
        let odd = r#"{"metadata":{"name":"odd"},"spec":{"clientConfig":{"url":7}}}"#;
        let list = format!(
            r#"{{"apiVersion":"v","kind":"List","metadata":{{}},"items":[{},{},{odd}]}}"#,
            one("deep", 5000),
            one("sound", 3)
        );
        let list: ObjectList<Guarded<AppBinding>> = serde_json::from_str(&list).expect("a list");
        let read: Vec<_> = list.items.iter().map(|one| (one.name_any(), one.0.is_ok())).collect();
        assert_eq!(read, [("deep".to_owned(), false), ("sound".to_owned(), true), ("odd".to_owned(), false)]);
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, one("deep", 5000));
        let event: WatchEvent<Guarded<AppBinding>> = serde_json::from_str(&event).expect("an event");
        let WatchEvent::Added(one) = event else { panic!("{event:?}") };
        assert!(one.0.expect_err("it is too deep").error.contains("recursion limit"));
    }
}
