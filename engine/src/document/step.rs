//! The steps of a Task or a composite, as written.

use std::sync::Arc;
use std::time::Duration;

use super::WHENS;
use super::fields::{Fields, Text, mismatch};
use super::node::{Key, Node, Value};
use crate::diagnostic::Diagnostic;
use crate::plan::When;
use crate::source::Span;
use crate::template::{Tree, TreeValue};

/// A step as written.
#[derive(Debug, Clone)]
pub struct StepDoc {
    /// Its name.
    pub name: Text,
    /// The function that it runs.
    pub function: Text,
    /// The function's params.
    pub params: Arc<Tree>,
    /// The step whose stdout it reads.
    pub stdin: Option<Text>,
    /// The steps that it waits for.
    pub needs: Vec<Text>,
    /// When its pipeline runs.
    pub when: Option<(When, Span)>,
    /// Whether it is in the plan.
    pub condition: Option<Tree>,
    /// How often its pipeline is tried.
    pub retry: Option<(Retry, Span)>,
    /// How long one attempt of its pipeline may take.
    pub timeout: Option<(Duration, Span)>,
}

/// How often a pipeline is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// In all, the first attempt included.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub backoff: Duration,
}

/// Reads a list of steps.
pub(super) fn steps(node: Option<&Node>, source: &str, problems: &mut Vec<Diagnostic>) -> Vec<StepDoc> {
    let Some(node) = node else { return Vec::new() };
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items,
        Value::List(_) => {
            let problem =
                Diagnostic::at(node.span, "missing-field", "there has to be at least one step", "no step here");
            problems.push(problem.help("write `steps: [{name: NAME, function: FUNCTION}]`"));
            return Vec::new();
        }
        _ => {
            let problem = mismatch(node, "steps", "a list of steps");
            problems.push(problem.help("begin each step with `- name: …`"));
            return Vec::new();
        }
    };
    let mut steps: Vec<StepDoc> = Vec::with_capacity(items.len());
    let mut names = std::collections::BTreeMap::new();
    for item in items {
        let Some(step) = step(item, source, problems) else { continue };
        if let Some(first) = names.insert(step.name.text.clone(), step.name.span) {
            let message = format!("two steps are called `{}`", step.name.text);
            let problem = Diagnostic::at(step.name.span, "duplicate-step", message, "the second");
            problems.push(problem.label(first, "the first").help("rename one of them"));
            names.insert(step.name.text, first);
            continue;
        }
        steps.push(step);
    }
    steps
}

fn step(node: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Option<StepDoc> {
    let mut fields = Fields::open(node, "a step", problems)?;
    let name = fields.name("name");
    if name.is_none() {
        fields.missing("name", "every step needs a name of its own");
    }
    let function = fields.text("function");
    if function.is_none() {
        fields.missing("function", "`aquifer functions` lists what there is");
    }
    let params = fields.node("params");
    let stdin = fields.name("stdin");
    let needs = fields.names("needs");
    let when = fields.choice("when", &WHENS);
    let condition = fields.node("if");
    let retry = fields.entry("retry");
    let timeout = fields.duration("timeout");
    fields.close();
    if let Some(name) = name.as_ref().filter(|name| name.text == "input") {
        let problem = Diagnostic::at(name.span, "bad-name", "a step cannot be called `input`", "this name");
        problems.push(problem.help("inside a composite, `input` is what the composite itself reads"));
    }
    let mut seen: Vec<&Text> = Vec::new();
    for need in &needs {
        if let Some(first) = seen.iter().find(|known| known.text == need.text) {
            let message = format!("`{}` stands twice in `needs`", need.text);
            let problem = Diagnostic::at(need.span, "duplicate-need", message, "the second");
            problems.push(problem.label(first.span, "the first").help("keep one of them"));
        }
        seen.push(need);
    }
    let retry = retry.and_then(|(key, node)| Some((self::retry(node, problems)?, key.span.to(node.span))));
    let condition = condition.map(|node| Tree::compile(node, source, problems));
    if let Some(Tree { span, value: TreeValue::List(_) | TreeValue::Map(_) }) = condition {
        let problem = Diagnostic::at(span, "wrong-type", "`if` takes a template, `true` or `false`", "a list or map");
        problems.push(problem.help("an unquoted value that begins with `{{` is a map to YAML: put it in quotes"));
    }
    let params = params.map(|node| self::params(node, source, problems));
    // Without a function it is a step all the same, to which others may refer.
    let name = name?;
    let function = function.unwrap_or(Text { text: String::new(), span: name.span });
    let params = Arc::new(params.unwrap_or_else(|| Tree::empty(function.span)));
    Some(StepDoc { name, function, params, stdin, needs, when, condition, retry, timeout })
}

const ATTEMPTS: &str = "write how many attempts there are in all: `retry: {attempts: 3, backoff: 10s}`";

fn retry(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Retry> {
    if !matches!(node.value, Value::Map(_)) {
        let message = format!("`retry` is a map of fields, and this is {}", node.found());
        problems.push(Diagnostic::at(node.span, "wrong-type", message, "not a map").help(ATTEMPTS));
        return None;
    }
    let mut fields = Fields::open(node, "`retry`", problems)?;
    let attempts = fields.whole_number("attempts", 1..=100);
    if attempts.is_none() {
        fields.missing("attempts", ATTEMPTS);
    }
    let backoff = fields.duration("backoff").map_or(Duration::from_secs(1), |(backoff, _)| backoff);
    fields.close();
    Some(Retry { attempts: u32::try_from(attempts?).unwrap_or(1), backoff })
}

/// Params as a map, or as a list of `{name, value}`.
pub(super) fn params(node: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Tree {
    match &node.value {
        Value::Map(_) => Tree::compile(node, source, problems),
        Value::List(items) => {
            let mut fields: Vec<(Key, Tree)> = Vec::with_capacity(items.len());
            for item in items {
                let Some(mut entry) = Fields::open(item, "a param in a list", problems) else { continue };
                let name = entry.text("name");
                if name.is_none() {
                    entry.missing("name", "write `{name: NAME, value: VALUE}`, or make `params` a map");
                }
                let value = entry.node("value");
                entry.close();
                let Some(name) = name else { continue };
                if let Some((first, _)) = fields.iter().find(|(key, _)| key.text == name.text) {
                    let message = format!("`{}` stands twice in these params", name.text);
                    let problem = Diagnostic::at(name.span, "duplicate-key", message, "the second");
                    problems.push(problem.label(first.span, "the first").help("keep one of them"));
                    continue;
                }
                let value = value
                    .map_or(Tree { span: name.span, value: TreeValue::Plain(serde_json::Value::Null) }, |node| {
                        Tree::compile(node, source, problems)
                    });
                fields.push((Key { span: name.span, text: name.text }, value));
            }
            Tree { span: node.span, value: TreeValue::Map(fields) }
        }
        _ => {
            let problem = mismatch(node, "params", "a map");
            problems.push(problem.help("write `params: {NAME: VALUE}`"));
            Tree::empty(node.span)
        }
    }
}
