//! Where objects lie: a folder or a store of one of the kinds below, named by one param, opened as one kind of `Store`.
//!
//! Takes a text (`/backup`, `s3://bucket/prefix`) or a map with one typed field (`{s3: {…}}`); no free map is handed to the
//! store's library, which would take a misspelt option without a word. Always holds: credentials are secret params, or come
//! from files or from where the provider's own tools look for them, and are hidden; an unknown form is told which ones there
//! are; a folder that is only read is never created. A kind is a file that implements `Kind`, and a line in the table below
//! (docs/decisions/0018-kinds-of-stores.md).

mod azure;
mod b2;
mod credentials;
mod flow;
mod folder;
mod gcs;
mod http;
mod kind;
mod part;
mod rest;
mod s3;
mod sftp;
mod spoken;
mod store;
mod swift;
mod text;
mod transport;
mod webdav;

use std::borrow::Cow;
use std::fmt;

use aquifer_engine::function::ParamError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use azure::Azure;
pub use b2::B2;
pub use folder::Folder;
pub use gcs::Gcs;
pub use http::Http;
use kind::{Kind, Written};
pub(crate) use part::{PARTS, Part};
pub use rest::Rest;
pub use s3::S3;
pub use sftp::Sftp;
pub(crate) use store::{Purpose, Store};
pub use swift::Swift;
pub use webdav::Webdav;

/// The table of kinds: the variant, its type, and what it is for people.
macro_rules! kinds {
    ($($about:literal $kind:ident,)+) => {
        /// A place that holds objects under names.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Location {
            $(#[doc = $about] $kind($kind),)+
        }

        /// The fields of the map form, of which there is one.
        const KEYS: &[&str] = &[$($kind::KEY),+];

        /// The text forms that there are.
        const FORMS: &[&[&str]] = &[$($kind::FORMS),+];

        impl Location {
            fn kind(&self) -> &dyn Kind {
                match self {
                    $(Self::$kind(kind) => kind,)+
                }
            }

            /// The short form, where it is of a kind that there is.
            fn of_text(text: &str) -> Option<Result<Self, String>> {
                $(if let Some(read) = $kind::of_text(text) {
                    return Some(read.map(Self::$kind));
                })+
                None
            }

            fn of_field<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error> {
                match key {
                    $($kind::KEY => Ok(Self::$kind(map.next_value()?)),)+
                    _ => Err(A::Error::unknown_field(key, KEYS)),
                }
            }

            fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
                vec![$({
                    let content = generator.subschema_for::<$kind>();
                    json_schema!({
                        "type": "object",
                        "description": $about,
                        "properties": {($kind::KEY): content},
                        "required": [$kind::KEY],
                        "additionalProperties": false,
                    })
                }),+]
            }
        }
    };
}

kinds! {
    "A folder on this machine, or one that is mounted." Folder,
    "A bucket of S3, or of a server that speaks its protocol." S3,
    "A bucket of Google Cloud Storage." Gcs,
    "A container of Azure Blob Storage." Azure,
    "A bucket of Backblaze B2." B2,
    "A container of OpenStack Swift." Swift,
    "A restic repository on a server of restic's REST protocol." Rest,
    "A folder on another machine, over SFTP." Sftp,
    "A folder on a server of WebDAV." Webdav,
}

/// What there is to write.
fn forms() -> String {
    let all: Vec<String> = FORMS.iter().copied().flatten().map(|form| format!("`{form}`")).collect();
    format!("write {}, or a map such as `{{s3: {{bucket: …}}}}` with one of `{}`", all.join(", "), KEYS.join("`, `"))
}

impl Location {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The field below `path`, which is the param's own name, and what is wrong with it.
    pub(crate) fn check(&self, path: &str) -> Result<(), ParamError> {
        let kind = self.kind();
        let checked = kind.check().and_then(|()| kind.http().map_or(Ok(()), Http::check));
        checked.map_err(|error| ParamError {
            path: [path, kind.key(), &error.path]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("."),
            ..error
        })
    }
}

impl Location {
    /// Checks that it takes objects of any kind, besides what [`Self::check`] looks at.
    ///
    /// # Errors
    /// It holds restic repositories only.
    pub(crate) fn check_objects(&self, path: &str) -> Result<(), ParamError> {
        self.check(path)?;
        if self.kind().only_repositories() {
            return Err(ParamError::new(path, format!("`{self}` holds restic repositories and no other objects"))
                .with_help("store the stream with `restic-push` there, or name another kind of store here"));
        }
        Ok(())
    }
}

/// As it is shown: without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;
        impl<'de> Visitor<'de> for TextOrMap {
            type Value = Location;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a place for objects: {}", forms())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Location, E> {
                text::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Location, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom(format!(
                        "the location is empty; write one of `{}`",
                        KEYS.join("`, `")
                    )));
                };
                let location = Location::of_field(&key, &mut map)?;
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
        let examples: Vec<&str> = FORMS.iter().copied().flatten().copied().collect();
        let text = json_schema!({"type": "string", "examples": examples});
        let all: Vec<Schema> = std::iter::once(text).chain(Self::schemas(generator)).collect();
        json_schema!({"anyOf": all})
    }
}

#[cfg(test)]
mod tests;
