//! The way through the steps: each one's function is found, its params are rendered and checked, and Function documents
//! are taken apart until only built-in functions are left, each a [`Step`] of the draft.

mod composite;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::draft::{Draft, Settings, Step};
use super::names::{Bound, BoundSlot, Feed, Outputs, PlanNames, Scope, ScopeId, Target};
use crate::catalog::{Callee, Catalog, EXEC};
use crate::diagnostic::{Diagnostic, suggest};
use crate::document::{Body, Document, StepDoc, Text};
use crate::params::{Taker, check};
use crate::ports::Need;
use crate::registry::AnyFunction;
use crate::secret::{Place, collect};
use crate::stream::{Accepts, Produces, StreamType, Streams};
use crate::template::{Given, Reference, Slot, Tree, TreeValue, is_true};

/// How many steps a plan may have: composites of composites grow fast.
const MAX_STEPS: usize = 10_000;

/// How many bytes the rendered texts of a plan may have in all: each may have a mebibyte, and there may be many steps.
const MAX_TEXTS: usize = 32 << 20;

/// What a composite hands on to the steps inside it.
#[derive(Debug, Clone, Default)]
struct Inherited {
    needs: Vec<(ScopeId, Text)>,
    settings: Settings,
}

/// Unfolds a task.
pub(super) fn task(
    catalog: &Catalog,
    task: &Document,
    params: BTreeMap<String, Bound>,
    env: Option<BTreeMap<String, String>>,
) -> Draft {
    let Body::Task { steps, .. } = &task.body else { return Draft::default() };
    let mut unfolder = Unfolder::new(catalog, Some(task.name.text.as_str()), env);
    let scope = unfolder.scope(params, Feed::None);
    unfolder.steps(scope, steps, "", &Inherited::default());
    unfolder.draft
}

/// Unfolds a Function document by itself.
pub(super) fn function(catalog: &Catalog, document: &Document, params: BTreeMap<String, Bound>) -> Draft {
    let mut unfolder = Unfolder::new(catalog, None, None);
    let feed = match &document.body {
        Body::Composite { stdin: Some((accepts, _)), .. } => Feed::Outside(match accepts {
            Accepts::Only(stream) => stream.clone(),
            _ => StreamType::unknown(),
        }),
        _ => Feed::None,
    };
    let scope = unfolder.scope(params, feed);
    unfolder.stack.push(document.name.text.clone());
    match &document.body {
        Body::Composite { steps, stdin, stdout, outputs } => {
            unfolder.steps(scope, steps, "", &Inherited::default());
            unfolder.composite_itself(scope, steps, stdin.as_ref().map(|(_, span)| *span), outputs);
            unfolder.draft.outside = Some((scope, stdout.clone()));
        }
        _ => {
            // The params alone can be checked: how it is connected is up to the steps that use it.
            if let Some((runs, name, params, _)) = unfolder.leaf(document) {
                let given = unfolder.render(scope, &params, runs.info().params.as_value());
                unfolder.prepare(&runs, &name, &given);
            }
        }
    }
    unfolder.draft
}

struct Unfolder<'c> {
    catalog: &'c Catalog,
    task: Option<&'c str>,
    /// The Function documents that are being taken apart, outermost first.
    stack: Vec<String>,
    draft: Draft,
    /// How many bytes of text have been rendered.
    texts: usize,
    /// Whether one of the limits was reached.
    full: bool,
}

impl<'c> Unfolder<'c> {
    fn new(catalog: &'c Catalog, task: Option<&'c str>, env: Option<BTreeMap<String, String>>) -> Self {
        Self { catalog, task, stack: Vec::new(), draft: Draft { env, ..Draft::default() }, texts: 0, full: false }
    }

    fn scope(&mut self, params: BTreeMap<String, Bound>, input: Feed) -> ScopeId {
        for bound in params.values().filter(|bound| bound.secret) {
            if let BoundSlot::Known(Json::String(secret)) = &bound.slot {
                self.draft.secrets.push(secret.clone());
            }
        }
        self.draft.size += 1;
        self.draft.scopes.push(Scope { params, input, ..Scope::default() });
        ScopeId(self.draft.scopes.len() - 1)
    }

