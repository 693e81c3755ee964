//! A place in params, by the JSON Schemas that describe it: the one way to what is secret there and below it.
//!
//! Takes schemas with their definitions inlined, as schemars writes them. Always holds: a place that is secret in one of
//! its alternatives is secret.

use serde_json::Value as Json;

use super::{IN_URL, MAYBE, SCHEMA_KEY, SHORTEST_MAYBE, url_password};

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
        self.marked(|mark| *mark == Json::Bool(true) || mark == MAYBE)
    }

    /// True where it holds a URL whose password may not be shown.
    pub fn is_url(&self) -> bool {
        self.marked(|mark| mark == IN_URL)
    }

    /// True where it is not known whether what stands there is a secret: it is never shown there, and looked for elsewhere
    /// only where it is long enough.
    fn is_maybe(&self) -> bool {
        self.marked(|mark| mark == MAYBE) && !self.marked(|mark| *mark == Json::Bool(true))
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

/// Gives every secret text inside a value to `found`; of a [`MAYBE`] place, what is long enough.
pub fn collect(place: &Place<'_>, value: &Json, found: &mut dyn FnMut(&str)) {
    match value {
        Json::String(value) if place.is_maybe() && value.len() < SHORTEST_MAYBE => {}
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

/// The first place of a value that is shown and holds one of these texts, by the schema of what takes it.
pub fn shown_place(place: &Place<'_>, value: &Json, texts: &[String]) -> Option<String> {
    fn walk(place: &Place<'_>, value: &Json, texts: &[String]) -> Option<String> {
        if place.is_secret() || place.is_url() {
            return None;
        }
        match value {
            Json::String(text) => texts.iter().any(|secret| text.contains(secret.as_str())).then(String::new),
            Json::Array(items) => {
                let place = place.item();
                let mut items = items.iter().enumerate();
                items.find_map(|(at, item)| Some(format!("[{at}]{}", walk(&place, item, texts)?)))
            }
            Json::Object(fields) => fields
                .iter()
                .find_map(|(name, field)| Some(format!(".{name}{}", walk(&place.field(name), field, texts)?))),
            Json::Null | Json::Bool(_) | Json::Number(_) => None,
        }
    }
    Some(walk(place, value, texts)?.trim_start_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, SchemaGenerator};

    use super::*;
    use crate::secret::{MaybeSecret, Secret, SecretUrl};

    #[test]
    fn secrets_are_found_by_their_places_in_the_schema() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Params {
            url: Option<SecretUrl>,
            env: std::collections::BTreeMap<String, Secret>,
            keys: Vec<Secret>,
            perhaps: std::collections::BTreeMap<String, MaybeSecret>,
            shown: Option<Vec<String>>,
        }
        let mut settings = schemars::generate::SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<Params>();
        let value = serde_json::json!({"url": "x://u:a@h", "env": {"K": "b"}, "keys": ["c", "d"], "perhaps": {"F": "true", "G": "longer"}, "shown": ["e"]});
        let mut found = Vec::new();
        collect(&Place::of(schema.as_value()), &value, &mut |secret| found.push(secret.to_owned()));
        found.sort();
        assert_eq!(found, ["a", "b", "c", "d", "longer"]);
        let place = |text: &str| shown_place(&Place::of(schema.as_value()), &value, &[text.to_owned()]);
        assert_eq!(place("e").as_deref(), Some("shown[0]"));
        for hidden in ["b", "c", "longer", "no such text"] {
            assert_eq!(place(hidden), None, "{hidden}");
        }
    }
}
