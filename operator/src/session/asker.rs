//! Who asks for a session, and what is to be done before and after it.
//!
//! Takes a `BackupConfiguration` or a `RestoreSession` with its database. Gives the steps and the commands of its hooks. Always holds: a hook that cannot
//! be done, whatever the session's end will be, is known before it begins.

use serde_json::Value as Json;

use super::database::{host, service};
use super::{Draft, Session, Setting};
use crate::amounts::span;
use crate::hooks::{self, Action, Command, Database, Summary};
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfigurationSpec;
use crate::resources::hooks::{Handler, PostHandler};
use crate::resources::restore::RestoreSessionSpec;
use crate::resources::target::TargetRef;

/// Who asks.
#[derive(Debug)]
pub struct Asker {
    summary: Summary,
    database: Database,
    before: Option<Handler>,
    after: Option<PostHandler>,
}

/// What a hook does that is no step of a session.
#[derive(Debug)]
pub enum Apart {
    /// This is to be run as sessions are.
    Run(Box<Session>),
    /// A command in a pod of the database.
    Command(Command),
}

/// How a session ended.
#[derive(Debug, Clone, Copy)]
pub struct End<'e> {
    /// Why it failed; nothing after success.
    pub error: Option<&'e str>,
    /// Whether it is not tried again.
    pub is_final: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Asker {
    /// A `BackupConfiguration` of this name, for a session.
    pub fn of_backup(
        (namespace, name): (&str, &str),
        spec: &BackupConfigurationSpec,
        binding: Option<(&AppBinding, &str)>,
        (session, retry_left): (&str, i32),
    ) -> Self {
        let target = spec.target.as_ref().map(|target| target.r#ref.clone());
        let hooks = spec.hooks.clone().unwrap_or_default();
        Self {
            summary: summary(namespace, ("BackupConfiguration", name), target, (session, retry_left)),
            database: database(binding, namespace),
            before: hooks.pre_backup,
            after: hooks.post_backup,
        }
    }

    /// A `RestoreSession` of this name.
    pub fn of_restore(
        (namespace, name): (&str, &str),
        spec: &RestoreSessionSpec,
        binding: Option<(&AppBinding, &str)>,
    ) -> Self {
        let target = spec.target.as_ref().map(|target| target.r#ref.clone());
        let hooks = spec.hooks.clone().unwrap_or_default();
        Self {
            summary: summary(namespace, ("RestoreSession", name), target, (name, 0)),
            database: database(binding, namespace),
            before: hooks.pre_restore,
            after: hooks.post_restore,
        }
    }

    /// The step before all others, where there is a hook that is one.
    pub(super) fn before(&self, draft: &mut Draft<'_>) -> Option<Json> {
        let made = hooks::action(self.before.as_ref()?, &self.database, &self.summary);
        match look(draft, "its hook before", made)? {
            Action::Step(step) => Some(step),
            Action::Command(_) => None,
        }
    }

    /// What is to be done before all that a session does and is no step of it: a command, or what each of several pods would do. It was looked over
    /// when the session was made.
    pub(crate) fn apart(&self, session: &Session) -> Option<Result<Apart, String>> {
        let action = hooks::action(self.before.as_ref()?, &self.database, &self.summary);
        if matches!(action, Ok(Action::Step(_))) && session.shards.is_none() {
            return None;
        }
        Some(action.and_then(|action| self.alone(action, "before")))
    }

    /// Finds out whether the hook after it could be done, however it ends.
    pub(super) fn check(&self, draft: &mut Draft<'_>) {
        let Some(hook) = &self.after else { return };
        for error in [None, Some("an error")] {
            let made = hooks::action(&hook.handler, &self.database, &self.ended(error, 1.0));
            if look(draft, "its hook after", made).is_none() {
                return;
            }
        }
    }

    /// What is to be run after a session that ended like this; nothing where no hook is due.
    ///
    /// # Errors
    /// The hook cannot be done.
    pub fn after(&self, end: End<'_>) -> Option<Result<Apart, String>> {
        let hook = self.after.as_ref().filter(|hook| hooks::is_due(hook, end.error.is_none(), end.is_final))?;
        let made = hooks::action(&hook.handler, &self.database, &self.ended(end.error, end.seconds));
        Some(made.and_then(|action| self.alone(action, "after")))
    }

    fn alone(&self, action: Action, when: &str) -> Result<Apart, String> {
        let step = match action {
            Action::Command(command) => return Ok(Apart::Command(command)),
            Action::Step(step) => step,
        };
        let draft = Draft::new(Setting::Machine(std::path::Path::new("")));
        let said = format!("The hook {when} the session {}/{}.", self.summary.namespace, self.summary.name);
        let made = draft.finish(said, vec![step]).map_err(|problems| problems.join("; "))?;
        Ok(Apart::Run(Box::new(made)))
    }

    fn ended(&self, error: Option<&str>, seconds: f64) -> Summary {
        Summary {
            phase: if error.is_none() { "Succeeded" } else { "Failed" }.to_owned(),
            duration: span(seconds),
            error: error.unwrap_or_default().to_owned(),
            ..self.summary.clone()
        }
    }
}

/// Looks over what a hook does; there where it can be done.
fn look(draft: &mut Draft<'_>, which: &str, made: Result<Action, String>) -> Option<Action> {
    let is_command = matches!(made, Ok(Action::Command(_)));
    let may = made.and_then(|action| if is_command { draft.setting.may_exec().map(|()| action) } else { Ok(action) });
    let action = draft.take(may.map_err(|why| format!("{which}: {why}")))?;
    if let Action::Command(command) = &action {
        let note = format!(
            "{which} runs a command in a pod of the Service `{}`, which the operator does with `hooks.exec` of its chart",
            command.service
        );
        // It is looked at for each end that the session may have.
        if !draft.notes.contains(&note) {
            draft.notes.push(note);
        }
    }
    Some(action)
}

/// What is known of the database, for who asks from a namespace.
fn database(binding: Option<(&AppBinding, &str)>, namespace: &str) -> Database {
    match binding {
        Some((binding, home)) => Database { host: host(binding, home), service: service(binding, home, namespace) },
        None => Database {
            host: Err("it names no host, and the AppBinding, whose host it is for, is not there".to_owned()),
            service: Err("it has an `exec`, and the AppBinding, whose pods it is for, is not there".to_owned()),
        },
    }
}

fn summary(
    namespace: &str,
    (kind, name): (&str, &str),
    target: Option<TargetRef>,
    (session, retry_left): (&str, i32),
) -> Summary {
    Summary {
        name: session.to_owned(),
        namespace: namespace.to_owned(),
        invoker_kind: kind.to_owned(),
        invoker_name: name.to_owned(),
        target,
        phase: "Running".to_owned(),
        duration: String::new(),
        error: String::new(),
        retry_left,
    }
}
