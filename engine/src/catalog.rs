//! All Task and Function documents that a plan can refer to, and the built-in functions.
//!
//! Takes a [`Registry`], the documents shipped with a program, and files, folders and texts of the user. Gives what there
//! is, what is wrong with it, and plans. Always holds: a document that could not be read leaves its reason here, so no
//! mistake is lost; two documents of one kind and name are a problem at both places; the environment is never read.

mod mask;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{self, Body, Declared, Document};
use crate::plan::{self, Plan};
use crate::ports::Need;
use crate::registry::{AnyFunction, Registry};
use crate::source::{self, Sources};

/// Where a document comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in, as Rust or as a document.
    BuiltIn,
    /// Given by the user.
    User,
}

/// Values for a task's params.
#[derive(Clone, Default)]
pub struct Inputs {
    /// By name.
    pub params: BTreeMap<String, InputValue>,
    /// What `env.NAME` stands for.
    pub env: BTreeMap<String, String>,
}

/// One value.
#[derive(Clone, PartialEq)]
pub enum InputValue {
    /// A text, read as the param's type.
    Text(String),
    /// A value of a type of its own.
    Value(Json),
}

impl std::fmt::Debug for Inputs {
    // Values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs").field("params", &self.params.keys()).field("env", &self.env.len()).finish()
    }
}

