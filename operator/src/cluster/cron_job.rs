//! The cron job of a `BackupConfiguration`: its controller makes a job of each slot.
//!
//! Takes a `BackupConfiguration`. Gives a cron job as its spec says, or why there is none. Always holds: what is another's is neither changed nor
//! removed; what another program made for the same one, under whatever name, is replaced, since it would ask for sessions, too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{ObjectMeta, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde::Deserialize;
use serde_json::json;

use super::configuration::KIND;
use super::names::{self, INVOKER_NAME, MANAGED_BY, SLOT, US};
use super::{Context, Trouble, remove};
use crate::resources::backup::BackupConfiguration;

/// How late a slot may begin, in seconds: what the cluster was down for longer than that is not made up for.
const LATEST: i64 = 3600;

/// What is kept of a cron job: whose it is, and what of it may differ from what is wanted. A whole one has all that a pod can have.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct KnownCronJob {
    metadata: ObjectMeta,
    spec: KnownSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KnownSpec {
    schedule: String,
    time_zone: Option<String>,
    suspend: Option<bool>,
    concurrency_policy: Option<String>,
    job_template: KnownTemplate,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct KnownTemplate {
    metadata: Option<KnownMeta>,
    spec: Option<KnownJob>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct KnownMeta {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct KnownJob {
    suspend: Option<bool>,
}

impl Resource for KnownCronJob {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        CronJob::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        CronJob::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        CronJob::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        CronJob::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl KnownCronJob {
    /// Whether it is some `BackupConfiguration`'s.
    pub(super) fn is_owned(&self) -> bool {
        self.metadata.owner_references.iter().flatten().any(|owner| owner.kind == KIND)
    }
}

/// Whether it has one that was made here, as far as is known.
pub(super) fn is_there(context: &Context, one: &BackupConfiguration, namespace: &str) -> bool {
    let this = ObjectRef::new(&names::cron_job(&one.name_any())).within(namespace);
    let is_ours = |known: &KnownCronJob| known.labels().get(MANAGED_BY).is_some_and(|by| by == US);
    context.world.cron_jobs.get(&this).is_some_and(|known| is_of(&*known, one) && is_ours(&known))
}

/// Makes its cron job, or brings it to where the spec says.
pub(super) async fn bring(
    context: &Context,
    one: &BackupConfiguration,
    namespace: &str,
) -> Result<Result<String, String>, Trouble> {
    let name = names::cron_job(&one.name_any());
    let api: Api<CronJob> = Api::namespaced(context.client.clone(), namespace);
    let schedule = one.spec.schedule.as_ref().filter(|schedule| !schedule.trim().is_empty());
    remove_others(context, &api, one, schedule.map(|_| &*name)).await?;
    let Some(schedule) = schedule else {
        return Ok(Ok("it has no schedule: its sessions are made by hand".to_owned()));
    };
    let (wanted, as_known) = wanted_cron_job(context, one, namespace, &name, schedule)?;
    let known = context.world.cron_jobs.get(&ObjectRef::new(&name).within(namespace));
    let said = format!("the CronJob `{name}` has the schedule `{schedule}`");
    if known.as_ref().is_some_and(|known| is_of(&**known, one) && known.spec == as_known) {
        return Ok(Ok(said));
    }
    let refused = |error: kube::Error| match error {
        kube::Error::Api(status) if status.code == 422 || status.code == 403 => Ok(Err(status.message.clone())),
        other => Err(Trouble::from(other)),
    };
    let Some(stored) = api.get_opt(&name).await? else {
        return match api.create(&PostParams::default(), &wanted).await {
            Ok(_) => Ok(Ok(said)),
            Err(error) => refused(error),
        };
    };
    if !is_of(&stored, one) {
        return Ok(Err(format!("there is a CronJob `{name}` that is not this one's: remove it, or rename this")));
    }
    // Another program's cron job of this owner is taken over as a whole, so that nothing of it stays.
    let mut taken = wanted;
    taken.metadata.resource_version = stored.metadata.resource_version.clone();
    match api.replace(&name, &PostParams::default(), &taken).await {
        Ok(_) => Ok(Ok(said)),
        Err(error) => refused(error),
    }
}

/// How names of what Stash makes begin.
const STASHS: &str = "stash-";

/// Removes what another program made of this one, under a name that it made otherwise.
async fn remove_others(
    context: &Context,
    api: &Api<CronJob>,
    one: &BackupConfiguration,
    name: Option<&str>,
) -> Result<(), Trouble> {
    // What somebody lets go with it may do something else.
    let is_other = |other: &KnownCronJob| {
        is_of(other, one) && Some(&*other.name_any()) != name && other.name_any().starts_with(STASHS)
    };
    for other in context.world.cron_jobs.state_filter(is_other) {
        tracing::info!("the CronJob `{}/{}` is replaced", other.namespace().unwrap_or_default(), other.name_any());
        remove(api, &other.name_any(), other.uid()).await?;
    }
    Ok(())
}

fn is_of<K: Resource>(it: &K, one: &BackupConfiguration) -> bool {
    it.meta()
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == KIND && Some(&owner.uid) == one.metadata.uid.as_ref())
}

/// What is wanted, and what of it is compared: the API server fills in the rest.
fn wanted_cron_job(
    context: &Context,
    one: &BackupConfiguration,
    namespace: &str,
    name: &str,
    schedule: &str,
) -> Result<(CronJob, KnownSpec), Trouble> {
    let ours = json!({MANAGED_BY: US, SLOT: names::label(&one.name_any())});
    let spec = json!({
        "schedule": schedule,
        "timeZone": one.spec.time_zone,
        "suspend": one.spec.paused,
        // One slot waits at most.
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": LATEST,
        "successfulJobsHistoryLimit": 0,
        "failedJobsHistoryLimit": 0,
        "jobTemplate": {
            "metadata": {"labels": ours, "annotations": {INVOKER_NAME: one.name_any()}},
            "spec": {
                "suspend": true,
                "template": {"spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    // It is never begun; whoever begins it by hand sees what it is.
                    "containers": [{"name": "slot", "image": context.settings.image, "args": ["--version"]}],
                }},
            },
        },
    });
    let owner = one.controller_owner_ref(&()).ok_or_else(|| Trouble::other("it has no name or uid"))?;
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: serde_json::from_value(ours).ok(),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let unsaid = |error: serde_json::Error| Trouble::other(error.to_string());
    let known = KnownSpec::deserialize(&spec).map_err(unsaid)?;
    let spec = serde_json::from_value(spec).map_err(unsaid)?;
    Ok((CronJob { metadata, spec, status: None }, known))
}
