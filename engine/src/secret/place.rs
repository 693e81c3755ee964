//! A place in params, by the JSON Schemas that describe it: the one way to what is secret there and below it.
//!
//! Takes schemas with their definitions inlined, as schemars writes them. Always holds: a place that is secret in one of
//! its alternatives is secret.

use serde_json::Value as Json;

use super::{SCHEMA_KEY, url_password};

/// One place: the schemas that a value there may have, alternatives of alternatives included.
#[derive(Debug, Clone)]
pub struct Place<'s>(Vec<&'s Json>);

impl<'s> Place<'s> {
    /// The place that a schema describes.
    pub fn of(schema: &'s Json) -> Self {
        Self::with(vec![schema])
    }

    fn with(mut all: Vec<&'s Json>) -> Self {
        let mut at = 0;
        while let Some(schema) = all.get(at) {
            let more = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
            let more: Vec<&Json> = more.collect();
            all.extend(more);
            at += 1;
        }
        Self(all)
    }

    /// The place of a field; without schemas where none is declared.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let of = |schema: &&'s Json| {
            let declared = schema.get("properties").and_then(|known| known.get(name));
            declared.or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()))
        };
        Self::with(self.0.iter().filter_map(of).collect())
    }

    /// The place of an item of a list.
    #[must_use]
    pub fn item(&self) -> Self {
        Self::with(self.0.iter().filter_map(|schema| schema.get("items")).collect())
    }

    /// The schemas.
    pub fn schemas(&self) -> &[&'s Json] {
        &self.0
    }

    /// True where nothing of it may be shown.
    pub fn is_secret(&self) -> bool {
        self.marked(|mark| *mark == Json::Bool(true))
    }

    /// True where it holds a URL whose password may not be shown.
    pub fn is_url(&self) -> bool {
        self.marked(Json::is_string)
    }

    fn marked(&self, mark: impl Fn(&Json) -> bool) -> bool {
        self.0.iter().any(|schema| schema.get(SCHEMA_KEY).is_some_and(&mark))
    }

    /// The names of declared fields that are secret as a whole.
    pub fn secret_fields(&self) -> Vec<&'s str> {
        let declared = self.0.iter().filter_map(|schema| schema.get("properties")?.as_object()).flatten();
        declared.filter(|(_, schema)| Place::of(schema).is_secret()).map(|(name, _)| name.as_str()).collect()
    }
}

/// Gives every secret text inside a value to `found`.
pub fn collect(place: &Place<'_>, value: &Json, found: &mut dyn FnMut(&str)) {
    match value {
        Json::String(secret) if place.is_secret() => found(secret),
        Json::String(url) if place.is_url() => {
            if let Some((start, end)) = url_password(url) {
                found(&url[start..end]);
            }
        }
        Json::Object(fields) => fields.iter().for_each(|(name, value)| collect(&place.field(name), value, found)),
        Json::Array(items) => {
            let place = place.item();
            items.iter().for_each(|item| collect(&place, item, found));
        }
        _ => {}
    }
}
