//! Room 2: texts to Task and Function documents exactly as written, every part with its place.
//!
//! Takes a source. Gives its [`Document`]s and all that is wrong with their form: unknown and missing fields, wrong types,
//! bad names. Always holds: a mistake costs the field it is in, not the document, so that all of them are found at once.
//! It knows no function and no other document; templates are compiled here, once, and rendered in room 3.

mod fields;
pub mod node;
mod params;
mod scalar;
mod step;

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::plan::When;
use crate::source::{SourceId, Span};
use crate::stream::{Accepts, StreamType};
use crate::template::Tree;
use fields::Fields;
pub use fields::Text;
use node::{Key, Node, Value};

use params::declared;
pub use params::{Declared, ParamDecl};
pub use step::{Retry, StepDoc};

/// The only `apiVersion` that there is.
pub const API_VERSION: &str = "aquifer.dev/v1alpha1";

/// A Task or a Function as written.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its name, and where that is written.
    pub name: Text,
    /// One sentence for lists; empty where there is none.
    pub summary: String,
    /// Its params.
    pub params: Declared,
    /// What it is.
    pub body: Body,
}

/// What a document is.
#[derive(Debug, Clone)]
pub enum Body {
    /// A task.
    Task {
        /// Its steps.
        steps: Vec<StepDoc>,
        /// How many pipelines may run at once.
        concurrency: usize,
    },
    /// A built-in function with some params fixed or renamed.
    Builtin {
        /// The built-in function.
        name: Text,
        /// Its params.
        params: Arc<Tree>,
    },
    /// An external command.
    Exec {
        /// The params of the function `exec`.
        params: Arc<Tree>,
        /// What it reads, if it reads.
        stdin: Option<Accepts>,
        /// What it writes, if it writes.
        stdout: Option<StreamType>,
    },
    /// A pipeline with a name.
    Composite {
        /// Its steps.
        steps: Vec<StepDoc>,
        /// What it reads, if it reads, and where that is written.
        stdin: Option<(Accepts, Span)>,
        /// The step whose stdout is its own.
        stdout: Option<Text>,
        /// What later steps may name.
        outputs: Vec<(Key, Arc<Tree>)>,
    },
}

impl Document {
    /// True for a Task.
    pub fn is_task(&self) -> bool {
        matches!(self.body, Body::Task { .. })
    }

    /// `Task` or `Function`.
    pub fn kind(&self) -> &'static str {
        if self.is_task() { "Task" } else { "Function" }
    }
}

/// Reads all documents of a source.
pub fn read(source: SourceId, text: &str, problems: &mut Vec<Diagnostic>) -> Vec<Document> {
    let before = problems.len();
    let nodes = node::parse(source, text, problems);
    if nodes.is_empty() && problems.len() == before {
        let span = Span::new(source, 0, 0);
        let problem = Diagnostic::at(span, "empty-file", "this file holds no document", "");
        problems.push(problem.help(format!("begin with `apiVersion: {API_VERSION}` and `kind: Task`")));
    }
    // Of many that are another program's, one is told of.
    let mut foreign = false;
    nodes.iter().filter_map(|node| document(node, text, &mut foreign, problems)).collect()
}

