//! A `BackupConfiguration` to a session.

use serde_json::{Map, Value as Json, json};

use super::addon::{Operation, arguments};
use super::database::{Wishes, server};
use super::repository::location;
use super::{Draft, FILE, HOST, Session, meant, put, put_into, target};
use crate::flags;
use crate::manifests::Manifests;
use crate::resources::backup::{BackupConfigurationSpec, Driver};
use crate::resources::retention::RetentionPolicy;
use crate::substitute::Variables;

/// The session of a `BackupConfiguration`: of this name, with or without its namespace in front, or the only one.
///
/// # Errors
/// All reasons why there is none, in a line each.
pub fn backup(manifests: &Manifests, name: Option<&str>) -> Result<Session, Vec<String>> {
    let ((namespace, name), placed) = meant(&manifests.backups, "BackupConfiguration", name)?;
    let spec = &placed.it.spec;
    let mut draft = Draft::default();
    refuse(&mut draft, spec);
    let host = spec.target.as_ref().and_then(|target| target.alias.clone()).unwrap_or_else(|| HOST.to_owned());
    let database = target(manifests, spec.target.as_ref().map(|target| &target.r#ref), namespace);
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
    put_into(&mut pushing, "retry", spec.retry_config.as_ref().map(retry));
    let mut steps = vec![json!({"name": "dump", "function": "redis-dump", "params": dump}), pushing];
    if let Some(rules) = rules(&spec.retention_policy) {
        let mut forget = repository;
        forget.extend(rules);
        forget.insert("filter".to_owned(), json!({"host": host, "paths": [format!("/{FILE}")]}));
        steps.push(json!({"name": "forget", "function": "restic-forget", "needs": ["push"], "params": forget}));
    }
    if spec.paused {
        draft.notes.push("it is paused, which is for its schedule: this runs it all the same".to_owned());
    }
    draft.finish(format!("The BackupConfiguration {namespace}/{name}."), steps)
}

fn retry(config: &crate::resources::backup::RetryConfig) -> Json {
    let attempts = config.max_retry.unwrap_or(1).saturating_add(1);
    let mut retry = Map::from_iter([("attempts".to_owned(), json!(attempts))]);
    put(&mut retry, "backoff", config.delay.clone().map(Json::from));
    retry.into()
}

/// What a manifest can ask for and is not done here.
fn refuse(draft: &mut Draft, spec: &BackupConfigurationSpec) {
    if spec.driver == Some(Driver::VolumeSnapshotter) {
        draft.problems.push("its driver is `VolumeSnapshotter`, which copies volumes and not databases".to_owned());
    }
    if spec.hooks.as_ref().is_some_and(|hooks| hooks.pre_backup.is_some() || hooks.post_backup.is_some()) {
        draft.problems.push("it has hooks, which are not run without a cluster".to_owned());
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
