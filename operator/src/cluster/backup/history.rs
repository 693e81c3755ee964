//! What is left to do for sessions that ended: one is tried again, and old ones are forgotten.
//!
//! Always holds: the newest that succeeded stays, and so does one that is to be tried again.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use super::{invoker, is_of_the_same, is_over};
use crate::cluster::configuration::create_session;
use crate::cluster::{Context, Trouble, names, patch_status, remove};
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::{BackupPhase, BackupSession, BackupSessionStatus};

/// How many sessions are remembered where nothing is said, as Stash does.
const HISTORY: usize = 1;

/// What is left to do for one that ended: it is tried again, and old ones are forgotten.
pub(super) async fn afterwards(
    context: &Context,
    one: &BackupSession,
    mut status: BackupSessionStatus,
    namespace: &str,
) -> Result<Action, Trouble> {
    let Ok(configuration) = invoker(context, one, namespace).await? else { return Ok(Action::await_change()) };
    let mut again = Action::await_change();
    if let Some(Time(at)) = &status.next_retry
        && status.retried != Some(true)
    {
        let left = at.duration_since(Timestamp::now());
        if left.is_positive() {
            again = Action::requeue(left.unsigned_abs().min(Duration::from_secs(3600)));
        } else {
            let left = one.spec.retry_left.unwrap_or(0).saturating_sub(1);
            create_session(context, &configuration, &names::session(&one.name_any(), "r"), left).await?;
            status.retried = Some(true);
            patch_status(context, one, &status).await?;
        }
    }
    forget(context, &configuration, one, namespace).await?;
    Ok(again)
}

/// Forgets the oldest of those that ended; those that were skipped are counted apart, so that no backup is forgotten for them.
async fn forget(
    context: &Context,
    configuration: &BackupConfiguration,
    one: &BackupSession,
    namespace: &str,
) -> Result<(), Trouble> {
    let limit =
        configuration.spec.backup_history_limit.map_or(HISTORY, |limit| usize::try_from(limit).unwrap_or(0)).max(1);
    let is_of = |other: &BackupSession| {
        other.namespace().as_deref() == Some(namespace) && is_of_the_same(other, one) && is_over(other)
    };
    let mut all = context.world.sessions.state_filter(is_of);
    all.sort_by_key(|other| {
        std::cmp::Reverse((other.metadata.creation_timestamp.clone().map(|at| at.0), other.name_any()))
    });
    let phase = |other: &BackupSession| other.status.as_ref().and_then(|status| status.phase);
    let is_skipped = |other: &BackupSession| phase(other) == Some(BackupPhase::Skipped);
    let waits = |other: &BackupSession| {
        other.status.as_ref().is_some_and(|status| status.next_retry.is_some() && status.retried != Some(true))
    };
    let api: Api<BackupSession> = Api::namespaced(context.client.clone(), namespace);
    let (skipped, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(|other| is_skipped(other));
    // The time of the last success is asked of it.
    let last = ended.iter().find(|other| phase(other) == Some(BackupPhase::Succeeded)).map(|other| other.name_any());
    let old = skipped.iter().skip(limit).chain(ended.iter().skip(limit));
    for old in old.filter(|old| !waits(old) && Some(old.name_any()) != last) {
        remove(&api, &old.name_any(), old.uid()).await?;
    }
    Ok(())
}
