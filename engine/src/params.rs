//! Params as given against the JSON Schema of what takes them, with a place for every problem.
//!
//! Takes a schema with its definitions inlined, as schemars writes it, and a [`Given`] that may have holes. Gives
//! problems; what is not known yet is checked by its kind alone. Always holds: a secret goes only where the schema says
//! [`SCHEMA_KEY`](crate::secret::SCHEMA_KEY), and no value of such a place stands in a message.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, list, suggest};
use crate::document::article;
use crate::document::node::{Key, found};
use crate::secret::Place;
use crate::source::Span;
use crate::template::{Given, GivenValue, Kind, is_integer};

/// What takes the params, and where it is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker<'t> {
    /// The function, or what else has params.
    pub(crate) name: &'t str,
    /// Where a missing param is marked.
    pub(crate) span: Span,
}

/// Checks params as a whole.
pub(crate) fn check(taker: Taker<'_>, schema: &Json, given: &Given, problems: &mut Vec<Diagnostic>) {
    Checker { taker, problems }.check(schema, given, "");
}

struct Checker<'c> {
    taker: Taker<'c>,
    problems: &'c mut Vec<Diagnostic>,
}

/// What a schema takes, in words.
fn wanted(schema: &Json) -> String {
    if let Some(choices) = choices(schema) {
        return format!("one of {}", list(&choices.iter().map(plain).collect::<Vec<_>>()));
    }
    let names = types(schema);
    let mut words: Vec<String> = names
        .iter()
        .filter(|name| **name != "null")
        .map(|name| match *name {
            "string" => "a text".to_owned(),
            "array" => "a list".to_owned(),
            "object" => "a map".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            other => format!("{} {other}", article(other)),
        })
        .collect();
    words.dedup();
    if words.is_empty() { "something else".to_owned() } else { words.join(" or ") }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => variants(schema).iter().flat_map(|variant| types(variant)).collect(),
    }
}

/// The alternatives of a schema, without the null that stands for "may be left out".
fn variants(schema: &Json) -> Vec<&Json> {
    let all = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
    all.into_iter().flatten().filter(|variant| variant.get("type") != Some(&Json::from("null"))).collect()
}

/// The values of an enumeration: `enum`, `const`, or alternatives that are all such.
fn choices(schema: &Json) -> Option<Vec<Json>> {
    if let Some(Json::Array(values)) = schema.get("enum") {
        return Some(values.iter().filter(|value| !value.is_null()).cloned().collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value.clone()]);
    }
    let variants = variants(schema);
    if variants.is_empty() {
        return None;
    }
    variants.into_iter().map(choices).collect::<Option<Vec<_>>>().map(|all| all.concat())
}

fn is_secret_place(schema: &Json) -> bool {
    let place = Place::of(schema);
    place.is_secret() || place.is_url()
}

fn fits(name: &str, value: &Json) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => is_integer(value),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

