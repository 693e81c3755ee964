//! Names and labels of what the operator makes.
//!
//! Always holds: a name that is too long is cut and gets a digest of the whole, so that two long names stay two; the same
//! owner gives the same name each time, so that what is made twice is there once.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Who made a resource; the label's value is [`US`].
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of [`MANAGED_BY`].
pub(crate) const US: &str = "aquifer";

/// On jobs of a schedule's slots: the `BackupConfiguration`, cut where it is too long for a label.
pub(super) const SLOT: &str = "aquifer.dev/slot-of";

/// On what a session is run by: the session, cut where it is too long for a label.
pub(super) const SESSION: &str = "aquifer.dev/session";

/// On sessions: what asks for them. Stash's own labels, by which its users select them.
pub const INVOKER_KIND: &str = "stash.appscode.com/invoker-type";

/// As [`INVOKER_KIND`], the name.
pub const INVOKER_NAME: &str = "stash.appscode.com/invoker-name";

/// On what is made for a session or a repository: its uid.
pub(super) const OF: &str = "aquifer.dev/of";

/// On what reads or writes a database: which one, by [`database`].
pub(super) const DATABASE: &str = "aquifer.dev/database";

/// On a session's Job: the repository that it was made for, as `namespace/name`.
pub(super) const REPOSITORY: &str = "aquifer.dev/repository";

/// On a session's Job: of how many shards it reads each by a pod of its own.
pub(super) const SHARDS: &str = "aquifer.dev/shards";

/// On a session's Job: what its pods are called in locks.
pub(super) const HOST: &str = "aquifer.dev/host";

/// On what a blueprint made: the blueprint.
pub(super) const BLUEPRINT: &str = "aquifer.dev/blueprint";

/// How names of jobs of hooks begin.
pub(super) const HOOK: &str = "stash-hook-";

/// On AppBindings and Secrets: which other namespaces may use them, by their names with commas between them, or `*` for all.
pub(crate) const ALLOWED: &str = "aquifer.dev/allowed-namespaces";

/// Whether annotations allow a namespace.
pub(crate) fn allows(annotations: &BTreeMap<String, String>, namespace: &str) -> bool {
    let allowed = annotations.get(ALLOWED).map(String::as_str).unwrap_or_default();
    allowed.split(',').map(str::trim).any(|one| one == "*" || one == namespace)
}

/// How long a label's value, and a job's name, may be.
const LABEL: usize = 63;

/// How long a cron job's name may be: its jobs add 11 characters.
const CRON_JOB: usize = 52;

/// How long a session's name may be: a resource's may have 253 characters, and events add 17 to it.
const NAME: usize = 230;

/// The labels by which people select what was asked for by one.
pub(super) fn invoked(kind: &str, name: &str) -> BTreeMap<String, String> {
    [(INVOKER_KIND, kind.to_owned()), (INVOKER_NAME, label(name))].map(|(name, value)| (name.to_owned(), value)).into()
}

/// Labels as who lists by them writes them.
pub(super) fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// The name as a label's value.
pub(crate) fn label(name: &str) -> String {
    fit(name, LABEL)
}

/// A database as a label's value, by its AppBinding.
pub(super) fn database(namespace: &str, name: &str) -> String {
    Sha256::digest(format!("{namespace}/{name}").as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A host's name for the pods of one that asks for sessions, by its uid: no two in the world have the same.
pub(super) fn host(what: &str, uid: &str) -> String {
    fit(&format!("{what}-{uid}"), LABEL)
}

/// What a blueprint makes for a database, as Stash calls it; where that lies in another namespace, with the database's, since there may be
/// several of one name.
pub(super) fn blueprint(binding: &str, elsewhere: Option<&str>) -> String {
    let Some(home) = elsewhere else { return fit(&format!("app-{binding}"), NAME) };
    // Of `a` and `b-c`, and of `a-b` and `c`, two names.
    let digest = digest(&format!("{home}/{binding}"));
    fit(&format!("app-{}-{digest}", fit(&format!("{home}-{binding}"), NAME - 13)), NAME)
}

/// The cron job of a `BackupConfiguration`, as Stash calls it.
pub(crate) fn cron_job(configuration: &str) -> String {
    fit(&format!("stash-trigger-{configuration}"), CRON_JOB)
}

/// The session of a slot, by the end of its job's name, which is the slot's minute.
pub(super) fn session(configuration: &str, slot: &str) -> String {
    // A slot's job may be anybody's.
    let slot = fit(slot, LABEL);
    let room = NAME - slot.len() - 1;
    format!("{}-{slot}", fit(configuration, room))
}

/// The job of a backup; dashboards of Stash's users look for this beginning.
pub(super) fn backup_job(session: &str) -> String {
    fit(&format!("stash-backup-{session}"), LABEL)
}

/// The job that makes one snapshot of those of a cluster's shards.
pub(super) fn join_job(session: &str) -> String {
    fit(&format!("stash-join-{session}"), LABEL)
}

/// The job of a restore.
pub(super) fn restore_job(session: &str) -> String {
    fit(&format!("stash-restore-{session}"), LABEL)
}

/// The job that removes what a repository has.
pub(super) fn wipe_job(repository: &str) -> String {
    fit(&format!("stash-wipe-{repository}"), LABEL)
}

/// The job of a hook of a session; a backup and a restore may have the same name.
pub(super) fn hook_job(session: &str, uid: &str) -> String {
    fit(&format!("{HOOK}{session}-{}", digest(uid)), LABEL)
}

/// Eight characters that hardly any other text has.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether something can be the name of a resource. What cannot must not come into an address of the API server, where it may mean something else.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    ends && text.len() <= 253 && text.bytes().all(|byte| inner(byte) || matches!(byte, b'-' | b'.'))
}

/// The name, cut to so many bytes. Names of resources are ASCII.
fn fit(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let digest = digest(name);
    let kept: String = name.chars().take(most - digest.len() - 1).collect();
    format!("{}-{digest}", kept.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_blueprints_make_has_two_names() {
        assert_eq!(blueprint("cart", None), "app-cart");
        let names = [("x-db", "shop"), ("db", "shop-x")].map(|(binding, home)| blueprint(binding, Some(home)));
        assert!(
            names[0] != names[1] && names.iter().all(|name| name.starts_with("app-shop-x-db-") && is_name(name)),
            "{names:?}"
        );
        let (one, two) = ("a".repeat(253), "a".repeat(252));
        let long = [&one, &two].map(|binding| blueprint(binding, Some("home")));
        assert!(long[0] != long[1] && long.iter().all(|name| name.len() <= NAME && is_name(name)), "{long:?}");
    }

    #[test]
    fn what_is_no_name_is_known() {
        for name in ["a", "a-b.c", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "A", "backup?x=1", "../a", "a/b", "%zz", "a\nb", "-a", "a.", "é", &"a".repeat(254)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        assert_eq!(backup_job("sample-1732780800"), "stash-backup-sample-1732780800");
        let (one, two) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        for make in [label, cron_job, backup_job, restore_job, |name: &str| hook_job(name, "uid")] {
            let (first, second) = (make(&one), make(&two));
            assert_ne!(first, second);
            assert!(first.len() <= 63 && !first.contains("--"), "{first}");
            assert_eq!(make(&one), first);
        }
        assert!(cron_job(&one).len() <= 52);
        assert_eq!(session(&one, "28879200").len(), NAME);
        assert!(session(&one, &"9".repeat(250)).len() <= NAME && is_name(&session(&one, &"9".repeat(250))));
    }
}
