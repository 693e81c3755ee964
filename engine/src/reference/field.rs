//! The fields of a params or outputs schema as a flat list, nested ones under dotted names.
//!
//! Takes a JSON Schema without `$ref`s, as the registry makes it. Gives each field once, in the order of the declaration;
//! a tagged choice (`location: {s3: …}` or `{folder: …}`) is listed as the fields of all its alternatives.

use serde_json::Value;

use crate::secret::{MAYBE, SCHEMA_KEY};

/// One param or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, with those around it: `location.s3.bucket`.
    pub path: String,
    /// Its type in words: `integer`, `list of string`, `` `zstd` or `gzip` ``.
    pub kind: String,
    /// True where it must be given (inside the map that it belongs to).
    pub required: bool,
    /// What holds where it is not given; `None` where that is nothing.
    pub default: Option<Value>,
    /// True where its value is never shown.
    pub secret: bool,
    /// What it means.
    pub description: String,
}

impl Field {
    /// `required`, the default, or nothing.
    pub fn need(&self) -> String {
        match &self.default {
            _ if self.required => "required".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// The type, and whether it is hidden.
    pub fn type_words(&self) -> String {
        if self.secret { format!("{}, secret", self.kind) } else { self.kind.clone() }
    }
}

/// All fields of an object schema.
pub fn fields(schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk(schema, "", None, &mut found);
    found
}

/// `choice` is the schema of the alternative that is being walked, whose words describe the key that selects it.
fn walk(schema: &Value, prefix: &str, choice: Option<&Value>, found: &mut Vec<Field>) {
    let required = |name: &str| {
        let names = schema["required"].as_array();
        choice.is_none() && names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        // Several alternatives of a tagged choice may share a field: it is described once.
        if found.iter().any(|field| field.path == path) {
            continue;
        }
        found.push(Field {
            path: path.clone(),
            kind: kind(property),
            required: required(name),
            default: property.get("default").filter(|default| !default.is_null()).cloned(),
            secret: property.get(SCHEMA_KEY).is_some_and(|mark| *mark == Value::Bool(true) || mark == MAYBE),
            description: match choice.map(description) {
                Some(words) if !words.is_empty() => words,
                _ => description(property),
            },
        });
        walk(element(property), &format!("{path}{}", suffix(property)), None, found);
    }
    for branch in alternatives(schema) {
        walk(branch, prefix, Some(branch).filter(|branch| is_tagged(branch)), found);
    }
}

/// What stands between the name of a list or map and the fields of its elements.
fn suffix(property: &Value) -> &'static str {
    if property.get("items").is_some_and(Value::is_object) { "[]." } else { "." }
}

/// The schema whose properties are the nested fields: of a list, those of its items.
fn element(property: &Value) -> &Value {
    property.get("items").filter(|items| items.is_object()).unwrap_or(property)
}

/// True for an alternative that is selected by its one key.
fn is_tagged(branch: &Value) -> bool {
    branch["properties"].as_object().is_some_and(|properties| properties.len() == 1)
}

/// The branches of a choice, without the `null` that only says "may be left out".
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf", "allOf"]
        .into_iter()
        .filter_map(|list| schema.get(list)?.as_array())
        .flatten()
        .filter(|branch| branch["type"] != "null")
}

/// The doc comment; of a choice between constants also those of the constants, and of one that has a text as its short
/// form how that is written.
fn description(schema: &Value) -> String {
    let text = |schema: &Value| schema["description"].as_str().map(one_line);
    let mut out = text(schema).unwrap_or_default();
    let tagged = alternatives(schema).any(is_tagged);
    let short = alternatives(schema).filter(|branch| tagged && branch["type"] == "string");
    let examples = short.filter_map(|branch| branch["examples"].as_array()).flatten().filter_map(Value::as_str);
    let examples: Vec<String> = examples.map(|example| format!("`{example}`")).collect();
    if !examples.is_empty() {
        let space = if out.is_empty() { "" } else { " " };
        out.push_str(&format!("{space}As a string: {}.", examples.join(", ")));
    }
    for (constant, meaning) in constants(schema).into_iter().filter_map(|(value, schema)| Some((value, text(schema)?)))
    {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&format!("`{constant}`: {meaning}"));
    }
    out
}

/// A doc comment's lines joined: they are broken where the source is, not where the text is.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The constants of a choice with the schemas that describe them.
fn constants(schema: &Value) -> Vec<(&str, &Value)> {
    let direct = schema.get("const").and_then(Value::as_str).map(|value| (value, schema));
    let nested = alternatives(schema).flat_map(|branch| {
        let listed = branch.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let named = branch.get("const").and_then(Value::as_str).map(|value| (value, branch));
        listed.map(|value| (value, &Value::Null)).chain(named)
    });
    direct.into_iter().chain(nested).collect()
}

/// The type in words.
fn kind(schema: &Value) -> String {
    let quoted = |values: Vec<&str>| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return quoted(values.iter().filter_map(Value::as_str).collect());
    }
    let constants = constants(schema);
    if !constants.is_empty() {
        return quoted(constants.into_iter().map(|(value, _)| value).collect());
    }
    let branches: Vec<&Value> = alternatives(schema).collect();
    if !branches.is_empty() {
        // A tagged choice: one key, which says which alternative it is. A short form, as a text, may stand beside it.
        let (tagged, others): (Vec<&Value>, Vec<&Value>) = branches.into_iter().partition(|branch| is_tagged(branch));
        let tags: Vec<&str> = tagged
            .iter()
            .filter_map(|branch| branch["properties"].as_object()?.keys().next().map(String::as_str))
            .collect();
        let mut kinds: Vec<String> = others.into_iter().map(kind).collect();
        match tags.as_slice() {
            [] => {}
            [_] => kinds.extend(tagged.into_iter().map(kind)),
            _ => kinds.push(format!("map with one of {}", quoted(tags))),
        }
        kinds.dedup();
        return kinds.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(name)) => simple(name, schema),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(|name| simple(name, schema)).collect::<Vec<_>>().join(" or ")
        }
        _ => "any value".to_owned(),
    }
}

fn simple(name: &str, schema: &Value) -> String {
    match name {
        "array" => match schema.get("items").filter(|items| items.is_object()) {
            Some(items) => format!("list of {}", kind(items)),
            None => "list".to_owned(),
        },
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => format!("map of {}", kind(values)),
            None => "map".to_owned(),
        },
        "string" if schema["format"] == "uri" => "URL".to_owned(),
        other => other.to_owned(),
    }
}
