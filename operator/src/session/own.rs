//! A Task of the user's own as a session.
//!
//! Takes the Task that a `BackupConfiguration` or a `RestoreSession` names, the Functions beside it, and what the session knows: where the database and the
//! repository are, and the secrets that open them. Gives the steps, in which each that asks for one of these by a function of the session's (`session-dump`
//! and the like) has it. Always holds: a Task gets these only in the steps that do what the session is for, which are there once, are never left out, and
//! have the names that statuses are read by; what is stored or restored comes from where it is to come from; where a snapshot lies and whose it is, no Task says; a mistake is known before anything runs, with its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::secrets::{Held, values};
use super::{Draft, Session, found, put_into, steps};
use crate::hooks::STEP;
use crate::manifests::Manifests;
use crate::resources::own::{OwnFunction, OwnStep, OwnTask, StepWhen};
use crate::resources::target::{TaskParam, TaskRef};

/// The version of our own documents.
pub(super) const VERSION: &str = "aquifer.dev/v1alpha1";

/// What a step can do with what only the session knows.
#[derive(Debug)]
pub(super) struct Offer {
    /// The function by which a step asks for it.
    pub(super) word: &'static str,
    /// The function that it is.
    pub(super) function: &'static str,
    /// The name of the only step that it is, which the session must have; nothing where it may be any, or none.
    pub(super) step: Option<&'static str>,
    /// The params that the session alone says.
    pub(super) fixed: Map<String, Json>,
    /// The params that hold where the step says nothing.
    pub(super) usual: Map<String, Json>,
}

/// A Task of one's own, as far as it is put together.
#[derive(Debug)]
pub(super) struct Own {
    /// Its namespace and name.
    name: String,
    /// What it declares.
    params: Vec<Json>,
    /// What is given for that.
    values: BTreeMap<String, Held>,
    /// How many of its pipelines may run at once, where it says so.
    concurrency: Option<i64>,
    /// The functions that it uses, by name.
    functions: BTreeMap<String, Json>,
}

/// The Task of the user's own that is meant, where one is.
pub(super) fn chosen(task: Option<&TaskRef>) -> Option<&TaskRef> {
    task.filter(|task| task.is_own())
}

/// Its steps; those that wait for nothing wait for the hook before, where there is one. Nothing where it is not there.
pub(super) fn compose(
    draft: &mut Draft<'_>,
    manifests: &Manifests,
    namespace: &str,
    task: &TaskRef,
    mut offers: Vec<Offer>,
    has_hook: bool,
) -> Vec<Json> {
    draft.is_filled = true;
    let found = found(&manifests.own_tasks, "Task of aquifer.dev", namespace, &task.name);
    let Some(own) = draft.take(found) else { return Vec::new() };
    let mut made = Own {
        name: format!("{namespace}/{}", task.name),
        params: own.spec.params.iter().map(|param| json!(param)).collect(),
        concurrency: own.spec.concurrency,
        values: BTreeMap::new(),
        functions: functions(manifests, namespace, own),
    };
    for param in &own.spec.params {
        if draft.secrets.contains_key(&param.name) {
            draft.problems.push(format!(
                "the Task `{}` has a param `{}`, which is one of the session's own: rename it",
                made.name, param.name
            ));
        }
    }
    for param in &task.params {
        let is_shown = own.spec.params.iter().any(|declared| declared.name == param.name && !declared.secret);
        if param.value_from.is_some() && is_shown {
            draft.problems.push(format!(
                "the task's param `{}` comes from a Secret, and the Task `{}` would show it: declare it with `secret: true`",
                param.name, made.name
            ));
        }
        let value = value(manifests, namespace, param);
        if let Some(value) = draft.take(value) {
            made.values.insert(param.name.clone(), value);
        }
    }
    if let Err(why) = bounded(&made, own) {
        draft.problems.push(why);
        return Vec::new();
    }
    for offer in &mut offers {
        offer.fixed.values_mut().chain(offer.usual.values_mut()).for_each(|value| draft.fill(value));
    }
    named(draft, &made.name, own, &offers);
    let steps = own.spec.steps.iter().filter_map(|written| {
        let filled = step(written, &offers, has_hook);
        draft.take(filled.map_err(|why| format!("the Task `{}`: the step `{}`: {why}", made.name, written.name)))
    });
    let steps = steps.collect();
    draft.own = Some(made);
    steps
}

