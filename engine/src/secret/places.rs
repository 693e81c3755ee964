//! Where the secrets of a value are, by the marks in the schema of what takes it.
//!
//! Takes a schema with its definitions inlined, and a value. Gives the secrets at marked places, or the first unmarked place
//! that holds one. Always holds: a place that is secret in one of the alternatives of a schema counts as secret.

use super::{IN_URL, MAYBE, SCHEMA_KEY, SHORTEST_MAYBE, url_password};

/// Gives every secret inside a value to `found`, by the places that its schema marks with [`SCHEMA_KEY`]; of a [`MAYBE`]
/// place, what is long enough. The schema has its definitions inlined.
pub fn collect(schema: &serde_json::Value, value: &serde_json::Value, found: &mut impl FnMut(&str)) {
    use serde_json::Value;
    match (schema.get(SCHEMA_KEY), value) {
        (Some(Value::Bool(true)), Value::String(secret)) => found(secret),
        (Some(Value::String(mark)), Value::String(value)) if mark == MAYBE && value.len() >= SHORTEST_MAYBE => {
            found(value);
        }
        (Some(Value::String(mark)), Value::String(url)) if mark == IN_URL => {
            if let Some((start, end)) = url_password(url) {
                found(&url[start..end]);
            }
        }
        _ => {}
    }
    for choices in ["anyOf", "oneOf", "allOf"] {
        for choice in schema.get(choices).and_then(Value::as_array).into_iter().flatten() {
            collect(choice, value, found);
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let declared = schema.get("properties").and_then(|known| known.get(name));
                if let Some(schema) = declared.or_else(|| schema.get("additionalProperties")) {
                    collect(schema, field, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter().for_each(|item| collect(schema, item, found));
            }
        }
        _ => {}
    }
}

/// The first place of a value that is shown and holds one of these texts, by the schema of what takes it.
pub fn shown_place(schema: &serde_json::Value, value: &serde_json::Value, texts: &[String]) -> Option<String> {
    fn walk(schemas: &[&serde_json::Value], value: &serde_json::Value, texts: &[String]) -> Option<String> {
        use serde_json::Value;
        let mut all = schemas.to_vec();
        let mut at = 0;
        while let Some(schema) = all.get(at) {
            let choices = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
            let choices: Vec<&Value> = choices.collect();
            all.extend(choices);
            at += 1;
        }
        if all.iter().any(|schema| schema.get(SCHEMA_KEY).is_some_and(|mark| *mark != Value::Bool(false))) {
            return None;
        }
        match value {
            Value::String(text) => texts.iter().any(|secret| text.contains(secret.as_str())).then(String::new),
            Value::Array(items) => {
                let schemas: Vec<&Value> = all.iter().filter_map(|schema| schema.get("items")).collect();
                let mut places = items.iter().enumerate();
                places.find_map(|(at, item)| Some(format!("[{at}]{}", walk(&schemas, item, texts)?)))
            }
            Value::Object(fields) => fields.iter().find_map(|(name, field)| {
                let declared: Vec<&Value> =
                    all.iter().filter_map(|schema| schema.get("properties")?.get(name)).collect();
                let schemas = if declared.is_empty() {
                    all.iter().filter_map(|schema| schema.get("additionalProperties")).collect()
                } else {
                    declared
                };
                Some(format!(".{name}{}", walk(&schemas, field, texts)?))
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    let place = walk(&[schema], value, texts)?;
    Some(place.trim_start_matches('.').to_owned())
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
        collect(schema.as_value(), &value, &mut |secret| found.push(secret.to_owned()));
        found.sort();
        assert_eq!(found, ["a", "b", "c", "d", "longer"]);
        let place = |text: &str| shown_place(schema.as_value(), &value, &[text.to_owned()]);
        assert_eq!(place("e").as_deref(), Some("shown[0]"));
        for hidden in ["b", "c", "longer", "no such text"] {
            assert_eq!(place(hidden), None, "{hidden}");
        }
    }
}
