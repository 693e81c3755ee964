//! The params of an attempt's steps, rendered and typed just before they start.
//!
//! Takes the plan and the outputs of steps that have ended; gives every step ready to run. Always holds: where one step's
//! params are wrong, nothing starts; an output that holds a secret gets to no place that would show it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::Attempt;
use crate::event::Status;
use crate::failure::Failure;
use crate::plan::{LateScope, Params, StepId};
use crate::registry::{FunctionInfo, Prepared};
use crate::report::StepFailure;

impl Attempt<'_> {
    /// Renders what had to wait and types every step's params. Where one is wrong, nothing starts.
    pub(super) fn prepare(&mut self) -> Result<Vec<(StepId, Prepared)>, StepFailure> {
        let steps = &self.plan.pipeline(self.id).steps;
        let mut prepared = Vec::with_capacity(steps.len());
        for id in steps {
            match self.prepare_step(*id) {
                Ok(step) => prepared.push((*id, step)),
                Err(failure) => {
                    let others = Failure::cancelled(format!("step `{}` could not start", self.plan.step(*id).name));
                    for other in steps {
                        let (status, failure) = if other == id {
                            (Status::Failed, failure.clone())
                        } else {
                            (Status::Cancelled, others.clone())
                        };
                        self.board.step_ended(*other, status, Err(failure));
                    }
                    return Err(self.board.blame(*id, failure));
                }
            }
        }
        Ok(prepared)
    }

    fn prepare_step(&self, id: StepId) -> Result<Prepared, Failure> {
        let step = self.plan.step(id);
        let params = match &step.params {
            Params::Known(value) => value.clone(),
            Params::Late(late) => {
                let asked = RefCell::new(BTreeSet::new());
                let outputs = |step| {
                    asked.borrow_mut().insert(step);
                    self.board.outputs(step)
                };
                let params = late.render(&LateScope { run: self.board.run(), outputs: &outputs })?;
                self.refuse_to_show(step.runs.info(), &params, &asked.into_inner())?;
                self.board.hide_secrets(step.runs.info(), &params);
                params
            }
        };
        step.runs.prepare(params).map_err(|error| {
            let place = if error.path.is_empty() { String::new() } else { format!("param `{}`: ", error.path) };
            let failure = Failure::config(format!("{place}{}", error.message));
            match error.help {
                Some(help) => failure.with_help(help),
                None => failure,
            }
        })
    }

    /// Outputs come as they are, so one that holds a secret must not get where it would be shown: into an argument, say.
    fn refuse_to_show(&self, info: &FunctionInfo, params: &Value, asked: &BTreeSet<StepId>) -> Result<(), Failure> {
        for id in asked {
            let mut secret = Vec::new();
            texts(&self.board.outputs(*id), &mut |text| {
                if self.board.secrets().finds(text) {
                    secret.push(text.to_owned());
                }
            });
            if let Some(place) =
                crate::secret::shown_place(&crate::secret::Place::of(info.params.as_value()), params, &secret)
            {
                let from = &self.plan.step(*id).name;
                let message = format!(
                    "an output of step `{from}` holds a secret, and `{place}` of `{}` would show it",
                    info.name
                );
                return Err(Failure::config(message).with_help(
                    "use it only where secrets are hidden (`env`, a password), or keep the secret out of that output",
                ));
            }
        }
        Ok(())
    }
}

/// Every text inside a value.
fn texts(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
