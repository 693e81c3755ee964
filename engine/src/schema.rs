//! JSON Schema of a whole Aquifer file, for editors: Task and Function documents, with each step's `params` following from
//! its `function`.
//!
//! Takes what the catalog offers as [`Callable`]s. Gives one draft 2020-12 schema without external references. It is made
//! for completion and for red lines while typing: what it accepts may still be refused by the engine's own checks, which
//! see the whole file, but it must refuse nothing that they accept. So wherever a value is expected that is not a
//! plain string, a template in its place is accepted too, and functions that it does not know may have any params.

mod document;
mod relax;

use serde_json::{Map, Value, json};

/// A function that a step may name.
#[derive(Debug, Clone, Copy)]
pub struct Callable<'a> {
    /// Its name.
    pub name: &'a str,
    /// One sentence.
    pub summary: &'a str,
    /// The schema of its params, without `$ref`s.
    pub params: &'a Value,
}

/// The schema of a file's documents. (A YAML stream of several documents is checked one document at a time.)
pub fn file(functions: &[Callable<'_>]) -> Value {
    let mut definitions = document::definitions();
    definitions.insert("functionName".into(), function_name(functions));
    definitions.insert("paramsByFunction".into(), by_key("function", "params", functions));
    definitions.insert("paramsByBuiltin".into(), by_key("builtin", "params", functions));
    for function in functions {
        definitions.insert(params_name(function.name), written_params(function));
    }
    let mut schema = document::root();
    schema.insert("$defs".into(), Value::Object(definitions));
    Value::Object(schema)
}

fn params_name(function: &str) -> String {
    format!("params-{function}")
}

/// Known names are offered with their sentences, every other name is accepted: a file may bring functions of its own.
fn function_name(functions: &[Callable<'_>]) -> Value {
    let known = functions.iter().map(|function| json!({"const": function.name, "description": function.summary}));
    let choices: Vec<Value> = known.chain([document::name()]).collect();
    json!({"type": "string", "anyOf": choices})
}

/// An if/then for each function: where `key` names it, `params` is what it takes.
fn by_key(key: &str, params: &str, functions: &[Callable<'_>]) -> Value {
    let rules = functions.iter().map(|function| {
        let reference = json!({"$ref": format!("#/$defs/{}", params_name(function.name))});
        let mut then = json!({"properties": {params: reference}});
        if requires_any(function.params) {
            then["required"] = json!([params]);
        }
        json!({"if": {"properties": {key: {"const": function.name}}, "required": [key]}, "then": then})
    });
    let rules: Vec<Value> = rules.collect();
    // An empty `allOf` is not allowed.
    if rules.is_empty() { Value::Bool(true) } else { json!({"allOf": rules}) }
}

fn requires_any(params: &Value) -> bool {
    params["required"].as_array().is_some_and(|names| !names.is_empty())
}

/// The params of a function as they may be written: a map, or a list of `{name, value}`.
fn written_params(function: &Callable<'_>) -> Value {
    let names: Vec<&String> = function.params["properties"].as_object().into_iter().flat_map(Map::keys).collect();
    let mut item = json!({
        "type": "object",
        "required": ["name", "value"],
        "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "value": true},
    });
    if function.params["additionalProperties"] == false && !names.is_empty() {
        item["properties"]["name"] = json!({"enum": names});
    }
    let mut map = relax::relaxed(function.params);
    if let Value::Object(map) = &mut map {
        map.remove("title");
        map.insert("description".into(), function.summary.into());
        // Without it, an editor would not tell that text is no map: the branch below is taken for everything but lists.
        map.entry("type").or_insert_with(|| "object".into());
    }
    json!({"if": {"type": "array"}, "then": {"items": item}, "else": map})
}

#[cfg(test)]
mod tests;