impl Inputs {
    /// Gives a param a text.
    #[must_use]
    pub fn with_text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.params.insert(name.into(), InputValue::Text(text.into()));
        self
    }

    /// Gives a param a value.
    #[must_use]
    pub fn with_value(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.params.insert(name.into(), InputValue::Value(value.into()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
}

/// A task, for lists and help.
#[derive(Debug, Clone)]
pub struct TaskEntry {
    /// Its name.
    pub name: String,
    /// One sentence; may be empty.
    pub summary: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The text that it was read from.
    pub source: String,
    /// Its params.
    pub params: Declared,
}

/// A function, for lists and help.
#[derive(Debug, Clone)]
pub struct FunctionEntry {
    /// Its name.
    pub name: String,
    /// One sentence; may be empty.
    pub summary: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The text that it was read from; none where it is written in Rust.
    pub source: Option<String>,
    /// The JSON Schema of its params.
    pub params: Json,
    /// The JSON Schema of its outputs.
    pub outputs: Json,
    /// Whether it reads.
    pub stdin: Need,
    /// Whether it writes.
    pub stdout: Need,
}

/// What a function's name stands for.
#[derive(Clone)]
pub(crate) enum Callee {
    /// Written in Rust.
    Builtin(Arc<dyn AnyFunction>),
    /// A Function document.
    Document(Arc<Document>),
}

/// The function that stands behind `exec:`.
pub(crate) const EXEC: &str = "exec";

/// Everything that a plan can refer to.
#[derive(Clone)]
pub struct Catalog {
    registry: Registry,
    pub(crate) sources: Sources,
    tasks: BTreeMap<String, (Arc<Document>, Origin)>,
    functions: BTreeMap<String, (Arc<Document>, Origin)>,
    /// Documents without a usable name, or hidden by another: checked all the same.
    others: Vec<Arc<Document>>,
    problems: Vec<Diagnostic>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("tasks", &self.tasks.keys()).field("functions", &self.functions.keys()).finish()
    }
}

impl Catalog {
    /// A catalog with built-in functions only.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            sources: Sources::default(),
            tasks: BTreeMap::new(),
            functions: BTreeMap::new(),
            others: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Adds documents that the program itself brings.
    pub fn add_builtin(&mut self, name: &str, text: &str) {
        self.add(&format!("built-in:{name}"), text, Origin::BuiltIn);
    }

    /// Adds documents of the user. `name` is what messages call the text.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.add(name, text, Origin::User);
    }

    /// Adds a file, or all `*.yaml` and `*.yml` files of a folder. What cannot be read is among the [`problems`](Self::problems).
    pub fn add_path(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.add_file(path);
        }
        let entries = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
        match entries {
            Ok(mut files) => {
                let yaml = |file: &Path| file.extension().is_some_and(|end| end == "yaml" || end == "yml");
                // One that cannot be looked at is told of when it is read; what is no file would be waited for.
                let is_file = |file: &Path| file.metadata().map_or(true, |about| about.is_file());
                files.retain(|file| yaml(file) && is_file(file));
                files.sort();
                if files.is_empty() {
                    let message = format!("`{}` holds no `*.yaml` or `*.yml` file", path.display());
                    let help = "files in its subfolders are not looked at: name the subfolder";
                    self.problems.push(Diagnostic::new("empty-folder", message).help(help));
                }
                files.iter().for_each(|file| self.add_file(file));
            }
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                self.problems.push(Diagnostic::new("unreadable", message));
            }
        }
    }

    fn add_file(&mut self, path: &Path) {
        match source::read(path) {
            Ok(text) => self.add_text(&path.display().to_string(), &text),
            Err(error) => self.problems.push(Diagnostic::new("unreadable", error.to_string())),
        }
    }

    fn add(&mut self, name: &str, text: &str, origin: Origin) {
        let source = self.sources.add(name, text);
        if text.len() as u64 > source::MAX_BYTES {
            let message = source::ReadError::TooLarge { name: name.to_owned() }.to_string();
            self.problems.push(Diagnostic::new("unreadable", message));
            return;
        }
        for document in document::read(source, text, &mut self.problems) {
            self.enter(Arc::new(document), origin);
        }
    }

    fn enter(&mut self, document: Arc<Document>, origin: Origin) {
        let name = &document.name;
        if name.text.is_empty() {
            self.others.push(document);
            return;
        }
        if !document.is_task() && self.registry.get(&name.text).is_some() {
            let message = format!("`{}` is the name of a built-in function", name.text);
            let problem = Diagnostic::at(name.span, "taken-name", message, "this name is taken");
            self.problems.push(problem.help("choose another name, and use it in the steps that mean this one"));
            self.others.push(document);
            return;
        }
        let map = if document.is_task() { &mut self.tasks } else { &mut self.functions };
        let Some((known, known_origin)) = map.get(&name.text) else {
            map.insert(name.text.clone(), (document, origin));
            return;
        };
        match (document.is_task(), *known_origin, origin) {
            (true, Origin::BuiltIn, Origin::User) => {
                map.insert(name.text.clone(), (document, origin));
            }
            (true, Origin::User, Origin::BuiltIn) => {}
            (false, Origin::BuiltIn, Origin::User) => {
                let message = format!("`{}` is the name of a built-in function", name.text);
                let problem = Diagnostic::at(name.span, "taken-name", message, "this name is taken");
                self.problems.push(problem.help("choose another name, and use it in the steps that mean this one"));
                self.others.push(document);
            }
            _ => {
                let message = format!("two {}s are called `{}`", document.kind(), name.text);
                let problem = Diagnostic::at(name.span, "duplicate-document", message, "the second");
                self.problems.push(
                    problem
                        .label(known.name.span, "the first is here")
                        .help("rename one of them, or give only one of the files"),
                );
                self.others.push(document);
            }
        }
    }

    /// The built-in functions.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All tasks, by name.
    pub fn tasks(&self) -> Vec<TaskEntry> {
        let entry = |(name, (document, origin)): (&String, &(Arc<Document>, Origin))| TaskEntry {
            name: name.clone(),
            summary: document.summary.clone(),
            origin: *origin,
            source: self.sources.get(document.name.span.source).name.clone(),
            params: document.params.clone(),
        };
        self.tasks.iter().map(entry).collect()
    }

    /// All functions: those written in Rust in their order, then the documents by name.
    pub fn functions(&self) -> Vec<FunctionEntry> {
        let builtin = self.registry.iter().map(|function| {
            let info = function.info();
            FunctionEntry {
                name: info.name.to_owned(),
                summary: info.summary.to_owned(),
                origin: Origin::BuiltIn,
                source: None,
                params: info.params.as_value().clone(),
                outputs: info.outputs.as_value().clone(),
                stdin: info.stdin,
                stdout: info.stdout,
            }
        });
        let documents = self.functions.iter().map(|(name, (document, origin))| {
            let (stdin, stdout) = self.ends(document);
            FunctionEntry {
                name: name.clone(),
                summary: document.summary.clone(),
                origin: *origin,
                source: Some(self.sources.get(document.name.span.source).name.clone()),
                params: document.params.schema.as_ref().clone(),
                outputs: self.outputs(document),
                stdin,
                stdout,
            }
        });
        builtin.chain(documents).collect()
    }

    fn ends(&self, document: &Document) -> (Need, Need) {
        let need = |there: bool| if there { Need::Always } else { Need::Never };
        match &document.body {
            Body::Task { .. } => (Need::Never, Need::Never),
            Body::Builtin { name, .. } => self
                .registry
                .get(&name.text)
                .map_or((Need::Never, Need::Never), |function| (function.info().stdin, function.info().stdout)),
            Body::Exec { stdin, stdout, .. } => (need(stdin.is_some()), need(stdout.is_some())),
            Body::Composite { stdin, stdout, .. } => (need(stdin.is_some()), need(stdout.is_some())),
        }
    }

    /// The JSON Schema of what a Function document puts out.
    pub(crate) fn outputs(&self, document: &Document) -> Json {
        let of = |name: &str| self.registry.get(name).map(|function| function.info().outputs.as_value().clone());
        match &document.body {
            Body::Builtin { name, .. } => of(&name.text).unwrap_or_default(),
            Body::Exec { .. } => of(EXEC).unwrap_or_default(),
            Body::Composite { outputs, .. } => {
                let properties: serde_json::Map<_, _> =
                    outputs.iter().map(|(key, _)| (key.text.clone(), serde_json::json!({}))).collect();
                serde_json::json!({"type": "object", "properties": properties})
            }
            Body::Task { .. } => Json::Null,
        }
    }

    pub(crate) fn callee(&self, name: &str) -> Option<Callee> {
        let builtin = self.registry.get(name).map(|function| Callee::Builtin(Arc::clone(function)));
        builtin.or_else(|| self.functions.get(name).map(|(document, _)| Callee::Document(Arc::clone(document))))
    }

    pub(crate) fn function_names(&self) -> Vec<&str> {
        let builtin = self.registry.iter().map(|function| function.info().name);
        builtin.chain(self.functions.keys().map(String::as_str)).collect()
    }

    /// Everything that is wrong, in documents that could not be read and in all that the user gave, whether used or not.
    pub fn problems(&self) -> Diagnostics {
        self.shown(self.found())
    }

    /// Everything that is wrong with the documents that the program itself brings: for its own tests.
    pub fn builtin_problems(&self) -> Diagnostics {
        let named = self.tasks.values().chain(self.functions.values());
        let builtin = named.filter(|(_, origin)| *origin == Origin::BuiltIn);
        let problems = builtin.flat_map(|(document, _)| plan::check(self, document)).collect();
        self.diagnostics(problems)
    }

    fn diagnostics(&self, problems: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::new(Arc::new(self.sources.clone()), problems)
    }

    /// Problems with the texts that they are in, in which no secret can be read.
    fn shown(&self, problems: Diagnostics) -> Diagnostics {
        if problems.is_empty() {
            return problems;
        }
        let builtin = self.registry.iter().map(|function| (function.info().name, function.info().params.as_value()));
        let documents = self.functions.iter();
        let documents = documents.map(|(name, (document, _))| (name.as_str(), document.params.schema.as_ref()));
        let known = mask::Known::new(builtin.chain(documents).collect());
        problems.with_texts(|text| known.masked(text))
    }

    fn found(&self) -> Diagnostics {
        let mut problems = self.problems.clone();
        let named = self.tasks.values().chain(self.functions.values());
        let users = named.filter(|(_, origin)| *origin == Origin::User).map(|(document, _)| document);
        for document in users.chain(&self.others) {
            problems.extend(plan::check(self, document));
        }
        self.diagnostics(problems)
    }

    /// Plans a task. The checks are those of [`problems`](Self::problems) and those that need the inputs.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn plan(&self, task: &str, inputs: &Inputs) -> Result<Plan, Diagnostics> {
        let known = self.found();
        let Some((document, _)) = self.tasks.get(task) else {
            let message = format!("there is no task `{task}`");
            let help = crate::diagnostic::suggest(task, "tasks", self.tasks.keys().map(String::as_str));
            let problem = Diagnostic::new("unknown-task", message).help(help);
            return Err(self.shown(self.diagnostics(vec![problem]).or(&known)));
        };
        let planned = plan::plan(self, document, inputs);
        let problems = self.diagnostics(planned.problems).or(&known);
        match planned.plan {
            Some(plan) if !problems.has_errors() => Ok(plan),
            // In this order: a text with stars in it may be no YAML any more.
            _ => Err(self.shown(problems).redacted(&planned.secrets)),
        }
    }
}