impl Checker<'_> {
    fn check(&mut self, schema: &Json, given: &Given, path: &str) {
        if given.secret && !is_secret_place(schema) {
            let what =
                if path.is_empty() { "these params".to_owned() } else { format!("`{path}` of `{}`", self.taker.name) };
            let message = format!("{what} may be shown, and a secret param goes into it");
            let problem = Diagnostic::at(given.span, "secret-shown", message, "holds a secret");
            let help = if self.taker.name == "exec" || path.starts_with("command") {
                "a command's arguments can be read by everybody on the machine (`ps`): give it as an environment variable under `env`, which the command reads"
            } else {
                "use it only in params that are secret themselves, which `aquifer functions show` marks"
            };
            self.problems.push(problem.help(help));
            return;
        }
        let all = variants(schema);
        match &given.value {
            GivenValue::Hole(hole, _) => self.check_hole(schema, given, hole.kind, path),
            _ if choices(schema).is_some() => self.check_choice(schema, given, path),
            GivenValue::Plain(value) => {
                let names = types(schema);
                if !names.is_empty() && !names.iter().any(|name| fits(name, value)) {
                    self.wrong_type(schema, given, path, &found(value));
                } else if let ([], Json::Number(number)) = (all.as_slice(), value) {
                    self.check_range(schema, given, number.as_f64().unwrap_or_default(), path);
                }
            }
            _ if !all.is_empty() => self.check_variants(&all, schema, given, path),
            GivenValue::List(items) => {
                if self.is_of(schema, "array", given, path)
                    && let Some(schema) = schema.get("items")
                {
                    for (at, item) in items.iter().enumerate() {
                        self.check(schema, item, &format!("{path}[{at}]"));
                    }
                }
            }
            GivenValue::Map(fields) => {
                if self.is_of(schema, "object", given, path) {
                    self.check_map(schema, fields, given.span, path);
                }
            }
        }
    }

    fn is_of(&mut self, schema: &Json, name: &str, given: &Given, path: &str) -> bool {
        let names = types(schema);
        let fits = names.is_empty() || names.contains(&name);
        if !fits {
            let what = if name == "array" { "a list" } else { "a map" };
            self.wrong_type(schema, given, path, what);
        }
        fits
    }

    fn label(&self, path: &str) -> String {
        if path.is_empty() {
            format!("the params of `{}`", self.taker.name)
        } else {
            format!("`{path}` of `{}`", self.taker.name)
        }
    }

    fn wrong_type(&mut self, schema: &Json, given: &Given, path: &str, found: &str) {
        let wanted = wanted(schema);
        let kind = match &given.value {
            GivenValue::Plain(Json::String(_)) => "a text",
            GivenValue::Plain(Json::Number(_)) => "a number",
            GivenValue::Plain(Json::Bool(_)) => "a boolean",
            _ => found,
        };
        let shown = if is_secret_place(schema) || given.secret { kind } else { found };
        let message = format!("{} takes {wanted}, and this is {shown}", self.label(path));
        let problem = Diagnostic::at(given.span, "wrong-type", message, format!("not {wanted}"));
        let (value, names) = (given.to_json().unwrap_or_default(), types(schema));
        let help = match &value {
            Json::Number(_) | Json::Bool(_) if names.contains(&"string") => Some("put it in quotes".to_owned()),
            Json::String(text) if names.contains(&"boolean") => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
                "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
                _ => None,
            },
            Json::String(text) if text.parse::<f64>().is_ok() => Some(
                "write it without quotes; from the environment, declare a param of that type and give it with `--set-env`".to_owned(),
            ),
            _ if names.contains(&"array") && !value.is_object() => Some("put it in brackets: `[…]`".to_owned()),
            _ => self.meaning(schema, path),
        };
        self.problems.push(problem.maybe_help(help));
    }

    /// What a value there means, and how one is written; nothing for the params as a whole.
    fn meaning(&self, schema: &Json, path: &str) -> Option<String> {
        let names = types(schema);
        // The default of a secret is one, too.
        let default = schema.get("default").filter(|value| !value.is_null() && !is_secret_place(schema));
        let example = default.map(Json::to_string);
        let example = example.or_else(|| {
            let written = ["integer", "number", "boolean", "object", "array", "string"];
            let as_text = ["3", "1.5", "true", "{name: value}", "[one, two]", "some text"];
            written.iter().zip(as_text).find(|(name, _)| names.contains(name)).map(|(_, text)| text.to_owned())
        })?;
        let name = path.rsplit('.').next().filter(|name| !name.is_empty())?;
        let described = schema.get("description").and_then(Json::as_str).and_then(|text| text.lines().next());
        let meaning = described.filter(|text| !text.is_empty()).map(|text| format!("; it is: {text}"));
        let written = if name.ends_with(']') { example } else { format!("{name}: {example}") };
        Some(format!("write it like `{written}`{}", meaning.unwrap_or_default()))
    }

    fn check_hole(&mut self, schema: &Json, given: &Given, kind: Option<Kind>, path: &str) {
        let Some(kind) = kind else { return };
        let names = types(schema);
        let name = kind.schema_name();
        let becomes_text = matches!(kind, Kind::Integer | Kind::Number | Kind::Boolean) && names.contains(&"string");
        let whole = kind == Kind::Integer && names.contains(&"number");
        let fits = names.is_empty() || names.contains(&name) || whole || becomes_text;
        // A number may turn out to be whole.
        let may_fit = kind == Kind::Number && names.contains(&"integer");
        if !fits && !may_fit {
            self.wrong_type(schema, given, path, &format!("{} {}", article(kind.name()), kind.name()));
        }
    }

    fn check_choice(&mut self, schema: &Json, given: &Given, path: &str) {
        let choices = choices(schema).unwrap_or_default();
        let value = given.to_json().unwrap_or_default();
        if choices.contains(&value) {
            return;
        }
        let names: Vec<String> = choices.iter().map(plain).collect();
        if !value.is_string() || !choices.iter().any(Json::is_string) {
            return self.wrong_type(schema, given, path, &found(&value));
        }
        let hidden = given.secret || is_secret_place(schema);
        let written = if hidden { "this".to_owned() } else { format!("`{}`", plain(&value).escape_debug()) };
        let message = format!("{} cannot be {written}", self.label(path));
        let help = suggest(&plain(&value), "values", names.iter().map(String::as_str));
        self.problems.push(Diagnostic::at(given.span, "unknown-value", message, "not one of its values").help(help));
    }

    fn check_range(&mut self, schema: &Json, given: &Given, value: f64, path: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("{least} or more"),
                (None, most) => format!("at most {}", most.unwrap_or_default()),
            };
            let message = format!("{} takes a number {range}", self.label(path));
            let problem = Diagnostic::at(given.span, "out-of-range", message, "out of range");
            self.problems.push(problem.maybe_help(self.meaning(schema, path)));
        }
    }

    /// Alternatives: the one that the value's shape tells is checked; where none is told, one has to fit.
    fn check_variants(&mut self, all: &[&Json], schema: &Json, given: &Given, path: &str) {
        let shape = if matches!(given.value, GivenValue::List(_)) { "array" } else { "object" };
        let shaped: Vec<&&Json> = all.iter().filter(|variant| types(variant).contains(&shape)).collect();
        let fields: &[(Key, Given)] = if let GivenValue::Map(fields) = &given.value { fields } else { &[] };
        match shaped.as_slice() {
            [] => self.wrong_type(schema, given, path, if shape == "array" { "a list" } else { "a map" }),
            [only] => self.check(only, given, path),
            several => {
                let required = |variant: &Json| -> Vec<String> {
                    variant.get("required").and_then(Json::as_array).into_iter().flatten().map(plain).collect()
                };
                // `{s3: {…}}`: each alternative is a map with one field that names it.
                let named: Option<Vec<String>> = several
                    .iter()
                    .map(|variant| {
                        Some(required(variant)).filter(|names| names.len() == 1).and_then(|mut names| names.pop())
                    })
                    .collect();
                if let Some(names) = named.filter(|names| names.len() > 1) {
                    let chosen: Vec<usize> =
                        (0..names.len()).filter(|at| fields.iter().any(|(key, _)| key.text == names[*at])).collect();
                    match chosen.as_slice() {
                        [only] => return self.check(several[*only], given, path),
                        [] => {
                            let (span, written) =
                                fields.first().map_or((given.span, ""), |(key, _)| (key.span, &key.text));
                            let message = format!("{} needs one of {}", self.label(path), list(&names));
                            let help = suggest(written, "alternatives", names.iter().map(String::as_str));
                            self.problems
                                .push(Diagnostic::at(span, "unknown-value", message, "none of them here").help(help));
                        }
                        _ => {
                            let message = format!("{} takes only one of {}", self.label(path), list(&names));
                            let problem = Diagnostic::at(given.span, "two-values", message, "more than one here");
                            self.problems.push(problem.help("keep one of them"));
                        }
                    }
                    return;
                }
                // `{type: s3, …}` and the like: the alternative with the fewest problems is what was meant.
                let mut best: Option<Vec<Diagnostic>> = None;
                for variant in several {
                    let mut problems = Vec::new();
                    Checker { taker: self.taker, problems: &mut problems }.check(variant, given, path);
                    if best.as_ref().is_none_or(|best| problems.len() < best.len()) {
                        best = Some(problems);
                    }
                }
                self.problems.extend(best.unwrap_or_default());
            }
        }
    }

    fn check_map(&mut self, schema: &Json, fields: &[(Key, Given)], span: Span, path: &str) {
        let empty = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for (key, given) in fields {
            if let Some(schema) = properties.get(&key.text) {
                self.check(schema, given, &inside(&key.text));
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Json::Bool(false)) => {
                    let owner = if path.is_empty() { format!("`{}`", self.taker.name) } else { self.label(path) };
                    let message = format!("{owner} has no param `{}`", key.text);
                    let help = suggest(&key.text, "params", properties.keys().map(String::as_str));
                    self.problems.push(Diagnostic::at(key.span, "unknown-param", message, "unknown param").help(help));
                }
                Some(other) => self.check(other, given, &inside(&key.text)),
                None => {}
            }
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if fields.iter().any(|(key, _)| key.text == name) {
                continue;
            }
            let owner = if path.is_empty() { format!("`{}`", self.taker.name) } else { self.label(path) };
            let message = format!("{owner} needs the param `{name}`");
            let schema = properties.get(name).unwrap_or(&Json::Null);
            let meaning = schema.get("description").and_then(Json::as_str).filter(|text| !text.is_empty());
            let meaning =
                meaning.map(|text| format!(": {}", text.lines().next().unwrap_or_default())).unwrap_or_default();
            let span = if path.is_empty() { self.taker.span } else { span };
            let help = format!("`{name}` takes {}{meaning}", wanted(schema));
            self.problems.push(Diagnostic::at(span, "missing-param", message, "needs it").help(help));
        }
    }
}

#[cfg(test)]
mod tests;