/// Whether a version is that of another program's documents, and none of ours that is misspelt.
fn is_foreign(version: &str, kind: Option<&str>) -> bool {
    let (own, _) = API_VERSION.split_once('/').unwrap_or_default();
    let group = version.split('/').next().unwrap_or_default();
    let is_like =
        |written: &str, known: &[&'static str]| crate::diagnostic::nearest(written, known.iter().copied()).is_some();
    let is_own = version.starts_with("aquifer") || is_like(group, &[own]);
    let is_kind = kind.is_none_or(|kind| is_like(kind, &["Task", "Function"]));
    !is_own && (!is_kind || group.contains('.'))
}

fn document(node: &Node, source: &str, foreign: &mut bool, problems: &mut Vec<Diagnostic>) -> Option<Document> {
    let mut fields = Fields::open(node, "a document", problems)?;
    let version = fields.text("apiVersion");
    let kind = fields.text("kind");
    if let Some(version) =
        version.as_ref().filter(|version| is_foreign(&version.text, kind.as_ref().map(|kind| &*kind.text)))
    {
        let message = format!("`{}` is a version of other documents than the engine's", version.text);
        let help =
            "manifests of a cluster are run by `aquifer run-session -f FOLDER`; with `--dry-run` it looks them over";
        if !std::mem::replace(foreign, true) {
            fields.problem(Diagnostic::at(version.span, "foreign-document", message, "another program's").help(help));
        }
        return None;
    }
    if let Some(version) = version.as_ref().filter(|version| version.text != API_VERSION) {
        let message = format!("`{}` is no version that this program knows", version.text);
        fields.problem(
            Diagnostic::at(version.span, "unknown-version", message, "unknown version")
                .help(format!("write `{API_VERSION}`")),
        );
    }
    if version.is_none() {
        fields.missing("apiVersion", &format!("begin the document with `apiVersion: {API_VERSION}`"));
    }
    let metadata = fields.node("metadata");
    if metadata.is_none() {
        fields.missing("metadata", "write `metadata: {name: …}`");
    }
    let spec = fields.node("spec");
    let Some(kind) = kind else {
        fields.missing("kind", "write `kind: Task` or `kind: Function`");
        return None;
    };
    let is_task = kind.text == "Task";
    if !is_task && kind.text != "Function" {
        let message = format!("there is no kind of document called `{}`", kind.text);
        let help = crate::diagnostic::suggest(&kind.text, "kinds", ["Task", "Function"]);
        fields.problem(Diagnostic::at(kind.span, "unknown-kind", message, "unknown kind").help(help));
        return None;
    }
    if spec.is_none() {
        fields.missing("spec", "write what it does under `spec:`");
    }
    fields.close();
    let name = metadata.and_then(|metadata| {
        let mut fields = Fields::open(metadata, "`metadata`", problems)?;
        let name = fields.name("name");
        if name.is_none() {
            fields.missing("name", "write `name: …`: lower-case letters, digits and hyphens");
        }
        // Where a cluster keeps it.
        fields.node("namespace");
        fields.node("labels");
        fields.node("annotations");
        fields.close();
        name
    });
    let spec = spec?;
    // A document without a usable name is still read, so that all its mistakes are found at once.
    let name = name.unwrap_or(Text { text: String::new(), span: kind.span });
    if is_task { task(name, spec, source, problems) } else { function(name, spec, source, problems) }
}

fn task(name: Text, spec: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Option<Document> {
    let mut fields = Fields::open(spec, "a Task's `spec`", problems)?;
    let summary = fields.text("summary").map(|text| text.text).unwrap_or_default();
    let params = fields.node("params");
    let steps = fields.node("steps");
    let concurrency = fields.whole_number("concurrency", 1..=1000).map_or(8, |number| number as usize);
    if steps.is_none() {
        fields.missing("steps", "a Task needs at least one step");
    }
    fields.close();
    let params = declared(params, problems);
    let steps = step::steps(steps, source, problems);
    Some(Document { name, summary, params, body: Body::Task { steps, concurrency } })
}

fn function(name: Text, spec: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Option<Document> {
    let mut fields = Fields::open(spec, "a Function's `spec`", problems)?;
    let summary = fields.text("summary").map(|text| text.text).unwrap_or_default();
    let ways = ["builtin", "exec", "steps"];
    let params_node = fields.node("params");
    let nodes: Vec<(&str, Span, &Node)> =
        ways.into_iter().filter_map(|way| fields.entry(way).map(|(key, node)| (way, key.span, node))).collect();
    let stdin = fields.entry("stdin");
    let stdout = fields.entry("stdout");
    let outputs = fields.node("outputs");
    fields.close();
    match nodes.as_slice() {
        [] => {
            let problem =
                Diagnostic::at(name.span, "no-body", "this Function does not say what it does", "this Function");
            problems.push(problem.help("write one of `builtin: NAME`, `exec: {command: […]}` or `steps: […]`"));
        }
        [_] => {}
        [(first, first_span, _), (second, second_span, _), ..] => {
            let message = format!("this Function has both `{first}` and `{second}`");
            let problem =
                Diagnostic::at(*second_span, "two-bodies", message, "the second").label(*first_span, "the first");
            problems.push(problem.help("keep one; a composite of `steps` can hold a step for the other"));
        }
    }
    let params = declared(params_node, problems);
    let way = nodes.first().map(|(way, _, node)| (*way, *node));
    let mut only = |entry: Option<(&Key, &Node)>, what: &str, field: &str| {
        if let Some((key, _)) = entry {
            let message = format!("`{field}` has no meaning in a Function with {what}");
            problems.push(Diagnostic::at(key.span, "unknown-field", message, "here").help("leave it out"));
        }
    };
    if way.map(|(way, _)| way) == Some("builtin") {
        only(stdin, "`builtin`, which says itself what it reads", "stdin");
        only(stdout, "`builtin`, which says itself what it writes", "stdout");
    }
    if let Some(node) = outputs.filter(|_| way.map(|(way, _)| way) != Some("steps")) {
        let problem =
            Diagnostic::at(node.span, "unknown-field", "`outputs` belongs to a Function with `steps`", "here");
        problems.push(problem.help("leave it out: the outputs are those of the function that does the work"));
    }
    let body = match way? {
        ("builtin", node) => builtin(node, source, problems)?,
        ("exec", node) => Body::Exec {
            params: Arc::new(step::params(node, source, problems)),
            stdin: stdin.and_then(|(_, node)| accepts(node, problems)),
            stdout: stdout.and_then(|(_, node)| stream(node, "stdout", problems)),
        },
        (_, node) => Body::Composite {
            steps: step::steps(Some(node), source, problems),
            stdin: stdin.and_then(|(_, node)| Some((accepts(node, problems)?, node.span))),
            stdout: stdout.and_then(|(_, node)| fields::as_name(node, "stdout", problems)),
            outputs: outputs.map(|node| self::outputs(node, source, problems)).unwrap_or_default(),
        },
    };
    Some(Document { name, summary, params, body })
}

/// `builtin: NAME`, or `builtin: {function: NAME, params: {…}}`.
fn builtin(node: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Option<Body> {
    if matches!(node.value, Value::Text(_)) {
        let name = fields::as_name(node, "builtin", problems)?;
        return Some(Body::Builtin { name, params: Arc::new(Tree::empty(node.span)) });
    }
    let mut fields = Fields::open(node, "`builtin`", problems)?;
    let name = fields.name("function");
    if name.is_none() {
        fields.missing("function", "write `builtin: {function: NAME, params: {…}}`");
    }
    let params = fields.node("params");
    fields.close();
    let params = params.map_or_else(|| Tree::empty(node.span), |params| step::params(params, source, problems));
    Some(Body::Builtin { name: name?, params: Arc::new(params) })
}

fn outputs(node: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Vec<(Key, Arc<Tree>)> {
    let Value::Map(fields) = &node.value else {
        problems.push(fields::mismatch(node, "outputs", "a map of names to templates"));
        return Vec::new();
    };
    fields.iter().map(|(key, node)| (key.clone(), Arc::new(Tree::compile(node, source, problems)))).collect()
}

fn stream(node: &Node, field: &str, problems: &mut Vec<Diagnostic>) -> Option<StreamType> {
    let text = fields::as_text(node, field, problems)?;
    text.text
        .parse()
        .map_err(|error: crate::stream::BadStreamType| {
            let problem = Diagnostic::at(text.span, "bad-stream-type", error.to_string(), "not a media type");
            problems.push(problem.help("bytes of an unknown kind are `application/octet-stream`"));
        })
        .ok()
}

fn accepts(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Accepts> {
    if node.value == Value::Text("any".into()) {
        return Some(Accepts::Any);
    }
    let stream = stream(node, "stdin", problems)?;
    Some(if stream.is_unknown() { Accepts::Any } else { Accepts::Only(stream) })
}

/// `a` or `an`.
pub(crate) fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// When a pipeline runs, by name.
pub(crate) const WHENS: [(&str, When); 3] =
    [("success", When::Success), ("failure", When::Failure), ("always", When::Always)];