/// Looks whether the steps by which the session is told of are there, once, and have their names.
fn named(draft: &mut Draft<'_>, name: &str, own: &OwnTask, offers: &[Offer]) {
    let all = &own.spec.steps;
    for (offer, wanted) in offers.iter().filter_map(|offer| Some((offer, offer.step?))) {
        let mut with = all.iter().filter(|step| step.function == offer.word);
        match (with.next(), with.next()) {
            (Some(step), None) if step.name == wanted => {
                if step.condition.is_some() || step.when.is_some_and(|when| when != StepWhen::Success) {
                    draft.problems.push(format!(
                        "the Task `{name}`: the step `{wanted}` is what the session is for, and may not be left out: take away its `if` and `when`"
                    ));
                }
            }
            (Some(step), None) => draft.problems.push(format!(
                "the Task `{name}`: the step `{}` with the function `{}` has to be called `{wanted}`: what it does is told of by that name",
                step.name, offer.word
            )),
            (None, _) => draft.problems.push(format!(
                "the Task `{name}` has no step with the function `{}`, which is what the session is for: add `{{name: {wanted}, function: {}}}`",
                offer.word, offer.word
            )),
            (Some(_), Some(_)) => {
                draft.problems.push(format!("the Task `{name}` has several steps with the function `{}`: one session has one", offer.word));
            }
        }
    }
    let ends: Vec<&str> = offers.iter().filter_map(|offer| offer.step).collect();
    if let [source, sink] = ends[..]
        && all.iter().any(|step| step.name == source)
        && first(all, sink).is_some_and(|first| first != source)
    {
        draft.problems.push(format!(
            "the Task `{name}`: what the step `{sink}` reads does not come from the step `{source}`: lead it there by `stdin`"
        ));
    }
    let taken: Vec<&str> =
        offers.iter().filter_map(|offer| offer.step).chain([STEP, steps::FORGET, steps::CHECK, steps::STATS]).collect();
    let is_its =
        |step: &OwnStep| offers.iter().any(|offer| offer.word == step.function && offer.step == Some(&step.name));
    for step in all.iter().filter(|step| taken.contains(&step.name.as_str()) && !is_its(step)) {
        draft.problems.push(format!(
            "the Task `{name}`: no step of its own can be called `{}`, which is a step of the session: rename it",
            step.name
        ));
    }
}

/// The step that a stream begins at, of which this one reads the end.
fn first<'s>(all: &'s [OwnStep], name: &'s str) -> Option<&'s str> {
    let mut at = all.iter().find(|step| step.name == name)?;
    // A circle is a mistake that the engine tells.
    for _ in all {
        let Some(above) = at.stdin.as_deref().and_then(|above| all.iter().find(|step| step.name == above)) else {
            break;
        };
        at = above;
    }
    Some(&at.name)
}

/// A step with what it asks for.
fn step(written: &OwnStep, offers: &[Offer], has_hook: bool) -> Result<Json, String> {
    let mut step = json!(written);
    if has_hook && written.stdin.is_none() && written.needs.is_empty() {
        step["needs"] = json!([STEP]);
    }
    let Some(offer) = offers.iter().find(|offer| offer.word == written.function) else { return Ok(step) };
    let mut params = offer.usual.clone();
    for (name, value) in params_of(written.params.as_ref())? {
        if offer.fixed.contains_key(&name) {
            return Err(format!("`{name}` is what the session says: leave it out"));
        }
        params.insert(name, value);
    }
    params.extend(offer.fixed.clone());
    step["function"] = json!(offer.function);
    step["params"] = Json::Object(params);
    Ok(step)
}

