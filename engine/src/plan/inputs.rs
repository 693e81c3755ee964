//! A task's params from what was given on the command line or in a file of values.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::names::{Bound, BoundSlot};
use crate::catalog::{InputValue, Inputs};
use crate::diagnostic::{Diagnostic, list, suggest};
use crate::document::node::found;
use crate::document::{Declared, ParamDecl, article};
use crate::template::Kind;

/// Params of which nothing is known but their types.
pub(super) fn unknown(declared: &Declared) -> BTreeMap<String, Bound> {
    let bound = |param: &ParamDecl| (param.name.text.clone(), Bound::new(param, BoundSlot::Unknown));
    declared.list.iter().map(bound).collect()
}

/// Params with their values. What is missing or mistyped is a problem, and unknown for the rest of the way.
pub(super) fn bind(declared: &Declared, inputs: &Inputs, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, Bound> {
    for name in inputs.params.keys().filter(|name| declared.get(name).is_none()) {
        let help = suggest(name, "params", declared.names());
        problems.push(Diagnostic::new("unknown-input", format!("the task has no param `{name}`")).help(help));
    }
    let mut bound = BTreeMap::new();
    for param in &declared.list {
        let name = &param.name.text;
        let slot = match inputs.params.get(name) {
            None | Some(InputValue::Value(Json::Null)) => match &param.default {
                Some(default) => BoundSlot::Known(default.clone()),
                None if param.required => {
                    let what = if param.summary.is_empty() { String::new() } else { format!(": {}", param.summary) };
                    let how = if param.secret {
                        format!("`--set-env {name}=VARIABLE` or `--set-file {name}=PATH`")
                    } else {
                        format!("`--set {name}=…`")
                    };
                    let message = format!("the param `{name}` needs a value{what}");
                    problems.push(Diagnostic::new("missing-input", message).help(format!("give it with {how}")));
                    BoundSlot::Unknown
                }
                None => BoundSlot::Known(Json::Null),
            },
            Some(value) => match read(param, value) {
                Ok(value) => BoundSlot::Known(value),
                Err(problem) => {
                    problems.push(*problem);
                    BoundSlot::Unknown
                }
            },
        };
        bound.insert(name.clone(), Bound::new(param, slot));
    }
    bound
}

fn read(param: &ParamDecl, value: &InputValue) -> Result<Json, Box<Diagnostic>> {
    let (name, kind) = (&param.name.text, param.kind);
    let read = match value {
        InputValue::Value(value) => Some(value.clone()),
        InputValue::Text(text) => match kind {
            Kind::String => Some(Json::String(text.clone())),
            Kind::Boolean => text.parse().ok().map(Json::Bool),
            Kind::Integer | Kind::Number | Kind::List | Kind::Map => serde_json::from_str(text.trim()).ok(),
        },
    };
    let Some(value) = read.filter(|value| kind.fits(value)) else {
        let given = match value {
            _ if param.secret => "something else was given".to_owned(),
            InputValue::Text(text) => format!("`{}` was given", text.escape_debug()),
            InputValue::Value(value) => format!("{} was given", found(value)),
        };
        let message = format!("the param `{name}` takes {} {}, and {given}", article(kind.name()), kind.name());
        let example = match kind {
            Kind::String => "a text: in a file of values, put it in quotes",
            Kind::Integer => "a whole number: `--set NAME=7`",
            Kind::Number => "a number: `--set NAME=0.5`",
            Kind::Boolean => "`--set NAME=true` or `--set NAME=false`",
            Kind::List => "JSON: `--set 'NAME=[\"a\", \"b\"]'`",
            Kind::Map => "JSON: `--set 'NAME={\"a\": 1}'`",
        };
        // Its own words show the form that is wanted better than any example.
        let is_deep = matches!(kind, Kind::List | Kind::Map) && !param.summary.is_empty();
        let more = if is_deep { format!("; it is: {}", param.summary) } else { String::new() };
        let help = format!("write {}{more}", example.replace("NAME", name));
        return Err(Box::new(Diagnostic::new("wrong-input", message).help(help)));
    };
    if !param.choices.is_empty() && !param.choices.contains(&value) {
        let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let names: Vec<String> = param.choices.iter().map(plain).collect();
        let written = if param.secret { "this value".to_owned() } else { format!("`{}`", plain(&value)) };
        let message = format!("the param `{name}` cannot be {written}");
        let help = suggest(&plain(&value), "values", names.iter().map(String::as_str));
        let help = if help.starts_with("did") { format!("{help} its values are {}", list(&names)) } else { help };
        return Err(Box::new(Diagnostic::new("wrong-input", message).help(help)));
    }
    Ok(value)
}
