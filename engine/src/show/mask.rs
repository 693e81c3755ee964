//! Params without their secrets.
//!
//! Takes a step's params as the plan knows them and the schema of the function that gets them. Gives the same value
//! with whatever the schema marks as secret masked, and after that every secret value that the plan knows of, wherever
//! it stands. Where a schema has alternatives all of them are applied: a field that is secret in one of them is masked.

use serde_json::{Map, Value};

use crate::plan::{Params, Plan, PlannedStep};
use crate::secret::{MASK, SCHEMA_KEY, SecretUrl};

/// The step's params, fit to be shown.
pub(super) fn shown_params(plan: &Plan, step: &PlannedStep) -> Map<String, Value> {
    let mut params = match &step.params {
        Params::Known(value) => value.clone(),
        Params::Late(late) => late.as_written(),
    };
    mask(&mut params, step.runs.info().params.as_value());
    plan.redactor().redact_value(&mut params);
    match params {
        Value::Object(params) => params,
        _ => Map::new(),
    }
}

/// Masks in place what the schema marks.
fn mask(value: &mut Value, schema: &Value) {
    match schema.get(SCHEMA_KEY) {
        Some(Value::Bool(true)) => return mask_all(value),
        Some(_) => mask_url(value),
        None => {}
    }
    for list in ["anyOf", "oneOf", "allOf"] {
        for branch in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            mask(value, branch);
        }
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (key, value) in map {
                match properties.and_then(|properties| properties.get(key)) {
                    Some(schema) => mask(value, schema),
                    None => schema.get("additionalProperties").into_iter().for_each(|schema| mask(value, schema)),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                let prefix = schema.get("prefixItems").and_then(|prefix| prefix.get(place));
                if let Some(schema) = prefix.or_else(|| schema.get("items")) {
                    mask(item, schema);
                }
            }
        }
        _ => {}
    }
}

/// Masks every leaf but null, which says that nothing was given.
fn mask_all(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter_mut().for_each(mask_all),
        Value::Object(map) => map.values_mut().for_each(mask_all),
        _ => *value = MASK.into(),
    }
}

fn mask_url(value: &mut Value) {
    if let Value::String(url) = value {
        *url = SecretUrl::new(std::mem::take(url)).to_string();
    }
}
