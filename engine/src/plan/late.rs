//! Params that wait for a run: the templates, the scopes they were written in, and their rendering.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::names::{BoundSlot, Scope, ScopeId, Target};
use super::{LateParams, LateScope, StepId};
use crate::diagnostic::Diagnostic;
use crate::failure::Failure;
use crate::registry::AnyFunction;
use crate::source::{Sources, Span};
use crate::template::{Found, Names, Reference, Slot, Tree, TreeValue};

/// What all late params of a plan share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) sources: Sources,
    pub(super) scopes: Vec<Scope>,
    pub(super) task: String,
    pub(super) env: BTreeMap<String, String>,
    /// The steps of the plan by their place among the drafts.
    pub(super) ids: Vec<StepId>,
}

/// One step's late params.
pub(super) struct Late {
    pub(super) world: Arc<World>,
    pub(super) tree: Arc<Tree>,
    pub(super) scope: ScopeId,
    pub(super) runs: Arc<dyn AnyFunction>,
    pub(super) shown: Json,
}

struct LateNames<'l> {
    world: &'l World,
    scope: &'l Scope,
    late: &'l LateScope<'l>,
}

impl LateParams for Late {
    fn render(&self, late: &LateScope<'_>) -> Result<Json, Failure> {
        let names = LateNames { world: &self.world, scope: &self.world.scopes[self.scope.0], late };
        let mut problems = Vec::new();
        let given = self.tree.render(&names, &mut problems).fitted(self.runs.info().params.as_value());
        match (problems.first(), given.to_json()) {
            (None, Some(value)) => Ok(value),
            (Some(problem), _) => Err(self.world.failure(problem)),
            (None, None) => Err(Failure::internal("its params were still not known when it started")),
        }
    }

    fn as_written(&self) -> Json {
        self.shown.clone()
    }
}

impl World {
    fn failure(&self, problem: &Diagnostic) -> Failure {
        let place = problem.span().map(|span| format!("{}: ", self.sources.describe(span))).unwrap_or_default();
        let failure = Failure::config(format!("{place}{}", problem.message));
        match &problem.help {
            Some(help) => failure.with_help(help),
            None => failure,
        }
    }
}

impl LateNames<'_> {
    /// What was written in another scope. Nulls are passed on: who uses them asks about them.
    fn elsewhere(&self, tree: &Tree, scope: ScopeId) -> Result<Json, Box<Diagnostic>> {
        let names = LateNames { scope: &self.world.scopes[scope.0], ..*self };
        let mut problems = Vec::new();
        let value = match &tree.value {
            TreeValue::Template(template) => match template.render(&names, true, &mut problems).slot {
                Slot::Known(value) => Some(value),
                Slot::Hole(_) => None,
            },
            _ => tree.render(&names, &mut problems).to_json(),
        };
        match (problems.into_iter().next(), value) {
            (Some(problem), _) => Err(Box::new(problem)),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(unknown(tree.span)),
        }
    }
}

/// Only a value that the plan already refused can be missing here.
fn unknown(span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::at(span, "null-value", "this value is still not known", "here"))
}

impl Names for LateNames<'_> {
    fn look_up(&self, reference: &Reference, span: Span) -> Result<Found, Box<Diagnostic>> {
        let value = match reference {
            Reference::Param(name) => match self.scope.params.get(name).map(|bound| &bound.slot) {
                Some(BoundSlot::Known(value)) => value.clone(),
                Some(BoundSlot::Late(tree, scope)) => self.elsewhere(tree, *scope)?,
                Some(BoundSlot::Unknown) | None => return Err(unknown(span)),
            },
            Reference::Env(name) => self.world.env.get(name).cloned().map_or(Json::Null, Json::String),
            Reference::TaskName => self.world.task.clone().into(),
            Reference::RunId => self.late.run.id.clone().into(),
            Reference::RunStarted => self.late.run.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            Reference::Output { step, field } => match self.scope.steps.get(step) {
                Some(Target::Step(draft)) => {
                    let outputs = (self.late.outputs)(self.world.ids[*draft]);
                    outputs.get(field).cloned().unwrap_or_default()
                }
                Some(Target::Composite { scope, outputs, .. }) => match outputs.get(field) {
                    Some(tree) => self.elsewhere(tree, *scope)?,
                    None => return Err(unknown(span)),
                },
                Some(Target::LeftOut(_)) => Json::Null,
                Some(Target::Broken) | None => return Err(unknown(span)),
            },
        };
        Ok(Found::known(value))
    }

    fn about_null(&self, reference: &Reference) -> String {
        format!(
            "the step that it comes from failed, did not run or did not put it out; say what to use then: `{{{{ default {reference} 'something' }}}}`"
        )
    }
}
