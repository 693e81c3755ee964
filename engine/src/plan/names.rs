//! What names stand for, scope by scope: a task has one, and so has every use of a Function document.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, suggest};
use crate::document::{ParamDecl, Text};
use crate::source::Span;
use crate::stream::StreamType;
use crate::template::{Found, Kind, Names, Reference, Slot, Tree};

/// A scope's place in [`Draft::scopes`](super::draft::Draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScopeId(pub(super) usize);

/// A param of a scope.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) slot: BoundSlot,
    pub(super) kind: Kind,
    pub(super) secret: bool,
}

/// Its value.
#[derive(Debug, Clone)]
pub(super) enum BoundSlot {
    /// Known.
    Known(Json),
    /// Any value of its type: a document is checked by itself.
    Unknown,
    /// A run gives it: what was written, and the scope in which it was.
    Late(Arc<Tree>, ScopeId),
}

impl Bound {
    pub(super) fn new(param: &ParamDecl, slot: BoundSlot) -> Self {
        Self { slot, kind: param.kind, secret: param.secret }
    }
}

/// The names of one Task, or of one use of a Function document.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) params: BTreeMap<String, Bound>,
    /// What each step puts out, known before the steps are gone through.
    pub(super) outputs: BTreeMap<String, Outputs>,
    /// What became of each step.
    pub(super) steps: BTreeMap<String, Target>,
    /// What `stdin: input` reads.
    pub(super) input: Feed,
}

/// What a step puts out.
#[derive(Debug)]
pub(super) enum Outputs {
    /// Fields with their types, where these are known.
    Fields(BTreeMap<String, Option<Kind>>),
    /// Nothing: the step is not in the plan.
    LeftOut,
    /// It is not known which function the step runs.
    Unknown,
}

impl Outputs {
    pub(super) fn of_schema(schema: &Json) -> Self {
        let fields = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
        Self::Fields(fields.map(|(name, schema)| (name.clone(), Kind::of_schema(schema))).collect())
    }
}

/// What became of a step.
#[derive(Debug)]
pub(super) enum Target {
    /// It is one step of the plan.
    Step(usize),
    /// It is several.
    Composite {
        /// Which ones.
        steps: Range<usize>,
        /// The scope inside.
        scope: ScopeId,
        /// The step inside whose stdout is its own.
        stdout: Option<Text>,
        /// What it puts out.
        outputs: BTreeMap<String, Arc<Tree>>,
    },
    /// It was left out by its `if`; what it would have read.
    LeftOut(Option<Text>),
    /// Its function is not known: said already.
    Broken,
}

/// What a composite reads.
#[derive(Debug, Clone, Default)]
pub(super) enum Feed {
    /// Nothing: it declares no stdin.
    #[default]
    None,
    /// What it should read is missing: said already.
    Missing,
    /// A step of the scope around it.
    Step(ScopeId, Text),
    /// Whatever the one who uses it connects: a Function document is checked by itself.
    Outside(StreamType),
}

/// The names as they are while a plan is made.
pub(super) struct PlanNames<'p> {
    pub(super) scope: &'p Scope,
    /// None where a Function is checked by itself.
    pub(super) task: Option<&'p str>,
    /// None where a document is checked by itself.
    pub(super) env: Option<&'p BTreeMap<String, String>>,
}

impl Names for PlanNames<'_> {
    fn look_up(&self, reference: &Reference, span: Span) -> Result<Found, Box<Diagnostic>> {
        match reference {
            Reference::Param(name) => {
                let Some(bound) = self.scope.params.get(name) else {
                    let names = self.scope.params.keys().map(String::as_str);
                    let message = format!("there is no param `{name}`");
                    let problem = Diagnostic::at(span, "unknown-name", message, "not declared");
                    let help = match suggest(name, "params", names) {
                        help if help.starts_with("did") => help,
                        help => format!("{help}; declare it under `spec.params`"),
                    };
                    return Err(Box::new(problem.help(help)));
                };
                let slot = match &bound.slot {
                    BoundSlot::Known(value) => Slot::Known(value.clone()),
                    BoundSlot::Unknown => Found::hole(Some(bound.kind), false).slot,
                    BoundSlot::Late(..) => Found::hole(Some(bound.kind), true).slot,
                };
                Ok(Found { slot, secret: bound.secret })
            }
            Reference::Env(name) => Ok(match self.env {
                None => Found::hole(Some(Kind::String), false),
                Some(env) => Found::known(env.get(name).cloned().map_or(Json::Null, Json::String)),
            }),
            Reference::TaskName => Ok(self.task.map_or_else(|| Found::hole(Some(Kind::String), false), Found::known)),
            Reference::RunId | Reference::RunStarted => Ok(Found::hole(Some(Kind::String), true)),
            Reference::Output { step, field } => self.output(step, field, span),
        }
    }
}

impl PlanNames<'_> {
    fn output(&self, step: &str, field: &str, span: Span) -> Result<Found, Box<Diagnostic>> {
        match self.scope.outputs.get(step) {
            None => {
                let message = format!("there is no step `{step}`");
                let help = suggest(step, "steps", self.scope.outputs.keys().map(String::as_str));
                Err(Box::new(Diagnostic::at(span, "unknown-step", message, "no such step").help(help)))
            }
            Some(Outputs::LeftOut) => Ok(Found::known(Json::Null)),
            Some(Outputs::Unknown) => Ok(Found::hole(None, true)),
            Some(Outputs::Fields(fields)) => match fields.get(field) {
                Some(kind) => Ok(Found::hole(*kind, true)),
                None => {
                    let message = format!("step `{step}` has no output `{field}`");
                    let help = suggest(field, "outputs of this step", fields.keys().map(String::as_str));
                    Err(Box::new(Diagnostic::at(span, "unknown-output", message, "no such output").help(help)))
                }
            },
        }
    }
}
