//! Uses of Function documents: their params bound to what a step gives, and composites taken apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::draft::Promise;
use super::super::names::{Bound, BoundSlot, Feed, ScopeId, Target};
use super::{Inherited, Unfolder};
use crate::diagnostic::Diagnostic;
use crate::document::node::Key;
use crate::document::{Body, Document, ParamDecl, StepDoc};
use crate::source::Span;
use crate::template::{Given, Tree};

/// How deep composites may stand in one another.
const MAX_DEPTH: usize = 16;

impl Unfolder<'_> {
    /// A Function document's params from what a step gives.
    pub(super) fn bind(
        &self,
        document: &Document,
        given: &Given,
        tree: &Tree,
        scope: ScopeId,
    ) -> BTreeMap<String, Bound> {
        let bound = |param: &ParamDecl| {
            let name = &param.name.text;
            let field = given.fields().iter().find(|(key, _)| key.text == *name).map(|(_, given)| given);
            let slot = match field {
                None => match &param.default {
                    Some(default) => BoundSlot::Known(default.clone()),
                    None if param.required => BoundSlot::Unknown,
                    None => BoundSlot::Known(Json::Null),
                },
                Some(field) => match field.to_json() {
                    // A value of the wrong type was reported: what follows from it would be noise.
                    Some(value) if param.kind.fits(&value) => BoundSlot::Known(value),
                    Some(_) => BoundSlot::Unknown,
                    None if field.is_late() => {
                        let written = tree.fields().iter().find(|(key, _)| key.text == *name).map(|(_, tree)| tree);
                        written.map_or(BoundSlot::Unknown, |tree| BoundSlot::Late(Arc::new(tree.clone()), scope))
                    }
                    None => BoundSlot::Unknown,
                },
            };
            (name.clone(), Bound::new(param, slot))
        };
        document.params.list.iter().map(bound).collect()
    }

    pub(super) fn composite(
        &mut self,
        scope: ScopeId,
        step: &StepDoc,
        document: &Document,
        params: BTreeMap<String, Bound>,
        name: &str,
        inherited: &Inherited,
    ) -> Target {
        let Body::Composite { steps, stdin, stdout, outputs } = &document.body else { return Target::Broken };
        if self.stack.contains(&document.name.text) || self.stack.len() >= MAX_DEPTH {
            let mut way: Vec<&str> = self.stack.iter().map(String::as_str).collect();
            way.push(&document.name.text);
            let start = way.iter().position(|name| *name == document.name.text).unwrap_or(0);
            let message = match self.stack.contains(&document.name.text) {
                true => format!("a Function must not contain itself: `{}`", way[start..].join("` → `")),
                false => format!("composites stand more than {MAX_DEPTH} deep in one another"),
            };
            let problem = Diagnostic::at(step.function.span, "recursive-function", message, "one too many");
            self.problem(problem.help("take this step out of it"));
            return Target::Broken;
        }
        let feed = match (stdin, &step.stdin) {
            (None, None) => Feed::None,
            (Some((accepts, _)), Some(from)) => {
                let promise = Promise {
                    accepts: accepts.clone(),
                    scope,
                    from: from.clone(),
                    composite: step.function.text.clone(),
                };
                self.draft.promises.push(promise);
                Feed::Step(scope, from.clone())
            }
            (None, Some(from)) => {
                let message =
                    format!("`{}` reads nothing, and `{}` gives it a stdin", step.function.text, step.name.text);
                let problem = Diagnostic::at(from.span, "unexpected-stdin", message, "nobody reads this");
                self.problem(problem.help("leave `stdin` out; order without data is `needs`"));
                Feed::Missing
            }
            (Some(_), None) => {
                let message =
                    format!("`{}` reads a stream, and step `{}` has no `stdin`", step.function.text, step.name.text);
                let problem = Diagnostic::at(step.name.span, "missing-stdin", message, "reads nothing");
                self.problem(problem.help("name the step whose stdout it reads: `stdin: NAME`"));
                Feed::Missing
            }
        };
        let inner = self.scope(params, feed);
        let first = self.draft.steps.len();
        self.stack.push(document.name.text.clone());
        self.steps(inner, steps, &format!("{name}/"), inherited);
        self.stack.pop();
        Target::Composite {
            steps: first..self.draft.steps.len(),
            scope: inner,
            stdout: stdout.clone(),
            outputs: outputs.iter().map(|(key, tree)| (key.text.clone(), Arc::clone(tree))).collect(),
        }
    }

    /// What can be said of a composite without a step that uses it.
    pub(super) fn composite_itself(
        &mut self,
        scope: ScopeId,
        steps: &[StepDoc],
        stdin: Option<Span>,
        outputs: &[(Key, Arc<Tree>)],
    ) {
        let reads_input = |step: &StepDoc| step.stdin.as_ref().is_some_and(|stdin| stdin.text == "input");
        if let Some(span) = stdin.filter(|_| !steps.iter().any(reads_input)) {
            let message = "this composite takes a stdin, and no step inside reads it";
            let problem = Diagnostic::at(span, "unread-input", message, "nobody reads this");
            self.problem(problem.help("write `stdin: input` at the step that reads it"));
        }
        for (_, tree) in outputs {
            let given = self.render(scope, tree, &Json::Null);
            if given.is_secret() {
                let message = "outputs are shown, and a secret param goes into this one";
                let problem = Diagnostic::at(given.span, "secret-shown", message, "holds a secret");
                self.problem(problem.help("leave it out: a step that needs the secret gets it as a param"));
            }
        }
    }
}
