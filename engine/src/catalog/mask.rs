//! A definition's text with the secrets that are written out in it masked, for the snippets in messages.
//!
//! Takes a text, and what is known of the functions that it may name. Always holds: every byte keeps its place, so that
//! marks stay where they are. Where the text cannot be read as it should, too much is masked rather than too little.

mod rough;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::diagnostic::nearest;
use crate::document::node::{self, Node, Value};
use crate::secret::{Place, url_password};
use crate::source::{SourceId, Span};

/// Mistakes in YAML behind which the reading goes on.
const READ_ON: [&str; 5] = ["duplicate-key", "yaml-key", "yaml-merge-key", "yaml-tag", "yaml-number"];

/// The schemas of all functions' params, and the names that are secret in any of them.
pub(super) struct Known<'c> {
    schemas: BTreeMap<&'c str, &'c Json>,
    names: BTreeSet<&'c str>,
}

impl<'c> Known<'c> {
    pub(super) fn new(schemas: BTreeMap<&'c str, &'c Json>) -> Self {
        let mut names = BTreeSet::new();
        schemas.values().for_each(|schema| secret_names(schema, &mut names));
        Self { schemas, names }
    }

    /// The text with its secrets masked.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut mask = Mask { known: self, text, found: Vec::new() };
        let mut problems = Vec::new();
        let nodes = node::parse(SourceId(0), text, &mut problems);
        nodes.iter().for_each(|node| mask.walk(node));
        // Behind a mistake that ends the reading there are no nodes.
        if problems.iter().any(|problem| !READ_ON.contains(&problem.code)) {
            mask.rough(0, text.len());
        }
        mask.urls();
        let mut bytes = text.as_bytes().to_vec();
        for (start, end) in mask.found {
            stars(&mut bytes[start..end]);
        }
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// Masks all but line breaks and what indents a line. Every byte of a letter becomes a star of its own.
fn stars(bytes: &mut [u8]) {
    let mut indent = false;
    for byte in bytes {
        match *byte {
            b'\n' | b'\r' => indent = true,
            b' ' if indent => {}
            _ => (*byte, indent) = (b'*', false),
        }
    }
}

fn secret_names<'c>(schema: &'c Json, names: &mut BTreeSet<&'c str>) {
    let place = Place::of(schema);
    for (name, _) in place.schemas().iter().filter_map(|schema| schema.get("properties")?.as_object()).flatten() {
        let field = place.field(name);
        // Of a map of secrets (an environment) the map's name is as good.
        if field.is_secret() || field.field("").is_secret() || field.item().is_secret() {
            names.insert(name);
        }
        field.schemas().iter().for_each(|schema| secret_names(schema, names));
    }
}

struct Mask<'m> {
    known: &'m Known<'m>,
    text: &'m str,
    found: Vec<(usize, usize)>,
}

impl Mask<'_> {
    /// Looks for params and for declarations of secret ones, whatever else is wrong around them.
    fn walk(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Map(fields) => {
                let get = |name: &str| fields.iter().find(|(key, _)| key.text == name).map(|(_, node)| &node.value);
                let known = self.known;
                let schema = |name: &str| known.schemas.get(name).map(|schema| Place::of(schema));
                let function = match get("function") {
                    Some(Value::Text(name)) => schema(name),
                    _ => None,
                };
                let secret = get("name").is_some()
                    && fields.iter().any(|(key, node)| {
                        nearest(&key.text, ["secret", "summary"]) == Some("secret") && node.value != Value::Bool(false)
                    });
                for (key, node) in fields {
                    match key.text.as_str() {
                        "params" => self.params(node, function.as_ref()),
                        "exec" => schema("exec").iter().for_each(|place| self.params(node, Some(place))),
                        "name" | "type" | "required" | "summary" => {}
                        _ if secret && !matches!(node.value, Value::Bool(_)) => self.all(node),
                        _ => {}
                    }
                    self.walk(node);
                }
            }
            Value::Broken => self.broken(node),
            _ => {}
        }
    }

    /// Params, as a map or as a list; of a function that is not known, by the names of secrets alone.
    fn params(&mut self, node: &Node, place: Option<&Place<'_>>) {
        match &node.value {
            Value::Map(fields) => fields.iter().for_each(|(key, node)| self.field(&key.text, node, place)),
            Value::List(items) => {
                for item in items {
                    let Value::Map(fields) = &item.value else { continue };
                    let name = fields.iter().find(|(key, _)| key.text == "name").map(|(_, node)| &node.value);
                    let Some(Value::Text(name)) = name else { continue };
                    // What a declaration of this name has beside it is no value.
                    let values = fields.iter().filter(|(key, _)| nearest(&key.text, ["value"]).is_some());
                    values.for_each(|(_, node)| self.field(name, node, place));
                }
            }
            Value::Broken => self.broken(node),
            _ => {}
        }
    }

    fn field(&mut self, name: &str, node: &Node, place: Option<&Place<'_>>) {
        let meant = || nearest(name, self.known.names.iter().copied()).is_some();
        match place.map(|place| place.field(name)) {
            Some(place) if !place.schemas().is_empty() => self.at(node, &place),
            // A name that is not known may be a secret one, misspelt.
            _ if meant() => self.all(node),
            _ => self.params(node, None),
        }
    }

    fn at(&mut self, node: &Node, place: &Place<'_>) {
        match &node.value {
            _ if place.is_secret() => self.all(node),
            Value::Text(_) if place.is_url() => {
                let (start, end) = self.range(node.span);
                if let Some((from, to)) = self.text.get(start..end).and_then(url_password)
                    && !self.text[start + from..start + to].contains("{{")
                {
                    self.found.push((start + from, start + to));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.at(item, &place.item())),
            Value::Map(_) | Value::Broken => self.params(node, Some(place)),
            _ => {}
        }
    }

    /// A secret value, whatever it is.
    fn all(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.all(item)),
            Value::Map(fields) => fields.iter().for_each(|(_, node)| self.all(node)),
            Value::Text(text) if text.contains("{{") => self.template(node.span),
            Value::Null => {}
            _ => self.found.push(self.range(node.span)),
        }
    }

    /// What is written out around expressions, and texts inside them.
    fn template(&mut self, span: Span) {
        let (start, end) = self.range(span);
        let (mut at, mut inside, mut quote) = (start, false, None);
        while let Some(rest) = self.text.get(at..end).filter(|rest| !rest.is_empty()) {
            let first = rest.chars().next().unwrap_or_default();
            let mark = (rest.starts_with("{{") && !inside) || (rest.starts_with("}}") && inside && quote.is_none());
            if mark {
                inside = !inside;
                at += 2;
                continue;
            }
            match (inside, quote) {
                (true, None) if matches!(first, '\'' | '"') => quote = Some(first),
                (true, Some(open)) if first == open => quote = None,
                (true, None) => {}
                // The quotes of the YAML around it hide nothing.
                (false, _) if matches!(first, '\'' | '"') && (at == start || at + 1 == end) => {}
                _ => self.found.push((at, at + first.len_utf8())),
            }
            at += first.len_utf8();
        }
    }

    /// A map in which a key stands twice is not read; its text is.
    fn broken(&mut self, node: &Node) {
        let (start, end) = self.range(node.span);
        self.rough(start, end);
    }

    fn range(&self, span: Span) -> (usize, usize) {
        let end = (span.end as usize).min(self.text.len());
        ((span.start as usize).min(end), end)
    }
}
