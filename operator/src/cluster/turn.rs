//! Whose turn it is at a database: a restore writes alone, and nothing is backed up that is half restored.
//!
//! Takes a database. Gives what is in the way. Always holds: what is said to run was so by what the API server had when it was asked; which restores
//! there are is known from the watch, and one that was not seen there was not begun here either.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::names::{INVOKER_KIND, MANAGED_BY, US, label};
use super::restore::{KIND, is_over};
use super::run::{Place, State, look, unended};
use super::world::binding_of;
use super::{Context, Trouble, names};
use crate::resources::app_binding::AppBinding;
use crate::resources::restore::RestoreSession;
use crate::resources::target::TargetRef;

/// A restore into the same database that has begun and not ended; `own` is the uid of the one that asks, where it is a restore.
pub(super) async fn restore_into(
    context: &Context,
    target: Option<&TargetRef>,
    namespace: &str,
    own: Option<&str>,
) -> Result<Option<String>, Trouble> {
    let Some(target) = target else { return Ok(None) };
    let this: ObjectRef<AppBinding> = binding_of(target, namespace);
    let is_of_the_same = |other: &RestoreSession| {
        let home = other.namespace().unwrap_or_default();
        let target = other.spec.target.as_ref().map(|target| &target.r#ref);
        other.uid().as_deref() != own
            && !is_over(other)
            && target.is_some_and(|target| binding_of(target, &home) == this)
    };
    for other in context.world.restores.state_filter(is_of_the_same) {
        let (home, name, uid) =
            (other.namespace().unwrap_or_default(), other.name_any(), other.uid().unwrap_or_default());
        let job = names::restore_job(&name);
        let place = Place { namespace: &home, name: &job, owner: &uid };
        if let State::Runs { .. } = look(context, place).await? {
            return Ok(Some(format!("the RestoreSession `{home}/{name}` writes to the same database")));
        }
    }
    gone(context, namespace).await
}

/// A pod of a restore of this namespace that was removed, and that has not ended yet: nobody knows any more which database it writes to.
async fn gone(context: &Context, namespace: &str) -> Result<Option<String>, Trouble> {
    let labels = BTreeMap::from(
        [(MANAGED_BY, US), (INVOKER_KIND, KIND)].map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let known = |session: &str| {
        let is =
            |one: &RestoreSession| one.namespace().as_deref() == Some(namespace) && label(&one.name_any()) == session;
        context.world.restores.find(is).is_some()
    };
    for pod in unended(context, namespace, &labels).await? {
        let session = pod.labels().get(names::SESSION).map(String::as_str).unwrap_or_default();
        if !known(session) {
            return Ok(Some(format!("the pod `{}` of a restore that was removed has not ended", pod.name_any())));
        }
    }
    Ok(None)
}
