//! A `BackupConfiguration` to a session, or to two where pods read the shards of a cluster: of each shard a part, and of the parts one snapshot.
//!
//! Always holds: what restores look for is a whole dump; parts have another name, and a tag by which they are removed.

use kube::ResourceExt;
use serde_json::{Map, Value as Json, json};

use super::addon::{Operation, arguments, shards};
use super::apart::{are_alike, said};
use super::database::{Wishes, server};
use super::own::{self, Offer};
use super::repository::location;
use super::steps::{CHECK, DUMP, FORGET, PUSH, STATS};
use super::{Asker, Draft, FILE, SHARD, Session, Setting, meant, put, put_into, target};
use crate::flags;
use crate::hooks::STEP;
use crate::manifests::Manifests;
use crate::resources::backup::{BackupConfiguration, BackupConfigurationSpec, Driver};
use crate::resources::retention::RetentionPolicy;
use crate::substitute::Variables;

/// The file that a shard's dump is in a snapshot of its own.
const PART_FILE: &str = "dumpfile.resp.part";

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
    let own = own::chosen(spec.task.as_ref());
    // Of one's own, the params are the Task's, and the AppBinding's say how the database is read.
    let task = spec.task.as_ref().filter(|_| own.is_none());
    let (mut dump, mut place) = (Map::new(), Map::new());
    if let Some((binding, home)) = draft.take(database) {
        let known = variables(spec, namespace, name, &host);
        let said = draft.take(arguments(manifests, Operation::Backup, task, binding, &known));
        let (args, notes) = said.map(|said| (said.text, said.notes)).unwrap_or_default();
        draft.notes.extend(notes);
        let flags = draft.take(flags::dump(&args)).unwrap_or_default();
        let wishes = Wishes { user: flags.user, tls: flags.tls, insecure: flags.insecure, server_name: None };
        place = server(&mut draft, manifests, binding, &home, wishes).unwrap_or_default();
        put(&mut dump, "databases", flags.database.map(|database| json!([database])));
        put(&mut dump, "filter", flags.filter.map(|pattern| json!({"match": [pattern]})));
        let shards = draft.take(shards(task, binding)).flatten();
        put(&mut dump, "shards", shards.map(Json::from));
        // On a machine, and where the steps are one's own, there is one process, which reads them all.
        draft.shards = shards.filter(|shards| *shards > 1 && setting.is_pod() && own.is_none());
    }
    let repository = repository.unwrap_or_default();
    if spec.paused && !setting.is_pod() {
        draft.notes.push("it is paused, which is for its schedule: this runs it all the same".to_owned());
    }
    let summary = format!("The BackupConfiguration {namespace}/{name}.");
    if let Some(task) = own {
        let offers = offers(place, dump, &repository, &host);
        let mut steps = own::compose(&mut draft, manifests, namespace, task, offers, before.is_some());
        bound(&mut steps, spec, setting);
        let after: Vec<Json> = steps.iter().map(|step| step["name"].clone()).collect();
        let mut afterwards = afterwards(spec, &host, &repository, after, setting);
        afterwards.iter_mut().for_each(|step| draft.fill(step));
        let steps = before.into_iter().chain(steps).chain(afterwards).collect();
        let session = draft.finish(summary, steps)?;
        return Ok(Session { asker: Some(asker), ..session });
    }
    dump.extend(place);
    let is_part = draft.shards.is_some();
    let mut push = repository.clone();
    push.extend(stored(if is_part { PART_FILE } else { FILE }, &host));
    if is_part {
        dump.insert("joined".to_owned(), json!(true));
        dump.insert("shard".to_owned(), draft.param(SHARD));
        push.insert("tags".to_owned(), json!([part_tag(configuration)]));
    }
    // Each of several pods would do it.
    let before = before.filter(|_| !is_part);
    let pushing = json!({"name": PUSH, "function": "restic-push", "stdin": DUMP, "params": push});
    let mut dumping = json!({"name": DUMP, "function": "redis-dump", "params": dump});
    put_into(&mut dumping, "needs", before.as_ref().map(|_| json!([STEP])));
    let mut steps: Vec<Json> = before.into_iter().chain([dumping, pushing]).collect();
    bound(&mut steps, spec, setting);
    if !is_part {
        steps.extend(afterwards(spec, &host, &repository, vec![json!(PUSH)], setting));
    }
    let session = draft.finish(summary, steps)?;
    Ok(Session { asker: Some(asker), ..session })
}

