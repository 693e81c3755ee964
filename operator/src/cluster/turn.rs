//! Whose turn it is at a database: a restore writes alone, and nothing is backed up that is half restored.
//!
//! Takes a database. Gives what is in the way. Always holds: what is said to run was so by what the API server had when it was asked; which sessions
//! there are is known from the watch, and one that was not seen there was not begun here either; of two that want to begin at one database, one looks
//! after the other; a restore waits for the backup that runs, and no other backup begins before it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedMutexGuard;

use super::gather::may_reach;
use super::hook::{Before, stands};
use super::names::{INVOKER_KIND, MANAGED_BY, US};
use super::run::{Place, State, look, unended};
use super::world::binding_of;
use super::{Context, Trouble, backup, configuration, names, restore};
use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::BackupSession;
use crate::resources::restore::RestoreSession;
use crate::resources::target::TargetRef;

/// Who looks what else runs, and then begins, does both without anybody else of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

/// As long as it is there, nobody else of the same begins.
pub(super) type Alone = OwnedMutexGuard<()>;

impl Turns {
    /// For what a `BackupConfiguration` asks for. One that has this may ask for its database's, and not the other way round.
    pub(super) async fn of_configuration(&self, namespace: &str, name: &str) -> Alone {
        self.of(format!("configuration {namespace}/{name}")).await
    }

    /// For what reads or writes a database.
    pub(super) async fn of_database(&self, target: Option<&TargetRef>, namespace: &str) -> Alone {
        self.of(target.map_or_else(String::new, |target| binding_of(target, namespace).to_string())).await
    }

