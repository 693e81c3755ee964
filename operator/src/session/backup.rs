//! A `BackupConfiguration` to a session.

use serde_json::{Map, Value as Json, json};

use super::addon::{Operation, arguments};
use super::apart::{are_alike, said};
use super::database::{Wishes, server};
use super::repository::location;
use super::{Asker, Draft, FILE, Session, Setting, meant, put, put_into, target};
use crate::flags;
use crate::hooks::STEP;
use crate::manifests::Manifests;
use crate::resources::backup::{BackupConfigurationSpec, Driver};
use crate::resources::retention::RetentionPolicy;
use crate::substitute::Variables;

/// The session of a `BackupConfiguration`: of this name, with or without its namespace in front, or the only one.
///
/// # Errors
/// All reasons why there is none, in a line each.
pub fn backup(manifests: &Manifests, name: Option<&str>, setting: Setting<'_>) -> Result<Session, Vec<String>> {
    let ((namespace, name), configuration) = meant(&manifests.backups, "BackupConfiguration", name)?;
    let spec = &configuration.spec;
    let mut draft = Draft::new(setting);
    refuse(&mut draft, spec);
    settings(&mut draft, spec);
    draft.period("timeOut", spec.time_out.as_ref());
    draft.period("retryConfig.delay", spec.retry_config.as_ref().and_then(|retry| retry.delay.as_ref()));
    draft.notes.extend(alike(manifests, (namespace, name), spec));
    let host = spec.host();
    let database = target(manifests, spec.target.as_ref().map(|target| &target.r#ref), namespace);
    let binding = database.as_ref().ok().map(|(binding, home)| (*binding, home.as_str()));
    let asker = Asker::of_backup((namespace, name), spec, binding, setting.session(name));
    let before = asker.before(&mut draft);
    asker.check(&mut draft);
    let repository = location(&mut draft, manifests, &spec.repository, namespace);
    let mut dump = Map::new();
    if let Some((binding, home)) = draft.take(database) {
        let known = variables(spec, namespace, name, &host);
        let args = draft.take(arguments(manifests, Operation::Backup, spec.task.as_ref(), binding, &known));
        let flags = draft.take(flags::dump(args.as_deref().unwrap_or_default())).unwrap_or_default();
        let wishes = Wishes { user: flags.user, tls: flags.tls, insecure: flags.insecure, server_name: None };
        dump = server(&mut draft, manifests, binding, &home, wishes).unwrap_or_default();
        put(&mut dump, "databases", flags.database.map(|database| json!([database])));
        put(&mut dump, "filter", flags.filter.map(|pattern| json!({"match": [pattern]})));
    }
    let repository = repository.unwrap_or_default();
    let mut push = repository.clone();
    push.extend([
        ("filename".to_owned(), json!(FILE)),
        ("host".to_owned(), json!(host)),
        ("verify".to_owned(), json!("index")),
    ]);
    let mut pushing = json!({"name": "push", "function": "restic-push", "stdin": "dump", "params": push});
    put_into(&mut pushing, "timeout", spec.time_out.clone().map(Json::from));
    if !setting.is_pod() {
        put_into(&mut pushing, "retry", spec.retry_config.as_ref().map(retry));
    }
    let mut dumping = json!({"name": "dump", "function": "redis-dump", "params": dump});
    put_into(&mut dumping, "needs", before.as_ref().map(|_| json!([STEP])));
    let mut steps: Vec<Json> = before.into_iter().chain([dumping, pushing]).collect();
    let stored = steps.len();
    if let Some(rules) = rules(&spec.retention_policy) {
        let mut forget = repository.clone();
        forget.extend(rules);
        forget.insert("filter".to_owned(), json!({"host": host, "paths": [format!("/{FILE}")]}));
        steps.push(json!({"name": "forget", "function": "restic-forget", "needs": ["push"], "params": forget}));
    }
    if setting.is_pod() {
        // What the Repository's status tells.
        let after = if steps.len() > stored { "forget" } else { "push" };
        steps.push(json!({"name": "check", "function": "restic-check", "needs": [after], "params": repository}));
        steps.push(json!({"name": "stats", "function": "restic-stats", "needs": ["check"], "params": repository}));
    }
    if spec.paused && !setting.is_pod() {
        draft.notes.push("it is paused, which is for its schedule: this runs it all the same".to_owned());
    }
    let session = draft.finish(format!("The BackupConfiguration {namespace}/{name}."), steps)?;
    Ok(Session { asker: Some(asker), ..session })
}

/// Who else's snapshots look like its own.
fn alike(manifests: &Manifests, own: (&str, &str), spec: &BackupConfigurationSpec) -> Vec<String> {
    let known = |home: &str, name: &str| manifests.repositories.get(&(home.to_owned(), name.to_owned()));
    let others = manifests.backups.iter().map(|((home, name), other)| ((home.as_str(), name.as_str()), &other.spec));
    let others = others.filter(|(key, other)| *key != own && are_alike((own.0, spec), (key.0, other), known));
    others.map(|(key, _)| said(spec, key)).collect()
}

fn retry(config: &crate::resources::backup::RetryConfig) -> Json {
    let attempts = config.max_retry.unwrap_or(1).saturating_add(1);
    let mut retry = Map::from_iter([("attempts".to_owned(), json!(attempts))]);
    put(&mut retry, "backoff", config.delay.clone().map(Json::from));
    retry.into()
}

/// What is asked for and not done, where that loses nothing: it is said.
fn settings(draft: &mut Draft<'_>, spec: &BackupConfigurationSpec) {
    draft.leave_out(spec.runtime_settings.as_ref());
    let Some(target) = &spec.target else { return };
    let left_out = [
        ("paths", !target.paths.is_empty()),
        ("exclude", !target.exclude.is_empty()),
        ("args", !target.args.is_empty()),
        ("volumeMounts", !target.volume_mounts.is_empty()),
    ];
    for (name, _) in left_out.iter().filter(|(_, is)| *is) {
        draft.notes.push(format!("`target.{name}` is left out: a database is backed up as a whole"));
    }
}

/// What a manifest can ask for and is not done here.
fn refuse(draft: &mut Draft<'_>, spec: &BackupConfigurationSpec) {
    if spec.driver == Some(Driver::VolumeSnapshotter) {
        draft.problems.push("its driver is `VolumeSnapshotter`, which copies volumes and not databases".to_owned());
    }
}

/// What restic is told to keep; nothing where nothing is said, for then all stays.
fn rules(policy: &RetentionPolicy) -> Option<Map<String, Json>> {
    let mut rules = Map::new();
    for (name, count) in [
        ("keepLast", policy.keep_last),
        ("keepHourly", policy.keep_hourly),
        ("keepDaily", policy.keep_daily),
        ("keepWeekly", policy.keep_weekly),
        ("keepMonthly", policy.keep_monthly),
        ("keepYearly", policy.keep_yearly),
    ] {
        put(&mut rules, name, count.filter(|count| *count > 0).map(Json::from));
    }
    put(&mut rules, "keepTags", (!policy.keep_tags.is_empty()).then(|| json!(policy.keep_tags)));
    if rules.is_empty() {
        return None;
    }
    rules.extend([("prune".to_owned(), json!(policy.prune)), ("dryRun".to_owned(), json!(policy.dry_run))]);
    Some(rules)
}

/// What variables of Stash's Functions stand for.
fn variables(spec: &BackupConfigurationSpec, namespace: &str, name: &str, host: &str) -> Variables {
    let target = spec.target.as_ref().map(|target| &target.r#ref);
    let mut variables = Variables::from([
        ("NAMESPACE".to_owned(), namespace.to_owned()),
        ("INVOKER_KIND".to_owned(), "BackupConfiguration".to_owned()),
        ("INVOKER_NAME".to_owned(), name.to_owned()),
        ("HOSTNAME".to_owned(), host.to_owned()),
        ("REPOSITORY_NAME".to_owned(), spec.repository.name.clone()),
    ]);
    if let Some(target) = target {
        variables.insert("TARGET_NAME".to_owned(), target.name.clone());
        variables.insert("TARGET_KIND".to_owned(), target.kind.clone());
        variables
            .insert("TARGET_NAMESPACE".to_owned(), target.namespace.clone().unwrap_or_else(|| namespace.to_owned()));
    }
    variables
}