/// The session that makes one snapshot of those of a `BackupConfiguration`'s shards, in their order.
///
/// # Errors
/// All reasons why there is none, in a line each.
pub fn join(
    manifests: &Manifests,
    name: &str,
    setting: Setting<'_>,
    snapshots: &[&str],
) -> Result<Session, Vec<String>> {
    let ((namespace, name), configuration) = meant(&manifests.backups, "BackupConfiguration", Some(name))?;
    let (spec, mut draft) = (&configuration.spec, Draft::new(setting));
    let host = spec.host();
    let repository = location(&mut draft, manifests, &spec.repository, namespace).unwrap_or_default();
    let mut join = repository.clone();
    join.extend(stored(FILE, &host));
    join.insert("snapshots".to_owned(), json!(snapshots));
    join.insert("partTag".to_owned(), json!(part_tag(configuration)));
    let mut steps = vec![json!({"name": PUSH, "function": "restic-join", "params": join})];
    steps.extend(afterwards(spec, &host, &repository, vec![json!(PUSH)], setting));
    draft.finish(format!("The shards of the BackupConfiguration {namespace}/{name}."), steps)
}

/// What a Task of the user's own may do with what the session knows.
fn offers(
    place: Map<String, Json>,
    usual: Map<String, Json>,
    repository: &Map<String, Json>,
    host: &str,
) -> Vec<Offer> {
    let mut pulled = repository.clone();
    pulled.insert("filename".to_owned(), json!(FILE));
    let mut pushed = pulled.clone();
    pushed.insert("host".to_owned(), json!(host));
    let checked = Map::from_iter([("verify".to_owned(), json!("index"))]);
    vec![
        Offer { word: "session-dump", function: "redis-dump", step: Some(DUMP), fixed: place, usual },
        Offer { word: "session-push", function: "restic-push", step: Some(PUSH), fixed: pushed, usual: checked },
        // Such as what was stored a moment ago, for a rehearsal.
        Offer { word: "session-pull", function: "restic-pull", step: None, fixed: pulled, usual: Map::new() },
    ]
}

/// How long storing may take, and on a machine how often it is tried; where a Task of the user's own says so itself, as it says.
fn bound(steps: &mut [Json], spec: &BackupConfigurationSpec, setting: Setting<'_>) {
    let says = |steps: &[Json], word: &str| steps.iter().any(|step| !step[word].is_null());
    let (is_timed, is_retried) = (says(steps, "timeout"), says(steps, "retry"));
    let Some(push) = steps.iter_mut().find(|step| step["name"] == PUSH) else { return };
    put_into(push, "timeout", spec.time_out.clone().filter(|_| !is_timed).map(Json::from));
    if !setting.is_pod() && !is_retried {
        put_into(push, "retry", spec.retry_config.as_ref().map(retry));
    }
}

/// What a snapshot is stored as.
fn stored(file: &str, host: &str) -> [(String, Json); 3] {
    let what = [("filename", file), ("host", host), ("verify", "index")];
    what.map(|(name, value)| (name.to_owned(), json!(value)))
}

/// What all parts have, and nothing of anybody else: they are removed by it.
fn part_tag(configuration: &BackupConfiguration) -> String {
    let (namespace, name) = (configuration.namespace().unwrap_or_default(), configuration.name_any());
    format!("aquifer-part-of-{}", configuration.uid().unwrap_or_else(|| format!("{namespace}/{name}")))
}

/// What is done in the repository once the snapshot is there, and all that has to be done before.
fn afterwards(
    spec: &BackupConfigurationSpec,
    host: &str,
    repository: &Map<String, Json>,
    mut after: Vec<Json>,
    setting: Setting<'_>,
) -> Vec<Json> {
    let mut steps = Vec::new();
    if let Some(rules) = rules(&spec.retention_policy) {
        let mut forget = repository.clone();
        forget.extend(rules);
        forget.insert("filter".to_owned(), json!({"host": host, "paths": [format!("/{FILE}")]}));
        steps.push(json!({"name": FORGET, "function": "restic-forget", "needs": after, "params": forget}));
        after = vec![json!(FORGET)];
    }
    if setting.is_pod() {
        // What the Repository's status tells.
        steps.push(json!({"name": CHECK, "function": "restic-check", "needs": after, "params": repository}));
        steps.push(json!({"name": STATS, "function": "restic-stats", "needs": [CHECK], "params": repository}));
    }
    steps
}

/// Who else's snapshots look like its own.
fn alike(manifests: &Manifests, own: (&str, &str), spec: &BackupConfigurationSpec) -> Vec<String> {
    let known = |home: &str, name: &str| manifests.repositories.get(&(home.to_owned(), name.to_owned()));
    let others = manifests.backups.iter().map(|((home, name), other)| ((home.as_str(), name.as_str()), &other.spec));
    let others = others.filter(|(key, other)| *key != own && are_alike((own.0, spec), (key.0, other), known));
    others.map(|(key, other)| said((own.0, spec), (key.0, other), key.1)).collect()
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
    if spec.retention_policy.prune && rules(&spec.retention_policy).is_none() {
        let said = "`retentionPolicy` has `prune` and no rule with a number above 0 or a tag, so all snapshots stay: say `keepLast` or another";
        draft.notes.push(said.to_owned());
    }
    draft.odd(spec.target.as_ref().map(|target| &target.r#ref));
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