    async fn of(&self, key: String) -> Alone {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = all.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                all.retain(|_, lock| lock.strong_count() > 0);
                let lock = Arc::default();
                all.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

/// What is in the way of a backup, which has `begun` where its hook before was: a restore into the same database that has begun, or that waits for its
/// turn, for which only what has begun goes on.
pub(super) async fn of_backup(
    context: &Context,
    target: Option<&TargetRef>,
    namespace: &str,
    begun: bool,
) -> Result<Option<String>, Trouble> {
    let Some(target) = target else { return Ok(None) };
    let this = binding_of(target, namespace);
    let other = restores(context, &this, None, !begun).await?;
    if other.is_some() { Ok(other) } else { pods(context, &this, "", &[restore::KIND]).await }
}

/// What is in the way of a restore of this uid: another one that has begun, or a backup that has.
pub(super) async fn of_restore(
    context: &Context,
    target: Option<&TargetRef>,
    namespace: &str,
    own: &str,
) -> Result<Option<String>, Trouble> {
    let Some(target) = target else { return Ok(None) };
    let this = binding_of(target, namespace);
    if let Some(other) = restores(context, &this, Some(own), false).await? {
        return Ok(Some(other));
    }
    let other = backups(context, &this).await?;
    if other.is_some() { Ok(other) } else { pods(context, &this, own, &[restore::KIND, configuration::KIND]).await }
}

/// A restore into this database, other than that of the uid `own`, that has begun and not ended, or where it `waits` for its turn.
async fn restores(
    context: &Context,
    this: &ObjectRef<AppBinding>,
    own: Option<&str>,
    waits: bool,
) -> Result<Option<String>, Trouble> {
    let is_of_the_same = |other: &RestoreSession| {
        let home = other.namespace().unwrap_or_default();
        let target = other.spec.target.as_ref().map(|target| &target.r#ref);
        other.uid().as_deref() != own
            && !restore::is_over(other)
            && target.is_some_and(|target| binding_of(target, &home) == *this)
            && may_be_at(context, this, &home)
    };
    let mut waiting = None;
    for other in context.world.restores.state_filter(is_of_the_same) {
        let Some(other) = newest(context, &*other).await?.filter(|other| !restore::is_over(other)) else { continue };
        let said = |what: &str| format!("the RestoreSession `{}` {what}", whole(&other));
        let conditions = other.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
        if stands(conditions, restore::PRE_HOOK) != Before::Not {
            return Ok(Some(said("has prepared the same database")));
        }
        if runs(context, &other, &names::restore_job(&other.name_any())).await? {
            return Ok(Some(said("writes to the same database")));
        }
        // One that is being removed begins no more.
        if waits && other.metadata.deletion_timestamp.is_none() && restore::waits_for_its_turn(conditions) {
            waiting = Some(said("waits for its turn at the same database"));
        }
    }
    Ok(waiting)
}

/// A backup of this database that has begun and still reads.
async fn backups(context: &Context, this: &ObjectRef<AppBinding>) -> Result<Option<String>, Trouble> {
    let is_of_the_same = |one: &BackupSession| {
        let home = one.namespace().unwrap_or_default();
        let invoker = &one.spec.invoker;
        let asks: Option<Arc<BackupConfiguration>> = (invoker.kind == configuration::KIND)
            .then(|| context.world.backups.get(&ObjectRef::new(&invoker.name).within(&home)))
            .flatten();
        let target = asks.as_ref().and_then(|asks| asks.spec.target.as_ref()).map(|target| &target.r#ref);
        // What it was begun for, whatever is asked for by now.
        let begun = one.status.as_ref().filter(|_| backup::has_job(one)).and_then(|status| status.targets.first());
        let target = begun.map(|begun| &begun.r#ref).or(target);
        target.is_some_and(|target| binding_of(target, &home) == *this) && may_be_at(context, this, &home)
    };
    let may_run = |one: &BackupSession| !backup::is_over(one) && is_of_the_same(one);
    for other in context.world.sessions.state_filter(may_run) {
        let Some(other) = newest(context, &*other).await?.filter(|other| !backup::is_over(other)) else { continue };
        let conditions = other.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
        let reads = runs(context, &other, &names::backup_job(&other.name_any())).await?;
        // Its Job may have ended, and its snapshots be joined.
        let prepared = stands(conditions, backup::PRE_HOOK) != Before::Not && !backup::has_job(&other);
        if reads || prepared {
            return Ok(Some(format!(
                "the BackupSession `{}` reads the same database: it begins when that has ended, or was removed",
                whole(&other)
            )));
        }
    }
    Ok(None)
}

/// Whether those of a namespace may use a database: others only say that they do, and are in nobody's way.
fn may_be_at(context: &Context, this: &ObjectRef<AppBinding>, from: &str) -> bool {
    let home = this.namespace.as_deref().unwrap_or_default();
    from == home || context.world.bindings.get(this).is_some_and(|found| may_reach(context, &found, home, from))
}

/// One as the API server has it now; nothing where it is gone.
async fn newest<K>(context: &Context, one: &K) -> Result<Option<K>, Trouble>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &one.namespace().unwrap_or_default());
    Ok(api.get_opt(&one.name_any()).await?.filter(|now| now.uid() == one.uid()))
}

/// Whether a session's Job of this name has not ended.
async fn runs<K: Resource>(context: &Context, of: &K, job: &str) -> Result<bool, Trouble> {
    let (home, uid) = (of.namespace().unwrap_or_default(), of.uid().unwrap_or_default());
    let place = Place { namespace: &home, name: job, owner: &uid };
    Ok(matches!(look(context, place).await?, State::Runs { .. }))
}

fn whole<K: Resource>(one: &K) -> String {
    format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any())
}

/// A pod that reads or writes this database and has not ended, of whatever session: that may have been removed, or name another database by now. Of a
/// namespace that may not use the database, nobody's pod counts.
async fn pods(
    context: &Context,
    this: &ObjectRef<AppBinding>,
    own: &str,
    kinds: &[&str],
) -> Result<Option<String>, Trouble> {
    let home = this.namespace.clone().unwrap_or_default();
    let labels = BTreeMap::from(
        [(MANAGED_BY, US.to_owned()), (names::DATABASE, names::database(&home, &this.name))]
            .map(|(name, value)| (name.to_owned(), value)),
    );
    for pod in unended(context, &labels).await? {
        let there = pod.namespace().unwrap_or_default();
        let is_of = |kind: &&str| pod.labels().get(INVOKER_KIND).is_some_and(|own| own == kind);
        let is_own = pod.labels().get(names::OF).is_some_and(|of| of == own);
        let may = may_be_at(context, this, &there);
        if !is_own && may && kinds.iter().any(is_of) {
            return Ok(Some(format!(
                "the pod `{there}/{}` of another session is at the same database",
                pod.name_any()
            )));
        }
    }
    Ok(None)
}

/// What a database is called on what reads or writes it.
pub(super) fn label(target: Option<&TargetRef>, namespace: &str) -> Option<String> {
    let this = binding_of(target?, namespace);
    Some(names::database(&this.namespace.unwrap_or_default(), &this.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_the_same_one_begins_at_a_time_and_others_do_not_wait() {
        let turns = Turns::default();
        let first = turns.of_configuration("shop", "cart").await;
        let other = turns.of_configuration("shop", "orders").await;
        let mut second = std::pin::pin!(turns.of_configuration("shop", "cart"));
        assert!(futures::poll!(&mut second).is_pending());
        drop(other);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures::poll!(&mut second).is_ready());
        let _last = turns.of_configuration("shop", "new").await;
        assert_eq!(turns.0.lock().expect("a lock").len(), 1, "nothing is kept of what has begun");
    }
}