/// Params as a map, whichever way they are written.
fn params_of(written: Option<&Json>) -> Result<Map<String, Json>, String> {
    match written {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(params)) => Ok(params.clone()),
        Some(Json::Array(params)) => {
            let mut all = Map::new();
            for param in params {
                let name = param.get("name").and_then(Json::as_str).ok_or("one of its params has no `name`")?;
                let value = param.get("value").cloned().unwrap_or_default();
                if all.insert(name.to_owned(), value).is_some() {
                    return Err(format!("two of its params are called `{name}`"));
                }
            }
            Ok(all)
        }
        Some(_) => Err("its `params` are neither a map nor a list of `{name, value}`".to_owned()),
    }
}

/// How many steps a Task and each Function that it reaches may come to in all, and how many bytes they may have. Each is looked over for as long as there is
/// something that names it, by an operator that others wait for.
const MOST_STEPS: usize = 2_000;
const MOST_BYTES: usize = 512 << 10;

/// How many Functions it may reach: each may stand in another one, and is looked into from there.
const MOST_FUNCTIONS: usize = 200;

/// Looks whether a Task is too large to be looked over.
fn bounded(made: &Own, own: &OwnTask) -> Result<(), String> {
    let count = made.functions.len();
    if count > MOST_FUNCTIONS {
        return Err(format!(
            "the Task `{}` is too large: it uses {count} Functions, and may use {MOST_FUNCTIONS}",
            made.name
        ));
    }
    let mut known = BTreeMap::new();
    let callees = |steps: &Json| -> Vec<String> {
        steps.as_array().into_iter().flatten().filter_map(|step| Some(step["function"].as_str()?.to_owned())).collect()
    };
    let whole = callees(&json!(own.spec.steps))
        .iter()
        .fold(0, |sum: usize, name| sum.saturating_add(size(&made.functions, &callees, name, &mut known)));
    let all = known.values().flatten().fold(whole, |sum, size| sum.saturating_add(*size));
    let bytes: usize =
        json!(own.spec).to_string().len() + made.functions.values().map(|one| one.to_string().len()).sum::<usize>();
    if all > MOST_STEPS || bytes > MOST_BYTES {
        return Err(format!(
            "the Task `{}` is too large: with the Functions that it uses it comes to {all} steps and {bytes} bytes, and may come to {MOST_STEPS} and {MOST_BYTES}",
            made.name
        ));
    }
    Ok(())
}

/// How many steps a function comes to. One that is under way is in a circle, which is a mistake that the engine tells.
fn size(
    functions: &BTreeMap<String, Json>,
    callees: &impl Fn(&Json) -> Vec<String>,
    name: &str,
    known: &mut BTreeMap<String, Option<usize>>,
) -> usize {
    if let Some(size) = known.get(name) {
        return size.unwrap_or(1);
    }
    let Some(function) = functions.get(name) else { return 1 };
    known.insert(name.to_owned(), None);
    let inner = callees(&function["spec"]["steps"]);
    let size = inner.iter().fold(1, |sum: usize, name| sum.saturating_add(size(functions, callees, name, known)));
    known.insert(name.to_owned(), Some(size));
    size
}

