//! The params that a Task or Function declares, as written and as a JSON Schema.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::article;
use super::fields::{self, Fields, Text};
use super::node::{Node, Value};
use crate::diagnostic::Diagnostic;
use crate::secret::SCHEMA_KEY;
use crate::template::Kind;

/// One declared param.
#[derive(Debug, Clone)]
pub struct ParamDecl {
    /// Its name.
    pub name: Text,
    /// Its type.
    pub kind: Kind,
    /// Its value where none is given.
    pub default: Option<Json>,
    /// True where one has to be given.
    pub required: bool,
    /// The values that it may have; empty for all.
    pub choices: Vec<Json>,
    /// True where it is never shown.
    pub secret: bool,
    /// One sentence.
    pub summary: String,
}

/// The params of a document.
#[derive(Debug, Clone)]
pub struct Declared {
    /// In their order.
    pub list: Vec<ParamDecl>,
    /// The same as a JSON Schema.
    pub schema: Arc<Json>,
}

impl Declared {
    fn new(list: Vec<ParamDecl>) -> Self {
        let property = |param: &ParamDecl| {
            let mut schema = json!({"type": param.kind.schema_name(), "description": param.summary});
            if !param.choices.is_empty() {
                schema["enum"] = param.choices.clone().into();
            }
            if let Some(default) = &param.default {
                schema["default"] = if param.secret { json!(crate::secret::MASK) } else { default.clone() };
            }
            if param.secret {
                schema[SCHEMA_KEY] = true.into();
            }
            (param.name.text.clone(), schema)
        };
        let properties: serde_json::Map<_, _> = list.iter().map(property).collect();
        let required: Vec<&str> =
            list.iter().filter(|param| param.required).map(|param| param.name.text.as_str()).collect();
        let schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        Self { schema: Arc::new(schema), list }
    }

    /// The param of this name.
    pub fn get(&self, name: &str) -> Option<&ParamDecl> {
        self.list.iter().find(|param| param.name.text == name)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.list.iter().map(|param| param.name.text.as_str())
    }
}

/// The declared params of a document.
pub(super) fn declared(node: Option<&Node>, problems: &mut Vec<Diagnostic>) -> Declared {
    let mut list: Vec<ParamDecl> = Vec::new();
    match node.map(|node| (&node.value, node)) {
        None | Some((Value::Null, _)) => {}
        Some((Value::List(items), _)) => {
            for item in items {
                let Some(param) = param(item, problems) else { continue };
                if let Some(first) = list.iter().find(|known| known.name.text == param.name.text) {
                    let message = format!("two params are called `{}`", param.name.text);
                    let problem = Diagnostic::at(param.name.span, "duplicate-param", message, "the second");
                    problems.push(problem.label(first.name.span, "the first").help("rename one of them"));
                } else {
                    list.push(param);
                }
            }
        }
        Some((_, node)) => problems.push(
            fields::mismatch(node, "params", "a list of params").help("write `params: [{name: NAME, type: string}]`"),
        ),
    }
    Declared::new(list)
}

fn param(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<ParamDecl> {
    let mut fields = Fields::open(node, "a param", problems)?;
    let name = fields.text("name");
    match &name {
        None => fields.missing("name", "every param needs a name"),
        Some(name) if !is_param_name(&name.text) => {
            let message = format!("`{}` cannot be a param's name", name.text);
            let problem = Diagnostic::at(name.span, "bad-name", message, "this name");
            fields.problem(problem.help("use letters, digits, `-` and `_`, with a letter first, at most 63"));
        }
        Some(_) => {}
    }
    let kind = fields.choice("type", &Kind::ALL).map_or(Kind::String, |(kind, _)| kind);
    let default = fields.node("default").filter(|node| node.value != Value::Null);
    let required_span = fields.entry("required").map(|(key, _)| key.span);
    let required = fields.boolean("required").unwrap_or(false);
    let secret_span = fields.entry("secret").map(|(key, _)| key.span);
    let secret = fields.boolean("secret").unwrap_or(false);
    let choices = fields.node("enum");
    let summary = fields.text("summary").map(|text| text.text).unwrap_or_default();
    fields.close();
    if let (true, Some(default), Some(span)) = (required, default, required_span) {
        let message = "a param is `required` or has a `default`, not both";
        let problem = Diagnostic::at(span, "required-with-default", message, "required")
            .label(default.span, "and with a default");
        problems.push(problem.help("leave out `required`, or the default"));
    }
    if let (true, Some(span)) = (secret && kind != Kind::String, secret_span) {
        let message = format!("a secret param is a string, not {} {}", article(kind.name()), kind.name());
        problems.push(Diagnostic::at(span, "secret-type", message, "secret").help("leave out `type`, or `secret`"));
    }
    let mut fits = |node: &Node, what: &str| {
        let value = node.to_json();
        if kind.fits(&value) {
            return Some(value);
        }
        let shown = if secret { "something else".to_owned() } else { node.found() };
        let message = format!("{what} is {shown}, and the param takes {} {}", article(kind.name()), kind.name());
        let problem =
            Diagnostic::at(node.span, "wrong-type", message, format!("not {} {}", article(kind.name()), kind.name()));
        let help = match kind {
            Kind::String => "put it in quotes".to_owned(),
            _ => format!("write {} {}, or another `type`", article(kind.name()), kind.name()),
        };
        problems.push(problem.help(help));
        None
    };
    let default = default.and_then(|node| fits(node, "the default").map(|value| (node.span, value)));
    let choices: Vec<Json> = match choices.map(|node| (&node.value, node)) {
        None => Vec::new(),
        Some((Value::List(items), _)) if !items.is_empty() => {
            items.iter().filter_map(|item| fits(item, "this value")).collect()
        }
        Some((_, node)) => {
            problems.push(fields::mismatch(node, "enum", "a list of values"));
            Vec::new()
        }
    };
    if let Some((span, default)) = &default
        && !choices.is_empty()
        && !choices.contains(default)
    {
        let problem = Diagnostic::at(
            *span,
            "default-not-in-enum",
            "the default is not among the values of `enum`",
            "this default",
        );
        problems.push(problem.help("add it to `enum`, or choose one of them"));
    }
    let default = default.map(|(_, value)| value);
    Some(ParamDecl { name: name?, kind, default, required, choices, secret, summary })
}

fn is_param_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && name.len() <= 63
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
