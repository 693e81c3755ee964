//! The fields of one map, taken out one by one; what is left over at the end is unknown.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::node::{Key, Node, Value};
use crate::diagnostic::{Diagnostic, suggest};
use crate::source::Span;

/// Ten years: no task means more, and any clock can be asked for a time that is so much later.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

/// A map that is being read.
pub(super) struct Fields<'n, 'p> {
    what: &'static str,
    span: Span,
    fields: &'n [(Key, Node)],
    known: Vec<&'static str>,
    problems: &'p mut Vec<Diagnostic>,
}

/// The problem of a node that is not what its field takes.
pub(super) fn mismatch(node: &Node, field: &str, wanted: &str) -> Diagnostic {
    let message = format!("`{field}` takes {wanted}, and this is {}", node.found());
    let problem = Diagnostic::at(node.span, "wrong-type", message, format!("not {wanted}"));
    match &node.value {
        Value::Text(text)
            if wanted.contains("`true`") && matches!(text.to_lowercase().as_str(), "yes" | "on" | "y") =>
        {
            problem.help("in YAML 1.2 this is a text: write `true`")
        }
        Value::Text(text)
            if wanted.contains("`true`") && matches!(text.to_lowercase().as_str(), "no" | "off" | "n") =>
        {
            problem.help("in YAML 1.2 this is a text: write `false`")
        }
        Value::Number(_) | Value::Bool(_) if wanted.contains("text") || wanted.contains("name") => {
            problem.help("put it in quotes")
        }
        _ => problem,
    }
}

pub(super) fn as_text(node: &Node, field: &str, problems: &mut Vec<Diagnostic>) -> Option<Text> {
    match &node.value {
        Value::Text(text) => Some(Text { text: text.clone(), span: node.span }),
        _ => {
            problems.push(mismatch(node, field, "a text"));
            None
        }
    }
}

/// A name of a document, step or function.
pub(super) fn as_name(node: &Node, field: &str, problems: &mut Vec<Diagnostic>) -> Option<Text> {
    let text = as_text(node, field, problems)?;
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name = &text.text;
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(sound) && !name.starts_with('-') && !name.ends_with('-')
    {
        return Some(text);
    }
    let message = format!("`{}` cannot be a name", name.escape_debug());
    let problem = Diagnostic::at(text.span, "bad-name", message, "this name");
    let better: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let better = better.trim_matches('-');
    let rule = "names are lower-case letters, digits and hyphens, at most 63, not with a hyphen first or last";
    problems.push(problem.help(if better.is_empty() || better.len() > 63 || better == name {
        rule.to_owned()
    } else {
        format!("{rule}: `{better}`")
    }));
    // It names what it names all the same: what refers to it is not wrong as well.
    Some(text)
}

impl<'n, 'p> Fields<'n, 'p> {
    /// Begins with a map; anything else is a problem.
    pub(super) fn open(node: &'n Node, what: &'static str, problems: &'p mut Vec<Diagnostic>) -> Option<Self> {
        let Value::Map(fields) = &node.value else {
            let message = format!("{what} is a map of fields, and this is {}", node.found());
            problems.push(Diagnostic::at(node.span, "wrong-type", message, "not a map"));
            return None;
        };
        Some(Self { what, span: node.span, fields, known: Vec::new(), problems })
    }

    pub(super) fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Reports a field that has to be there.
    pub(super) fn missing(&mut self, field: &str, help: &str) {
        // A field with nothing behind it was not forgotten: it is empty.
        let empty = self.fields.iter().find(|(key, _)| key.text == field);
        let problem = match empty {
            Some((_, node)) if node.value != Value::Null => return,
            Some((key, _)) => Diagnostic::at(key.span, "missing-field", format!("`{field}` is empty"), "nothing here"),
            None => {
                let span = self.fields.first().map_or(self.span, |(key, _)| key.span);
                Diagnostic::at(span, "missing-field", format!("{} needs `{field}`", self.what), "in this map")
            }
        };
        self.problems.push(problem.help(help));
    }

