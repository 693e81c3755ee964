//! Which task a session is, and with which arguments.
//!
//! Takes what the session, the AppBinding and Stash's Tasks and Functions say. Gives the text of the arguments. Always holds: of several
//! that say what a variable stands for, the one wins that wins in Stash; a program that is not Stash's addon for Redis is refused.

use std::collections::BTreeMap;

use aquifer_engine::diagnostic::suggest;

use crate::manifests::Manifests;
use crate::resources::app_binding::{AddonTask, AppBinding};
use crate::resources::target::{Param, TaskParam, TaskRef};
use crate::substitute::{Variables, names, substitute};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Backup,
    Restore,
}

impl Operation {
    fn task(self, binding: &AppBinding) -> Result<AddonTask, String> {
        let addon = binding.spec.addon()?.unwrap_or_default();
        Ok(if self == Self::Backup { addon.backup_task } else { addon.restore_task })
    }

    /// What Stash's tasks are called, before their versions.
    fn prefix(self) -> &'static str {
        if self == Self::Backup { "redis-backup-" } else { "redis-restore-" }
    }

    /// Params of ours, which Stash's addon does not know.
    fn words(self) -> &'static [&'static str] {
        if self == Self::Backup { &["shards"] } else { &[] }
    }

    /// The word by which Stash's addon knows what to do.
    fn word(self) -> &'static str {
        if self == Self::Backup { "backup-redis" } else { "restore-redis" }
    }
}

/// The word of the function that writes a session's result down, which is the engine's own work here.
const UPDATE_STATUS: &str = "update-status";

/// What is said to the program that dumps or restores.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// Its arguments.
    pub(super) text: String,
    /// What is odd about the params.
    pub(super) notes: Vec<String>,
}

/// What is said to the program that dumps or restores.
pub(super) fn arguments(
    manifests: &Manifests,
    operation: Operation,
    task: Option<&TaskRef>,
    binding: &AppBinding,
    known: &Variables,
) -> Result<Arguments, String> {
    let addon = operation.task(binding)?;
    let chosen = task.map(|task| task.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(&addon.name);
    if let Some(param) = task.iter().flat_map(|task| &task.params).find(|param| param.value_from.is_some()) {
        return Err(format!(
            "the task's param `{}` has a `valueFrom`, which only a Task of aquifer.dev can have: such a Task is named with `apiGroup: aquifer.dev`",
            param.name
        ));
    }
    let over = said(&addon.params, task);
    let Some(own) = manifests.tasks.get(&(String::new(), chosen.to_owned())) else {
        // A Redis without a word about its task is one all the same.
        let version = chosen.strip_prefix(operation.prefix());
        let is_known = version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()));
        if !chosen.is_empty() && !is_known {
            return Err(format!(
                "the task `{chosen}` is not among the manifests, and none of those that are known here: `{0}` and a version, such as `{0}6.2.5`",
                operation.prefix()
            ));
        }
        let read = [&["args"], operation.words()].concat();
        let text = over.get("args").cloned().unwrap_or_default();
        return Ok(Arguments { text, notes: unread(over.keys(), &read) });
    };
    let mut found = None;
    for step in &own.spec.steps {
        let function = manifests.functions.get(&(String::new(), step.name.clone()));
        let function = function
            .ok_or_else(|| format!("the Function `{}` of the task `{chosen}` is not among the manifests", step.name))?;
        let mut variables = said(&step.params, None);
        variables.extend(known.clone());
        variables.extend(over.clone());
        match function.spec.args.first().map(String::as_str) {
            Some(word) if word == operation.word() => {
                let all = &function.spec.args[1..];
                let named: Vec<&str> = all.iter().flat_map(|arg| names(arg)).collect();
                let read = [&named[..], operation.words()].concat();
                found = Some(Arguments { text: addon_args(all, &variables)?, notes: unread(over.keys(), &read) });
            }
            Some(UPDATE_STATUS) => {}
            _ => {
                let image = function.spec.image.as_deref().unwrap_or("no image");
                return Err(format!(
                    "the Function `{}` runs `{image}`, which is not Stash's addon for Redis: only that is known here",
                    step.name
                ));
            }
        }
    }
    found.ok_or_else(|| format!("no Function of the task `{chosen}` does `{}`", operation.word()))
}

/// Params that Stash's addon has, or had, and which say nothing here.
const WITHOUT_MEANING: [&str; 2] = ["outputDir", "waitTimeout"];

/// Those of these params that nobody reads, in words: such as one that is misspelt. Stash takes them in silence, so they stop nothing here.
fn unread<'p>(params: impl Iterator<Item = &'p String>, read: &[&str]) -> Vec<String> {
    // Of its own variables, which all look so, Stash lets any be replaced.
    let is_variable =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_read = |name: &str| read.contains(&name) || WITHOUT_MEANING.contains(&name) || is_variable(name);
    let all = params.filter(|name| !is_read(name));
    all.map(|name| {
        format!("the task's param `{name}` is read by nobody: {}", suggest(name, "params", read.iter().copied()))
    })
    .collect()
}

/// The most shards that a pod each is made for.
const MOST_SHARDS: u32 = 256;

