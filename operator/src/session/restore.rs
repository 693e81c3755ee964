//! A `RestoreSession` to a session.
//!
//! Always holds: one snapshot is restored, of the host that the rules say; a key that is in the way is overwritten, as Stash's restores do; a
//! key that the server refuses fails the restore; the marker that Stash's dumps have is not restored.

use serde_json::{Map, Value as Json, json};

use super::addon::{Operation, arguments};
use super::database::{Wishes, server};
use super::own::{self, Offer};
use super::repository::location;
use super::steps::{PULL, RESTORE};
use super::{Asker, Draft, FILE, Session, Setting, meant, put_into, target};
use crate::flags;
use crate::hooks::STEP;
use crate::manifests::Manifests;
use crate::resources::backup::Driver;
use crate::resources::restore::RestoreSessionSpec;
use crate::resources::target::Rule;
use crate::substitute::Variables;

/// The key by which Stash's dumps say how many keys they have.
const MARKER: &str = "__redisdump_total_keys";

/// The session of a `RestoreSession`: of this name, with or without its namespace in front, or the only one.
///
/// # Errors
/// All reasons why there is none, in a line each.
pub fn restore(manifests: &Manifests, name: Option<&str>, setting: Setting<'_>) -> Result<Session, Vec<String>> {
    let ((namespace, name), wanted) = meant(&manifests.restores, "RestoreSession", name)?;
    let spec = &wanted.spec;
    let mut draft = Draft::new(setting);
    if spec.driver == Some(Driver::VolumeSnapshotter) {
        draft.problems.push("its driver is `VolumeSnapshotter`, which copies volumes and not databases".to_owned());
    }
    draft.leave_out(spec.runtime_settings.as_ref());
    draft.odd(spec.target.as_ref().map(|target| &target.r#ref));
    draft.period("timeOut", spec.time_out.as_ref());
    let host = spec.host();
    let chosen = draft.take(snapshot(spec, &host));
    let database = target(manifests, spec.target.as_ref().map(|target| &target.r#ref), namespace);
    let binding = database.as_ref().ok().map(|(binding, home)| (*binding, home.as_str()));
    let asker = Asker::of_restore((namespace, name), spec, binding);
    let before = asker.before(&mut draft);
    asker.check(&mut draft);
    let repository = location(&mut draft, manifests, &spec.repository, namespace);
    let own = own::chosen(spec.task.as_ref());
    let task = spec.task.as_ref().filter(|_| own.is_none());
    let mut place = Map::new();
    if let Some((binding, home)) = draft.take(database) {
        let known = Variables::from([
            ("NAMESPACE".to_owned(), namespace.clone()),
            ("RESTORE_SESSION".to_owned(), name.clone()),
            ("INVOKER_KIND".to_owned(), "RestoreSession".to_owned()),
            ("INVOKER_NAME".to_owned(), name.clone()),
            ("HOSTNAME".to_owned(), host.clone()),
            ("REPOSITORY_NAME".to_owned(), spec.repository.name.clone()),
        ]);
        let said = draft.take(arguments(manifests, Operation::Restore, task, binding, &known));
        let (args, notes) = said.map(|said| (said.text, said.notes)).unwrap_or_default();
        draft.notes.extend(notes);
        let flags = draft.take(flags::restore(&args)).unwrap_or_default();
        let wishes =
            Wishes { user: flags.user, tls: flags.tls, insecure: flags.insecure, server_name: flags.server_name };
        place = server(&mut draft, manifests, binding, &home, wishes).unwrap_or_default();
    }
    let mut write = Map::from_iter([
        ("onConflict".to_owned(), json!("replace")),
        ("errors".to_owned(), json!("collect")),
        ("filter".to_owned(), json!({"exclude": [MARKER]})),
        // Dumps of Stash's have none; one of ours needs its own all the same.
        ("requireTrailer".to_owned(), json!(false)),
    ]);
    let (id, source) = chosen.unwrap_or_default();
    let mut pull = repository.unwrap_or_default();
    pull.extend([("snapshot".to_owned(), json!(id)), ("filename".to_owned(), json!(FILE))]);
    if id == "latest" {
        pull.insert("filter".to_owned(), json!({"host": source, "paths": [format!("/{FILE}")]}));
    }
    let mut steps = if let Some(task) = own {
        let offers = vec![
            Offer { word: "session-pull", function: "restic-pull", step: Some(PULL), fixed: pull, usual: Map::new() },
            Offer {
                word: "session-restore",
                function: "redis-restore",
                step: Some(RESTORE),
                fixed: place,
                usual: write,
            },
        ];
        own::compose(&mut draft, manifests, namespace, task, offers, before.is_some())
    } else {
        write.extend(place);
        let mut pulling = json!({"name": PULL, "function": "restic-pull", "params": pull});
        put_into(&mut pulling, "needs", before.as_ref().map(|_| json!([STEP])));
        vec![pulling, json!({"name": RESTORE, "function": "redis-restore", "stdin": PULL, "params": write})]
    };
    let is_timed = steps.iter().any(|step| !step["timeout"].is_null());
    if let Some(restoring) = steps.iter_mut().find(|step| step["name"] == RESTORE) {
        put_into(restoring, "timeout", spec.time_out.clone().filter(|_| !is_timed).map(Json::from));
    }
    let steps = before.into_iter().chain(steps).collect();
    let session = draft.finish(format!("The RestoreSession {namespace}/{name}."), steps)?;
    Ok(Session { asker: Some(asker), ..session })
}

/// The snapshot for a host, and the host that it is of.
fn snapshot(spec: &RestoreSessionSpec, host: &str) -> Result<(String, String), String> {
    let inner = spec.target.as_ref().map(|target| &target.rules[..]).unwrap_or_default();
    let rules = match (inner, &spec.rules[..]) {
        (inner, []) => inner,
        ([], outer) => outer,
        _ => return Err("it has rules in two places: `spec.rules` and `spec.target.rules`".to_owned()),
    };
    if rules.iter().filter(|rule| rule.target_hosts.is_empty()).count() > 1 {
        return Err("more than one of its rules has no `targetHosts`".to_owned());
    }
    let mut own = rules.iter().filter(|rule| rule.target_hosts.iter().any(|target| target == host));
    let (rule, second) = (own.next(), own.next());
    if second.is_some() {
        return Err(format!("more than one of its rules is for the host `{host}`"));
    }
    let all = Rule::default();
    let rule = match rule.or_else(|| rules.iter().find(|rule| rule.target_hosts.is_empty())) {
        Some(rule) => rule,
        None if rules.is_empty() => &all,
        None => return Err(format!("none of its rules is for the host `{host}`")),
    };
    if !rule.paths.is_empty() {
        return Err("its rule names `paths`, and a database has none".to_owned());
    }
    let source = rule.source_host.clone().filter(|source| !source.is_empty()).unwrap_or_else(|| host.to_owned());
    match &rule.snapshots[..] {
        [] => Ok(("latest".to_owned(), source)),
        [one] => Ok((one.clone(), source)),
        _ => Err("its rule names several snapshots: a database is restored from one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(target: serde_json::Value, rules: serde_json::Value) -> RestoreSessionSpec {
        let reference = json!({"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"});
        let spec = json!({"repository": {"name": "r"}, "target": {"ref": reference, "rules": target}, "rules": rules});
        serde_json::from_value(spec).expect("a spec")
    }

    #[test]
    fn the_rule_for_the_host_says_which_snapshot() {
        let of = |target, rules| snapshot(&spec(target, rules), "host-0");
        let sound = |id: &str, host: &str| Ok((id.to_owned(), host.to_owned()));
        assert_eq!(of(json!([]), json!([])), sound("latest", "host-0"));
        assert_eq!(of(json!([{"snapshots": ["latest"]}]), json!([])), sound("latest", "host-0"));
        assert_eq!(of(json!([]), json!([{"snapshots": ["1a2b3c4d"]}])), sound("1a2b3c4d", "host-0"), "the old place");
        let two = json!([{"snapshots": ["aaaaaaaa"]}, {"targetHosts": ["host-0"], "sourceHost": "old"}]);
        assert_eq!(of(two, json!([])), sound("latest", "old"), "its own rule before that of all");
        for wrong in [
            json!([{"snapshots": ["a", "b"]}]),
            json!([{"paths": ["/x"]}]),
            json!([{"targetHosts": ["host-1"]}]),
            json!([{}, {}]),
            json!([{"targetHosts": ["host-0"]}, {"targetHosts": ["host-0"]}]),
        ] {
            assert!(of(wrong.clone(), json!([])).is_err(), "{wrong}");
        }
        assert!(of(json!([{}]), json!([{}])).is_err(), "two places");
    }
}