    fn names(&self, scope: ScopeId) -> PlanNames<'_> {
        PlanNames { scope: &self.draft.scopes[scope.0], task: self.task, env: self.draft.env.as_ref() }
    }

    fn problem(&mut self, problem: Diagnostic) {
        self.draft.problems.push(problem);
    }

    fn render(&mut self, scope: ScopeId, tree: &Tree, schema: &Json) -> Given {
        let mut problems = Vec::new();
        let given = tree.render(&self.names(scope), &mut problems).fitted(schema);
        self.draft.problems.extend(problems);
        self.texts += given.text_len();
        if self.texts > MAX_TEXTS && !self.full {
            self.full = true;
            let message =
                format!("the texts in this plan come to more than {} MiB, once they are rendered", MAX_TEXTS >> 20);
            let problem = Diagnostic::at(tree.span, "too-much-text", message, "one too many");
            self.problem(problem.help("pass large data through a pipe, and look for composites that use composites"));
        }
        given
    }

    /// All steps of a scope: first which ones there are and what they put out, then each of them.
    fn steps(&mut self, scope: ScopeId, steps: &[StepDoc], prefix: &str, inherited: &Inherited) {
        self.draft.size += steps.len();
        let mut callees = Vec::with_capacity(steps.len());
        for step in steps {
            let callee = self.catalog.callee(&step.function.text);
            // A step without a function was reported when it was read.
            if callee.is_none() && !step.function.text.is_empty() {
                let message = format!("there is no function `{}`", step.function.text);
                let help = suggest(&step.function.text, "functions", self.catalog.function_names());
                let help =
                    if help.starts_with("did") { help } else { "`aquifer functions` lists what there is".to_owned() };
                self.problem(
                    Diagnostic::at(step.function.span, "unknown-function", message, "no such function").help(help),
                );
            }
            let left_out = step.condition.as_ref().is_some_and(|condition| self.is_left_out(scope, condition));
            let outputs = match &callee {
                _ if left_out => Outputs::LeftOut,
                None => Outputs::Unknown,
                Some(Callee::Builtin(function)) => Outputs::of_schema(function.info().outputs.as_value()),
                Some(Callee::Document(document)) => Outputs::of_schema(&self.catalog.outputs(document)),
            };
            self.draft.scopes[scope.0].outputs.insert(step.name.text.clone(), outputs);
            callees.push((callee, left_out));
        }
        for (step, (callee, left_out)) in steps.iter().zip(callees) {
            let target = match callee {
                _ if left_out => Target::LeftOut(step.stdin.clone()),
                None => {
                    self.render(scope, &step.params, &Json::Null);
                    Target::Broken
                }
                Some(callee) => self.step(scope, step, &callee, prefix, inherited),
            };
            self.draft.scopes[scope.0].steps.insert(step.name.text.clone(), target);
        }
    }

    fn is_left_out(&mut self, scope: ScopeId, condition: &Tree) -> bool {
        let template = match &condition.value {
            TreeValue::Template(template) => template,
            TreeValue::Plain(value) => return !holds(value),
            TreeValue::List(_) | TreeValue::Map(_) | TreeValue::Broken => return false,
        };
        let mut late = Vec::new();
        template.references(&mut |used| {
            if matches!(used.reference, Reference::Output { .. } | Reference::RunId | Reference::RunStarted) {
                late.push((used.span, used.reference.to_string()));
            }
        });
        for (span, name) in &late {
            let message = format!("`if` is decided when the plan is made, and `{name}` is only known in a run");
            let problem = Diagnostic::at(*span, "late-condition", message, "not known yet");
            let help = "use `when: failure` or `when: always` for what depends on how other steps end";
            self.problem(problem.help(help));
        }
        if !late.is_empty() {
            return false;
        }
        let mut problems = Vec::new();
        let found = template.render(&self.names(scope), true, &mut problems);
        self.draft.problems.extend(problems);
        if found.secret {
            let message = "`if` asks about a secret param, and the plan shows the answer";
            let problem = Diagnostic::at(condition.span, "secret-shown", message, "asks about a secret");
            self.problem(problem.help("declare a boolean param beside the secret one, and ask about that"));
        }
        matches!(found.slot, Slot::Known(value) if !holds(&value))
    }

    fn step(&mut self, scope: ScopeId, step: &StepDoc, callee: &Callee, prefix: &str, inherited: &Inherited) -> Target {
        // It was said: what more there would be is not looked at, for it may be a million times as much.
        if self.full {
            return Target::Broken;
        }
        let schema = match callee {
            Callee::Builtin(runs) => runs.info().params.as_value(),
            Callee::Document(document) => document.params.schema.as_ref(),
        };
        let given = self.render(scope, &step.params, schema);
        let name = format!("{prefix}{}", step.name.text);
        let mut needs: Vec<(ScopeId, Text)> = step.needs.iter().map(|need| (scope, need.clone())).collect();
        if needs.is_empty() {
            needs.clone_from(&inherited.needs);
        }
        let mut settings = inherited.settings.clone();
        settings.when.extend(step.when);
        settings.retry.extend(step.retry);
        settings.timeout.extend(step.timeout);
        let document = match callee {
            Callee::Builtin(runs) => {
                let (params, streams) = self.prepare(runs, &step.function, &given);
                let (reads, writes) = (runs.info().stdin, runs.info().stdout);
                let (function, stdin) = (step.function.text.clone(), step.stdin.clone());
                return self.add(Step {
                    shown: given.shown(runs.info().params.as_value()),
                    tree: Arc::clone(&step.params),
                    span: step.name.span,
                    runs: Arc::clone(runs),
                    tree_scope: scope,
                    name,
                    function,
                    params,
                    scope,
                    stdin,
                    needs,
                    streams,
                    reads,
                    writes,
                    settings,
                });
            }
            Callee::Document(document) => document,
        };
        let taker = Taker { name: &step.function.text, span: step.function.span };
        check(taker, &document.params.schema, &given, &mut self.draft.problems);
        let params = self.bind(document, &given, &step.params, scope);
        if let Body::Composite { .. } = &document.body {
            let inherited = Inherited { needs, settings };
            return self.composite(scope, step, document, params, &name, &inherited);
        }
        let inner = self.scope(params, Feed::None);
        let Some((runs, function, params, streams)) = self.leaf(document) else { return Target::Broken };
        // What is wrong inside the document is found when the document is checked by itself; here, what is wrong
        // because of the values that this step gives.
        let given = self.render(inner, &params, runs.info().params.as_value());
        let (known, own) = self.prepare(&runs, &function, &given);
        let (streams, reads, writes) = streams.unwrap_or((own, runs.info().stdin, runs.info().stdout));
        self.add(Step {
            shown: given.shown(runs.info().params.as_value()),
            tree: params,
            span: step.name.span,
            tree_scope: inner,
            function: step.function.text.clone(),
            params: known,
            stdin: step.stdin.clone(),
            name,
            runs,
            scope,
            needs,
            streams,
            reads,
            writes,
            settings,
        })
    }

    fn add(&mut self, step: Step) -> Target {
        if self.draft.steps.len() >= MAX_STEPS {
            if !self.full {
                self.full = true;
                let message = format!("the plan has more than {MAX_STEPS} steps, those inside composites counted");
                let problem = Diagnostic::at(step.span, "too-many-steps", message, "one too many");
                self.problem(problem.help("divide the task, or look for composites that use composites"));
            }
            return Target::Broken;
        }
        self.draft.steps.push(step);
        Target::Step(self.draft.steps.len() - 1)
    }

    /// The built-in behind a Function document that is no composite, with the ends that the document declares.
    #[expect(clippy::type_complexity, reason = "used in two places, a few lines from here")]
    fn leaf(
        &mut self,
        document: &Document,
    ) -> Option<(Arc<dyn AnyFunction>, Text, Arc<Tree>, Option<(Streams, Need, Need)>)> {
        match &document.body {
            Body::Builtin { name, params } => {
                let Some(runs) = self.catalog.registry().get(&name.text) else {
                    let message = format!("there is no built-in function `{}`", name.text);
                    let names = self.catalog.registry().iter().map(|function| function.info().name).collect::<Vec<_>>();
                    let help = suggest(&name.text, "built-in functions", names);
                    self.problem(Diagnostic::at(name.span, "unknown-function", message, "no such function").help(help));
                    return None;
                };
                Some((Arc::clone(runs), name.clone(), Arc::clone(params), None))
            }
            Body::Exec { params, stdin, stdout } => {
                let Some(runs) = self.catalog.registry().get(EXEC) else {
                    let message = "this program has no function that runs commands";
                    let problem = Diagnostic::at(params.span, "unknown-function", message, "needs `exec`");
                    self.problem(problem.help("register one called `exec`"));
                    return None;
                };
                let need = |there: bool| if there { Need::Always } else { Need::Never };
                let streams = Streams {
                    stdin: stdin.clone().unwrap_or(Accepts::Any),
                    stdout: Produces::Exactly(stdout.clone().unwrap_or_else(StreamType::unknown)),
                };
                let ends = (streams, need(stdin.is_some()), need(stdout.is_some()));
                let name = Text { text: EXEC.to_owned(), span: document.name.span };
                Some((Arc::clone(runs), name, Arc::clone(params), Some(ends)))
            }
            Body::Task { .. } | Body::Composite { .. } => None,
        }
    }

    /// Checks a built-in's params, with its own checks where all is known.
    fn prepare(&mut self, runs: &Arc<dyn AnyFunction>, name: &Text, given: &Given) -> (Option<Json>, Streams) {
        let info = runs.info();
        let schema = info.params.as_value();
        let before = self.draft.problems.len();
        check(Taker { name: &name.text, span: name.span }, schema, given, &mut self.draft.problems);
        let secrets = &mut self.draft.secrets;
        collect(&Place::of(schema), &given.known_json(), &mut |secret| secrets.push(secret.to_owned()));
        let Some(value) = given.to_json().filter(|_| self.draft.problems.len() == before) else {
            return (None, info.streams.clone());
        };
        match runs.prepare(value.clone()) {
            Ok(prepared) => (Some(value), prepared.streams),
            Err(error) => {
                let at = given.at_path(&error.path);
                let span = if error.path.is_empty() && at.span == given.span { name.span } else { at.span };
                let message = match error.path.as_str() {
                    "" => format!("`{}`: {}", name.text, error.message),
                    path => format!("`{path}` of `{}`: {}", name.text, error.message),
                };
                // The function's own words may quote a value.
                let redactor = crate::secret::Redactor::default();
                self.draft.secrets.iter().for_each(|secret| redactor.hide(secret));
                let message = redactor.redact(&message).into_owned();
                self.problem(Diagnostic::at(span, "bad-param", message, "refused").maybe_help(error.help));
                (None, info.streams.clone())
            }
        }
    }
}

/// Whether an `if` holds: what is true, except for the text `false`, which a template of several parts may give.
fn holds(value: &Json) -> bool {
    is_true(value) && value.as_str().is_none_or(|text| !matches!(text.trim(), "" | "false"))
}
