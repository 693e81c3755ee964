//! Who reads whom, who waits for whom, and whose outputs are named: names in scopes to places in the draft.

use super::draft::Draft;
use super::names::{BoundSlot, Feed, Scope, ScopeId, Target};
use crate::diagnostic::{Diagnostic, suggest};
use crate::document::Text;
use crate::ports::Need;
use crate::source::Span;
use crate::stream::StreamType;
use crate::template::{Reference, Tree};

/// What a `stdin` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writer {
    /// A step of the draft.
    Step(usize),
    /// Something outside of a Function document that is checked by itself.
    Outside(StreamType),
}

/// An output that a step names, in its params or in those of a composite around it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// Where.
    pub(super) span: Span,
    /// The step of the draft.
    pub(super) step: usize,
    /// As written.
    pub(super) text: String,
    /// The step as written.
    pub(super) step_text: String,
    /// True where a null may be there.
    pub(super) guarded: bool,
}

fn unknown_step(scope: &Scope, name: &Text) -> Diagnostic {
    let message = format!("there is no step `{}`", name.text);
    let help = match suggest(&name.text, "steps", scope.steps.keys().map(String::as_str)) {
        _ if name.text == "input" => "`input` is what a composite reads: declare `spec.stdin`".to_owned(),
        help => help,
    };
    Diagnostic::at(name.span, "unknown-step", message, "no such step").help(help)
}

impl Draft {
    /// What a `stdin` in a scope reads; none where that is broken, which is then said.
    pub(super) fn writer(&self, scope: ScopeId, name: &Text, problems: &mut Vec<Diagnostic>) -> Option<Writer> {
        let (mut scope, mut at) = (scope, name.clone());
        // Each turn goes one step further out, in, or past a step that was left out; more turns than there are
        // steps and scopes go round in a circle, which the check of the document by itself reports.
        for _ in 0..=self.size {
            let here = &self.scopes[scope.0];
            if at.text == "input" && !matches!(here.input, Feed::None) {
                match &here.input {
                    Feed::None | Feed::Missing => return None,
                    Feed::Outside(stream) => return Some(Writer::Outside(stream.clone())),
                    Feed::Step(outer, name) => (scope, at) = (*outer, name.clone()),
                }
                continue;
            }
            match here.steps.get(&at.text) {
                None => {
                    problems.push(unknown_step(here, &at));
                    return None;
                }
                Some(Target::Broken) => return None,
                Some(Target::Step(step)) if self.steps[*step].writes == Need::Never => {
                    problems.push(self.silent(name, &at.text, &self.steps[*step].function));
                    return None;
                }
                Some(Target::Step(step)) => return Some(Writer::Step(*step)),
                Some(Target::Composite { scope: inner, stdout: Some(stdout), .. }) => {
                    (scope, at) = (*inner, stdout.clone());
                }
                Some(Target::Composite { .. }) => {
                    problems.push(self.silent(name, &at.text, "its composite"));
                    return None;
                }
                Some(Target::LeftOut(Some(stdin))) => at = stdin.clone(),
                Some(Target::LeftOut(None)) => {
                    let message =
                        format!("step `{}` is left out by its `if`, and there is nothing to read instead", at.text);
                    let problem =
                        Diagnostic::at(name.span, "left-out-source", message, "reads a step that is left out");
                    problems.push(problem.help("give the steps that read it the same `if`"));
                    return None;
                }
            }
        }
        None
    }

    fn silent(&self, name: &Text, step: &str, function: &str) -> Diagnostic {
        let message = format!("step `{step}` writes nothing that could be read");
        let problem = Diagnostic::at(name.span, "no-stdout", message, format!("`{function}` has no stdout"));
        problem.help("order without data is `needs`; `stdin` names a step that writes")
    }

    /// The steps that a `needs` names.
    pub(super) fn needed(&self, scope: ScopeId, name: &Text, problems: &mut Vec<Diagnostic>) -> Vec<usize> {
        let here = &self.scopes[scope.0];
        match here.steps.get(&name.text) {
            None => {
                problems.push(unknown_step(here, name));
                Vec::new()
            }
            Some(Target::Step(step)) => vec![*step],
            Some(Target::Composite { steps, .. }) => steps.clone().collect(),
            Some(Target::LeftOut(_) | Target::Broken) => Vec::new(),
        }
    }

    /// All outputs on which a text in a scope depends, through the params of composites and their outputs.
    pub(super) fn outputs_named(&self, scope: ScopeId, tree: &Tree, found: &mut Vec<Named>) {
        let here = &self.scopes[scope.0];
        tree.references(&mut |used| match used.reference {
            Reference::Param(name) => {
                if let Some(BoundSlot::Late(tree, outer)) = here.params.get(name).map(|bound| &bound.slot) {
                    let first = found.len();
                    self.outputs_named(*outer, tree, found);
                    found[first..].iter_mut().for_each(|named| named.guarded |= used.guarded);
                }
            }
            Reference::Output { step, field } => match here.steps.get(step) {
                Some(Target::Step(place)) => found.push(Named {
                    span: used.span,
                    step: *place,
                    text: used.reference.to_string(),
                    step_text: step.clone(),
                    guarded: used.guarded,
                }),
                Some(Target::Composite { scope, outputs, .. }) => {
                    if let Some(tree) = outputs.get(field) {
                        let first = found.len();
                        self.outputs_named(*scope, tree, found);
                        for named in &mut found[first..] {
                            named.span = used.span;
                            named.text = used.reference.to_string();
                            named.step_text.clone_from(step);
                            named.guarded |= used.guarded;
                        }
                    }
                }
                Some(Target::LeftOut(_) | Target::Broken) | None => {}
            },
            Reference::Env(_) | Reference::TaskName | Reference::RunId | Reference::RunStarted => {}
        });
    }
}
