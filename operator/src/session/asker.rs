//! Who asks for a session, and what is to be done before and after it.
//!
//! Takes a `BackupConfiguration` or a `RestoreSession` with its database. Gives the steps of its hooks. Always holds: a hook that cannot be done, whatever
//! the session's end will be, is known before it begins.

use serde_json::Value as Json;

use super::database::host;
use super::{Draft, Session, Setting};
use crate::amounts::span;
use crate::hooks::{self, Summary};
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfigurationSpec;
use crate::resources::hooks::{Handler, PostHandler};
use crate::resources::restore::RestoreSessionSpec;
use crate::resources::target::TargetRef;

/// Who asks.
#[derive(Debug)]
pub struct Asker {
    summary: Summary,
    /// The host of the database; hooks that name none are for it.
    host: Result<String, String>,
    before: Option<Handler>,
    after: Option<PostHandler>,
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
            host: database(binding),
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
            host: database(binding),
            before: hooks.pre_restore,
            after: hooks.post_restore,
        }
    }

    /// The step before all others, where there is a hook.
    pub(super) fn before(&self, draft: &mut Draft<'_>) -> Option<Json> {
        let made = hooks::step(self.before.as_ref()?, &self.host, &self.summary);
        draft.take(made.map_err(|why| format!("its hook before: {why}")))
    }

    /// Finds out whether the hook after it could be done, however it ends.
    pub(super) fn check(&self, draft: &mut Draft<'_>) {
        let Some(hook) = &self.after else { return };
        for error in [None, Some("an error")] {
            let made = hooks::step(&hook.handler, &self.host, &self.ended(error, 1.0));
            if draft.take(made.map_err(|why| format!("its hook after: {why}"))).is_none() {
                return;
            }
        }
    }

    /// What is to be run after a session that ended like this; nothing where no hook is due.
    ///
    /// # Errors
    /// The hook cannot be done.
    pub fn after(&self, end: End<'_>) -> Option<Result<Session, String>> {
        let hook = self.after.as_ref().filter(|hook| hooks::is_due(hook, end.error.is_none(), end.is_final))?;
        let made = hooks::step(&hook.handler, &self.host, &self.ended(end.error, end.seconds)).and_then(|step| {
            let draft = Draft::new(Setting::Machine(std::path::Path::new("")));
            let said = format!("The hook after the session {}/{}.", self.summary.namespace, self.summary.name);
            draft.finish(said, vec![step]).map_err(|problems| problems.join("; "))
        });
        Some(made)
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

fn database(binding: Option<(&AppBinding, &str)>) -> Result<String, String> {
    let missing = || "it names no host, and the AppBinding, whose host it is for, is not there".to_owned();
    binding.ok_or_else(missing).and_then(|(binding, namespace)| host(binding, namespace))
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