    /// A field with its key.
    pub(super) fn entry(&mut self, field: &'static str) -> Option<(&'n Key, &'n Node)> {
        if !self.known.contains(&field) {
            self.known.push(field);
        }
        let (key, node) = self.fields.iter().find(|(key, _)| key.text == field)?;
        (!matches!(node.value, Value::Null | Value::Broken)).then_some((key, node))
    }

    /// A field's value.
    pub(super) fn node(&mut self, field: &'static str) -> Option<&'n Node> {
        self.entry(field).map(|(_, node)| node)
    }

    /// A text.
    pub(super) fn text(&mut self, field: &'static str) -> Option<Text> {
        let node = self.node(field)?;
        as_text(node, field, self.problems)
    }

    /// A name.
    pub(super) fn name(&mut self, field: &'static str) -> Option<Text> {
        let node = self.node(field)?;
        as_name(node, field, self.problems)
    }

    /// A list of names.
    pub(super) fn names(&mut self, field: &'static str) -> Vec<Text> {
        let Some(node) = self.node(field) else { return Vec::new() };
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| as_name(item, field, self.problems)).collect(),
            Value::Text(text) => {
                let problem = mismatch(node, field, "a list of names");
                self.problems.push(problem.help(format!("write `{field}: [{text}]`")));
                Vec::new()
            }
            _ => {
                self.problems.push(mismatch(node, field, "a list of names"));
                Vec::new()
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, field: &'static str) -> Option<bool> {
        let node = self.node(field)?;
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.problems.push(mismatch(node, field, "`true` or `false`"));
        None
    }

    /// A whole number in a range.
    pub(super) fn whole_number(&mut self, field: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.node(field)?;
        let number = if let Value::Number(number) = &node.value { number.as_u64() } else { None };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let example = if range.contains(&3) { 3 } else { *range.start() };
        let help = format!("write digits, without quotes: `{field}: {example}`");
        self.problems.push(mismatch(node, field, &wanted).help(help));
        None
    }

    /// A length of time.
    pub(super) fn duration(&mut self, field: &'static str) -> Option<(Duration, Span)> {
        let (key, node) = self.entry(field)?;
        let help = "write a number with its unit: `500ms`, `30s`, `10m`, `2h`";
        let Value::Text(text) = &node.value else {
            self.problems.push(mismatch(node, field, "a length of time").help(help));
            return None;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if duration > LONGEST => {
                let message = format!("`{field}` has to be shorter than ten years");
                self.problems.push(Diagnostic::at(node.span, "wrong-type", message, "too long").help(help));
                None
            }
            Ok(duration) if !duration.is_zero() => Some((duration, key.span.to(node.span))),
            Ok(_) => {
                let message = format!("`{field}` has to be longer than nothing");
                self.problems.push(Diagnostic::at(node.span, "wrong-type", message, "zero").help(help));
                None
            }
            Err(_) => {
                self.problems.push(mismatch(node, field, "a length of time").help(help));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, field: &'static str, choices: &[(&'static str, T)]) -> Option<(T, Span)> {
        let (key, node) = self.entry(field)?;
        let text = as_text(node, field, self.problems)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.text) {
            return Some((*value, key.span.to(node.span)));
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("`{field}` cannot be `{}`", text.text.escape_debug());
        let problem = Diagnostic::at(text.span, "unknown-value", message, "not one of its values");
        let help = suggest(&text.text, "values", names.iter().copied());
        self.problems.push(problem.help(help));
        None
    }

    /// Ends: every field that nobody asked for is unknown.
    pub(super) fn close(self) {
        for (key, _) in self.fields {
            if !self.known.contains(&key.text.as_str()) {
                let message = format!("{} has no field `{}`", self.what, key.text);
                let help = suggest(&key.text, "fields", self.known.iter().copied());
                self.problems.push(Diagnostic::at(key.span, "unknown-field", message, "unknown field").help(help));
            }
        }
    }
}