/// How many shards a cluster is said to have, of which each is to be read by a pod of its own: a word of ours, which Stash's addon does not know.
pub(super) fn shards(task: Option<&TaskRef>, binding: &AppBinding) -> Result<Option<u32>, String> {
    let addon = Operation::Backup.task(binding)?;
    let Some(said) = said(&addon.params, task).remove("shards") else { return Ok(None) };
    let shards = said.trim().parse::<u32>().ok().filter(|shards| (1..=MOST_SHARDS).contains(shards));
    shards
        .map(Some)
        .ok_or_else(|| format!("the task's param `shards` is `{said}`, and no number from 1 to {MOST_SHARDS}"))
}

/// Params by name; those of a session's task win.
fn said(params: &[Param], task: Option<&TaskRef>) -> BTreeMap<String, String> {
    let own = |param: &TaskParam| (param.name.clone(), param.value.clone());
    let first = params.iter().map(|param| (param.name.clone(), param.value.clone()));
    first.chain(task.iter().flat_map(|task| task.params.iter().map(own))).collect()
}

/// The value of `--redis-args` among a Function's own, which say beside it what the session says already.
fn addon_args(args: &[String], variables: &Variables) -> Result<String, String> {
    let mut found = String::new();
    for arg in args {
        let arg = substitute(arg, variables)?;
        if let Some(value) = arg.strip_prefix("--redis-args=") {
            found = value.to_owned();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::app_binding::AppBindingSpec;

    fn binding(parameters: serde_json::Value) -> AppBinding {
        AppBinding::new("db", AppBindingSpec { parameters: Some(parameters), ..AppBindingSpec::default() })
    }

    fn task(name: &str, args: Option<&str>) -> TaskRef {
        let params = args.map(|args| TaskParam { name: "args".into(), value: args.into(), value_from: None });
        TaskRef { name: name.into(), params: params.into_iter().collect(), ..TaskRef::default() }
    }

    fn shards_of(binding: &AppBinding, said: &str) -> Result<Option<u32>, String> {
        let params = vec![TaskParam { name: "shards".into(), value: said.into(), value_from: None }];
        shards(Some(&TaskRef { params, ..TaskRef::default() }), binding)
    }

    #[test]
    fn a_param_that_nobody_reads_is_told_of() {
        let addon = json!({"stash": {"addon": {"backupTask": {"name": "redis-backup-6.2.5", "params": [{"name": "arg", "value": "-db 1"}]}}}});
        let binding = binding(addon);
        let told = |operation: Operation, manifests: &Manifests, task: &str, names: &[&str]| {
            let params =
                names.iter().map(|name| TaskParam { name: (*name).to_owned(), ..TaskParam::default() }).collect();
            let task = TaskRef { name: task.into(), params, ..TaskRef::default() };
            arguments(manifests, operation, Some(&task), &binding, &Variables::new()).expect("arguments").notes
        };
        let none = Manifests::default();
        let misspelt = "the task's param `arg` is read by nobody: did you mean `args`?";
        assert_eq!(told(Operation::Backup, &none, "", &["args", "shards", "waitTimeout", "ENABLE_CACHE"]), [misspelt]);
        let restore = told(Operation::Restore, &none, "", &["shards", "args"]);
        assert_eq!(restore, ["the task's param `shards` is read by nobody: the params are `args`"]);
        let mut own = Manifests::default();
        let task = json!({"metadata": {"name": "own"}, "spec": {"steps": [{"name": "dump"}]}});
        let function =
            json!({"metadata": {"name": "dump"}, "spec": {"args": ["backup-redis", "--redis-args=${arg:=}"]}});
        own.tasks.insert((String::new(), "own".into()), serde_json::from_value(task).expect("a task"));
        own.functions.insert((String::new(), "dump".into()), serde_json::from_value(function).expect("a function"));
        assert!(told(Operation::Backup, &own, "own", &["shards"]).is_empty());
        assert_eq!(told(Operation::Backup, &own, "own", &["args"]).len(), 1, "that Function has another word for it");
    }

    #[test]
    fn the_sessions_own_word_wins_over_the_app_bindings() {
        let none = Manifests::default();
        let addon = json!({"stash": {"addon": {"backupTask": {"name": "redis-backup-6.2.5", "params": [{"name": "args", "value": "-db 1"}]}}}});
        let binding = binding(addon);
        let args = |task: Option<&TaskRef>| {
            arguments(&none, Operation::Backup, task, &binding, &Variables::new()).map(|said| said.text)
        };
        assert_eq!(args(None), Ok("-db 1".into()));
        assert_eq!(args(Some(&task("", None))), Ok("-db 1".into()));
        assert_eq!(args(Some(&task("redis-backup-7.0.5", Some("-db 2")))), Ok("-db 2".into()));
        for wrong in ["mysql-backup-8.0", "redis-backup-banana", "redis-backup-", "redis-restore-6.2.5"] {
            assert!(args(Some(&task(wrong, None))).expect_err("none").contains(&format!("the task `{wrong}`")));
        }
        let said = |shards: &str| shards_of(&binding, shards);
        assert_eq!((shards(None, &binding), said("3"), said("1")), (Ok(None), Ok(Some(3)), Ok(Some(1))));
        for wrong in ["0", "257", "three", "-1", ""] {
            assert!(said(wrong).expect_err(wrong).contains("from 1 to 256"));
        }
        let restore = arguments(&none, Operation::Restore, None, &binding, &Variables::new());
        let restore = restore.map(|said| said.text);
        assert_eq!(restore, Ok(String::new()), "the backup's params are not the restore's");
    }
}
