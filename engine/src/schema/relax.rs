//! A function's params schema, widened to what may stand in a document: templates.
//!
//! Takes the schema of the values that the function gets. Gives one that also accepts text holding `{{ … }}` wherever
//! something narrower than a string is asked for, because that is decided when the plan is made.

use serde_json::{Map, Value, json};

/// Keywords whose value is one schema.
const ONE: [&str; 3] = ["items", "additionalProperties", "not"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 3] = ["anyOf", "allOf", "prefixItems"];

/// The widened schema. The outermost level is the params map itself and is never a template.
pub(super) fn relaxed(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, schema)| (name.clone(), or_template(schema)));
                out.insert(key.clone(), Value::Object(properties.collect()));
            }
            // With templates accepted inside them, several alternatives may hold at once.
            ("oneOf", Value::Array(branches)) => {
                out.insert("anyOf".into(), branches.iter().map(relaxed).collect());
            }
            (name, Value::Array(branches)) if LIST.contains(&name) => {
                let relaxed = branches.iter().map(if name == "prefixItems" { or_template } else { relaxed });
                out.insert(key.clone(), relaxed.collect());
            }
            (name, schema) if ONE.contains(&name) && schema.is_object() => {
                out.insert(key.clone(), or_template(schema));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

/// The schema, or text with a template in it; the words that editors show stay on the outside.
fn or_template(schema: &Value) -> Value {
    if takes_any_string(schema) {
        return schema.clone();
    }
    let mut inner = relaxed(schema);
    let mut out = json!({});
    for word in ["title", "description", "default"] {
        if let Some(value) = inner.as_object_mut().and_then(|inner| inner.remove(word)) {
            out[word] = value;
        }
    }
    out["anyOf"] = json!([inner, {"$ref": "#/$defs/template"}]);
    out
}

/// True where every string is fine already.
fn takes_any_string(schema: &Value) -> bool {
    let narrows = ["enum", "const", "pattern", "format", "minLength", "maxLength", "anyOf", "oneOf", "allOf", "not"];
    let string = match &schema["type"] {
        Value::String(name) => name == "string",
        Value::Array(names) => names.iter().any(|name| name == "string"),
        _ => schema.as_object().is_none_or(Map::is_empty),
    };
    string && !narrows.iter().any(|keyword| schema.get(keyword).is_some())
}
