//! Where objects lie: a folder or a bucket, named by one param, opened as one kind of store.
//!
//! Takes a text (`/backup`, `s3://bucket/prefix`) or a map with one typed field (`{s3: {…}}`); no free map is handed to the
//! store's library, which would take a misspelt option without a word. Gives a `Store`. Always holds: credentials are
//! secret params or come from where the provider's own tools look for them; an unknown form is told which ones there are;
//! a folder that is only read is never created.

mod s3;
mod store;
mod text;
mod transport;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use aquifer_engine::function::ParamError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use s3::S3;
pub(crate) use store::{PARTS, Purpose, Store, failure};

/// A place that holds objects under names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder on this machine, or one that is mounted.
    Folder(PathBuf),
    /// A bucket of S3 or of a server that speaks its protocol.
    S3(S3),
}

const FORMS: &str = "write a folder's path, `s3://bucket/prefix`, `s3:https://host/bucket/prefix`, or a map such as `{s3: {bucket: …}}`";

impl Location {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The field below `path`, which is the param's own name, and what is wrong with it.
    pub(crate) fn check(&self, path: &str) -> Result<(), ParamError> {
        let below = |error: ParamError| ParamError {
            path: if error.path.is_empty() { path.to_owned() } else { format!("{path}.{}", error.path) },
            ..error
        };
        match self {
            Self::Folder(folder) if folder.as_os_str().is_empty() => {
                Err(ParamError::new(path, "the folder's path is empty").with_help(FORMS))
            }
            Self::Folder(_) => Ok(()),
            Self::S3(s3) => s3.check().map_err(below),
        }
    }
}

/// As it is shown: without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;
        impl<'de> Visitor<'de> for TextOrMap {
            type Value = Location;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a place for objects: a folder's path, `s3://bucket/prefix`, or a map such as `{s3: {bucket: …}}`",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Location, E> {
                text::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Location, A::Error> {
                const KEYS: &[&str] = &["folder", "s3"];
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom("the location is empty; write one of `folder` and `s3`"));
                };
                let location = match key.as_str() {
                    "folder" => Location::Folder(map.next_value()?),
                    "s3" => Location::S3(map.next_value()?),
                    _ => return Err(A::Error::unknown_field(&key, KEYS)),
                };
                match map.next_key::<String>()? {
                    Some(second) => {
                        Err(A::Error::custom(format!("a location is one of `{key}` and `{second}`, not both")))
                    }
                    None => Ok(location),
                }
            }
        }
        deserializer.deserialize_any(TextOrMap)
    }
}

impl JsonSchema for Location {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Location".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let s3 = generator.subschema_for::<S3>();
        json_schema!({
            "anyOf": [
                {"type": "string", "examples": ["/backup", "s3://bucket/prefix", "s3:https://host/bucket/prefix"]},
                {
                    "type": "object",
                    "description": "A folder on this machine, or one that is mounted.",
                    "properties": {"folder": {"type": "string", "description": "The folder's path."}},
                    "required": ["folder"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "description": "A bucket of S3, or of a server that speaks its protocol.",
                    "properties": {"s3": s3},
                    "required": ["s3"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn shown(value: Value) -> String {
        from_value::<Location>(value).expect("sound").to_string()
    }

    #[test]
    fn every_form_names_its_place() {
        for (value, place) in [
            (json!("/backup"), "/backup"),
            (json!("backup/redis"), "backup/redis"),
            (json!("file:///backup/a"), "/backup/a"),
            (json!("local:/backup"), "/backup"),
            (json!({"folder": "/backup"}), "/backup"),
            (json!("s3://bucket"), "s3://bucket"),
            (json!("s3://bucket/a/b/"), "s3://bucket/a/b"),
            (json!("s3:https://host:9000/bucket/a"), "s3:https://host:9000/bucket/a"),
            (json!("s3:host/bucket"), "s3:https://host/bucket"),
            (json!({"s3": {"bucket": "b", "prefix": "/p/"}}), "s3://b/p"),
            (json!({"s3": {"bucket": "b", "endpoint": "http://127.0.0.1:9000"}}), "s3:http://127.0.0.1:9000/b"),
        ] {
            assert_eq!(shown(value.clone()), place, "{value}");
        }
    }

    #[test]
    fn a_form_that_is_not_known_is_told_what_there_is() {
        for (value, part) in [
            (json!("gs://bucket/a"), "`gs`"),
            (json!("rest:http://host/"), "`rest`"),
            (json!("s3://"), "bucket"),
            (json!("s3:https://host"), "bucket"),
            (json!("file://host/a"), "host"),
            (json!({}), "empty"),
            (json!({"s4": {}}), "`s4`"),
            (json!({"folder": "/a", "s3": {"bucket": "b"}}), "not both"),
            (json!({"s3": {"bucket": "b", "acces": 1}}), "`acces`"),
            (json!(7), "a place for objects"),
        ] {
            let error = from_value::<Location>(value.clone()).expect_err("refused").to_string();
            assert!(error.contains(part), "{value}: {error}");
        }
    }

    #[test]
    fn half_a_credential_and_a_wrong_endpoint_are_refused() {
        for (value, path) in [
            (json!({"bucket": ""}), "to.s3.bucket"),
            (json!({"bucket": "a/b"}), "to.s3.bucket"),
            (json!({"bucket": "b", "accessKeyId": "a"}), "to.s3.secretAccessKey"),
            (json!({"bucket": "b", "secretAccessKey": "a"}), "to.s3.accessKeyId"),
            (json!({"bucket": "b", "sessionToken": "a"}), "to.s3.accessKeyId"),
            (json!({"bucket": "b", "endpoint": "ftp://h"}), "to.s3.endpoint"),
            (json!({"bucket": "b", "endpoint": "http://u:p@h"}), "to.s3.endpoint"),
            (json!({"bucket": "b", "endpoint": "http://h/path"}), "to.s3.endpoint"),
        ] {
            let location = from_value::<Location>(json!({"s3": value})).expect("sound in form");
            assert_eq!(location.check("to").expect_err("refused").path, path);
        }
    }

    #[test]
    fn a_secret_is_in_no_debug_form() {
        let location: Location =
            from_value(json!({"s3": {"bucket": "b", "accessKeyId": "a", "secretAccessKey": "hunter2"}}))
                .expect("sound");
        assert!(!format!("{location:?} {location}").contains("hunter2"));
    }
}