/// The Functions of the namespace that a Task uses, and those that these use.
fn functions(manifests: &Manifests, namespace: &str, own: &OwnTask) -> BTreeMap<String, Json> {
    let mut all = BTreeMap::new();
    let mut left: Vec<&str> = own.spec.steps.iter().map(|step| step.function.as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = left.pop() {
        let found: Option<&OwnFunction> = manifests.own_functions.get(&(namespace.to_owned(), name.to_owned()));
        // What is nobody's is the engine's, or a mistake that the engine tells.
        let Some(found) = found.filter(|_| seen.insert(name)) else { continue };
        left.extend(found.spec.steps.iter().flatten().map(|step| step.function.as_str()));
        all.insert(name.to_owned(), document("Function", name, json!(found.spec)));
    }
    all
}

/// What stands for a param: a text, or a Secret's.
fn value(manifests: &Manifests, namespace: &str, param: &TaskParam) -> Result<Held, String> {
    let Some(source) = &param.value_from else {
        return Ok(Held { bytes: param.value.clone().into_bytes(), from: None });
    };
    let (secret, key) = (&source.secret_key_ref.name, &source.secret_key_ref.key);
    if !param.value.is_empty() {
        return Err(format!(
            "the task's param `{}` has a `value` and a `valueFrom`: leave one of them out",
            param.name
        ));
    }
    let found = found(&manifests.secrets, "Secret", namespace, secret)?;
    let held = values(found, namespace).remove(key);
    let held = held.ok_or_else(|| {
        format!("the Secret `{secret}` has no key `{key}`, which the task's param `{}` is to be", param.name)
    })?;
    held.text().ok_or_else(|| format!("`{key}` of the Secret `{secret}` is no text"))?;
    Ok(held)
}

fn document(kind: &str, name: &str, spec: Json) -> Json {
    json!({"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

impl Own {
    /// The session's document with what it declares, its values and the functions beside it, and whose it is; `params` are those of the session itself.
    pub(super) fn finish(self, mut session: Session, params: Vec<Json>) -> (Session, String) {
        session.document["spec"]["params"] = self.params.into_iter().chain(params).collect();
        put_into(&mut session.document["spec"], "concurrency", self.concurrency.map(Json::from));
        session.secrets.extend(self.values);
        session.functions = self.functions.into_values().collect();
        (session, format!("the Task `{}`", self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::resources::app_binding::AppBinding;
    use crate::resources::backup::BackupConfiguration;
    use crate::resources::restore::RestoreSession;
    use crate::session::{Setting, Upkeep, backup, join, restore, upkeep};

    fn one<T: serde::de::DeserializeOwned>(value: Json) -> T {
        serde_json::from_value(value).expect("a resource")
    }

    /// A shop whose sessions are run by the Task `own`.
    fn shop(steps: Json, params: Json, given: Json) -> Manifests {
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        let target =
            json!({"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}});
        let task = json!({"apiGroup": "aquifer.dev", "name": "own", "params": given});
        let mut all = Manifests::default();
        let secret = json!({"metadata": {"name": "keys"}, "stringData": {"RESTIC_PASSWORD": "correct-horse", "password": "open-sesame", "word": "a long word"}});
        all.secrets.insert(key("keys"), one(secret));
        all.repositories.insert(
            key("repo"),
            one(json!({"metadata": {"name": "repo"}, "spec": {"backend": {
            "s3": {"bucket": "b", "prefix": "p"}, "storageSecretName": "keys"}}})),
        );
        all.app_bindings.insert(key("db"), AppBinding::new("db", one(json!({
            "clientConfig": {"url": "redis://db:6379"}, "secret": {"name": "keys"},
            "parameters": {"stash": {"addon": {"backupTask": {"name": "redis-backup-6.2.5", "params": [{"name": "args", "value": "-db 1"}]}}}},
        }))));
        let wanted = json!({"repository": {"name": "repo"}, "target": target, "task": task, "timeOut": "5m",
            "retentionPolicy": {"name": "r", "keepLast": 2}});
        all.backups.insert(key("b"), BackupConfiguration::new("b", one(wanted)));
        let wanted = json!({"repository": {"name": "repo"}, "target": target, "task": task});
        all.restores.insert(key("r"), RestoreSession::new("r", one(wanted)));
        let own = json!({"steps": steps, "params": params, "concurrency": 2});
        all.own_tasks.insert(key("own"), OwnTask::new("own", one(own)));
        let function =
            |steps: Json| OwnFunction::new("f", one(json!({"steps": steps, "stdin": "any", "stdout": "small"})));
        let small = json!([{"name": "small", "function": "deeper", "stdin": "input"}]);
        all.own_functions.insert(key("smaller"), function(small));
        let deeper = json!({"builtin": {"function": "compress", "params": {"level": 3}}});
        all.own_functions.insert(key("deeper"), OwnFunction::new("deeper", one(deeper)));
        all.own_functions.insert(key("unused"), OwnFunction::new("unused", one(json!({"builtin": "nothing"}))));
        all
    }

    fn pod() -> Setting<'static> {
        Setting::Pod { folder: Path::new("/nowhere"), session: "s", retry_left: 0, exec: false }
    }

    fn sealed() -> Json {
        json!([
            {"name": "dump", "function": "session-dump", "params": {"connectTimeout": "9s"}},
            {"name": "small", "function": "smaller", "stdin": "dump"},
            {"name": "seal", "function": "encrypt", "stdin": "small", "params": {"passphrase": "{{ params.word }}"}},
            {"name": "push", "function": "session-push", "stdin": "seal", "params": [{"name": "verify", "value": "data"}]},
        ])
    }

    fn word() -> (Json, Json) {
        let from = json!({"secretKeyRef": {"name": "keys", "key": "word"}});
        (json!([{"name": "word", "secret": true, "required": true}]), json!([{"name": "word", "valueFrom": from}]))
    }

    #[test]
    fn steps_of_ones_own_have_what_the_session_knows_and_nothing_else() {
        let (params, given) = word();
        let session = backup(&shop(sealed(), params, given), None, pod()).expect("sound");
        let steps = session.document["spec"]["steps"].as_array().expect("steps").clone();
        let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
        assert_eq!(names, ["dump", "small", "seal", "push", "forget", "check", "stats"]);
        assert_eq!(session.document["spec"]["concurrency"], 2);
        let (dump, push, forget) = (&steps[0], &steps[3], &steps[4]);
        assert_eq!((&dump["function"], &dump["params"]["databases"]), (&json!("redis-dump"), &json!([1])));
        assert_eq!(
            (&dump["params"]["url"], &dump["params"]["connectTimeout"]),
            (&json!("redis://db:6379"), &json!("9s"))
        );
        assert_eq!((&push["params"]["verify"], &push["params"]["host"]), (&json!("data"), &json!("host-0")));
        assert_eq!((&push["timeout"], &forget["needs"]), (&json!("5m"), &json!(["dump", "small", "seal", "push"])));
        let functions: Vec<&str> =
            session.functions.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
        assert_eq!(functions, ["deeper", "smaller"], "those that it uses");
        assert_eq!(session.secrets["word"].from.as_ref().map(|from| from.key.as_str()), Some("word"));
        let text = session.text();
        assert!(!text.contains("a long word") && !text.contains("correct-horse") && !text.contains("open-sesame"));
    }

    #[test]
    fn what_is_wrong_with_it_is_known_before() {
        let without = |name: &str| {
            let steps = sealed();
            let kept = steps
                .as_array()
                .expect("steps")
                .iter()
                .filter(|step| step["name"] != name)
                .cloned()
                .collect::<Vec<_>>();
            json!(kept)
        };
        let with = |at: usize, field: &str, value: Json| {
            let mut steps = sealed();
            steps[at][field] = value;
            steps
        };
        let (params, given) = word();
        let cases = [
            (without("push"), "has no step with the function `session-push`"),
            (with(0, "name", json!("read")), "has to be called `dump`"),
            (with(1, "name", json!("check")), "no step of its own can be called `check`"),
            (with(0, "params", json!({"url": "redis://elsewhere"})), "the step `dump`: `url` is what the session says"),
            (with(3, "params", json!([{"name": "host", "value": "a"}])), "`host` is what the session says"),
            (
                with(2, "function", json!("encript")),
                "at `encript`: there is no function `encript`: did you mean `encrypt`?",
            ),
            (with(2, "params", json!({"passphrase": "{{ params.wort }}"})), "did you mean `word`?"),
            (with(2, "params", json!({"workFactor": 18})), "encrypt"),
            (with(3, "if", json!("{{ eq params.word \"x\" }}")), "may not be left out"),
            (with(3, "when", json!("always")), "may not be left out"),
            (with(1, "stdin", json!("other")), "does not come from the step `dump`"),
        ];
        for (steps, why) in cases {
            let problems = backup(&shop(steps, params.clone(), given.clone()), None, pod()).expect_err(why).join("\n");
            assert!(problems.contains(why), "{why}: {problems}");
            assert!(!problems.contains("a long word"), "{problems}");
        }
        let shown = json!([{"name": "word", "required": true}]);
        let told = backup(&shop(sealed(), shown, given.clone()), None, pod()).expect_err("shown").join("; ");
        assert!(told.contains("would show it: declare it with `secret: true`"), "{told}");
        let mut theirs = params.clone();
        theirs.as_array_mut().expect("params").push(json!({"name": "repositoryPassword"}));
        let problems = |params: &Json, given: Json| {
            backup(&shop(sealed(), params.clone(), given), None, pod()).expect_err("wrong").join("\n")
        };
        assert!(problems(&theirs, given.clone()).contains("one of the session's own"));
        assert!(problems(&params, json!([])).contains("word"), "one that has to be given");
        let from = |name: &str, key: &str| json!([{"name": "word", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]);
        assert!(problems(&params, from("keys", "none")).contains("has no key `none`"));
        assert!(problems(&params, from("none", "word")).contains("the Secret `none` is not among"));
        assert!(problems(&params, json!([{"name": "world", "value": "x"}])).contains("world"));
        let mut gone = shop(sealed(), params.clone(), given.clone());
        gone.own_tasks.clear();
        let missing = backup(&gone, None, pod()).expect_err("missing");
        assert_eq!(missing.len(), 1, "{missing:?}");
        // What would take an operator long to look over is not looked over.
        let mut large = shop(sealed(), params.clone(), given.clone());
        let composite = |callee: &str, times: usize| {
            let step = |number: usize| json!({"name": format!("s{number}"), "function": callee});
            let steps: Vec<Json> = (0..times).map(step).collect();
            let spec = json!({"steps": steps});
            serde_json::from_value::<OwnFunction>(json!({"metadata": {"name": "f"}, "spec": spec})).expect("a function")
        };
        for (name, callee) in [("wide", "tcp-connect"), ("wider", "wide"), ("widest", "wider")] {
            large.own_functions.insert(("shop".to_owned(), name.to_owned()), composite(callee, 99));
        }
        let mut chain = shop(sealed(), params.clone(), given.clone());
        for number in 0..50_000 {
            let callee = composite(&format!("f{}", number + 1), 1);
            chain.own_functions.insert(("shop".to_owned(), format!("f{number}")), callee);
        }
        let first = json!({"name": "many", "function": "f0"});
        let task = chain.own_tasks.values_mut().next().expect("a task");
        task.spec.steps.push(serde_json::from_value(first).expect("a step"));
        let why = backup(&chain, None, pod()).expect_err("too large");
        assert!(why.len() == 1 && why[0].contains("Functions, and may use 200"), "{why:?}");
        let task = large.own_tasks.values_mut().next().expect("a task");
        task.spec.steps.push(serde_json::from_value(json!({"name": "many", "function": "widest"})).expect("a step"));
        let why = backup(&large, None, pod()).expect_err("too large");
        assert!(why.len() == 1 && why[0].contains("is too large"), "{why:?}");
        assert!(
            backup(&gone, None, pod())
                .expect_err("gone")
                .join("; ")
                .contains("the Task of aquifer.dev `own` is not among")
        );
        // Stash's have no such thing.
        let mut stashs = shop(sealed(), params, given);
        stashs.backups.values_mut().for_each(|one| one.spec.task.as_mut().expect("a task").api_group = None);
        stashs.backups.values_mut().for_each(|one| one.spec.task.as_mut().expect("a task").name = String::new());
        assert!(backup(&stashs, None, pod()).expect_err("refused").join("; ").contains("`apiGroup: aquifer.dev`"));
    }

    /// A shop without a Task of its own.
    fn plain() -> Manifests {
        let mut all = shop(json!([]), json!([]), json!([]));
        all.backups.values_mut().for_each(|one| one.spec.task = None);
        all.restores.values_mut().for_each(|one| one.spec.task = None);
        all
    }

    #[test]
    fn what_a_pod_would_find_out_is_known_before() {
        assert!(backup(&plain(), None, pod()).is_ok() && restore(&plain(), None, pod()).is_ok());
        assert!(join(&plain(), "shop/b", pod(), &["aaaaaaaa", "bbbbbbbb"]).is_ok());
        for what in [Upkeep::Snapshots, Upkeep::Unlock { all: false }, Upkeep::Wipe] {
            assert!(upkeep(&plain(), "shop", "repo", what, pod()).is_ok(), "{what:?}");
        }
        let hooks = json!({"preBackup": {"tcpSocket": {"host": "h", "port": 1}}, "postBackup": {"httpGet": {"host": "h", "port": 1}}});
        let mut hooked = plain();
        for one in hooked.backups.values_mut() {
            one.spec.hooks = Some(serde_json::from_value(hooks.clone()).expect("hooks"));
        }
        assert!(backup(&hooked, None, pod()).is_ok());
        let mut all = plain();
        for one in all.restores.values_mut() {
            one.spec.rules = vec![serde_json::from_value(json!({"snapshots": ["lastest"]})).expect("a rule")];
        }
        let why = restore(&all, None, pod()).expect_err("no such snapshot").join("; ");
        assert!(why.contains("at `lastest`"), "{why}");
        // Nobody's text is taken for what only the session puts there.
        for text in ["{{ params.storageKey }}", "{{ params.redisPassword }}", "{{ run.id }}"] {
            let mut all = plain();
            all.backups
                .values_mut()
                .for_each(|one| one.spec.target.as_mut().expect("one").alias = Some(text.to_owned()));
            let why = backup(&all, None, pod()).expect_err(text).join("; ");
            assert!(why.contains("which stands for something else here"), "{why}");
        }
        for address in ["http://bob:hunter2@store:8000/", "rest.example@evil"] {
            let mut all = plain();
            for one in all.repositories.values_mut() {
                one.spec.backend =
                    serde_json::from_value(json!({"rest": {"url": address}, "storageSecretName": "keys"}))
                        .expect("one");
            }
            let why = backup(&all, None, pod()).expect_err(address).join("; ");
            assert!(why.contains("holds credentials in its address") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_restore_has_steps_of_ones_own_too() {
        let steps = json!([
            {"name": "pull", "function": "session-pull"},
            {"name": "open", "function": "decrypt", "stdin": "pull", "params": {"passphrase": "{{ params.word }}"}},
            {"name": "large", "function": "decompress", "stdin": "open"},
            {"name": "restore", "function": "session-restore", "stdin": "large", "params": {"onConflict": "skip"}},
        ]);
        let (params, given) = word();
        let session = restore(&shop(steps, params.clone(), given.clone()), None, pod()).expect("sound");
        let steps = session.document["spec"]["steps"].clone();
        assert_eq!(
            (&steps[0]["params"]["snapshot"], &steps[0]["params"]["filename"]),
            (&json!("latest"), &json!("dumpfile.resp"))
        );
        assert_eq!(
            (&steps[3]["params"]["onConflict"], &steps[3]["params"]["url"]),
            (&json!("skip"), &json!("redis://db:6379"))
        );
        let problems = restore(&shop(sealed(), params, given), None, pod()).expect_err("a backup's").join("; ");
        assert!(problems.contains("`session-pull`") && problems.contains("`session-restore`"), "{problems}");
    }
}
