//! What users of Stash made: whether the operator takes it as it is, and what Stash left on it.

use k8s_openapi::api::batch::v1::CronJob;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::Look;
use super::needs::{Lack, gather};
use crate::cluster::{FINALIZER, files_folder, names};
use crate::manifests::Manifests;
use crate::resources::backup::BackupConfiguration;
use crate::resources::repository::Repository;
use crate::resources::restore::RestoreSession;
use crate::resources::target::{RepositoryRef, TargetRef, TaskRef};
use crate::resources::task::{Function, Task};
use crate::session::{self, Session, Setting};

/// Kinds of Stash that are not known here, with what stands in their place.
const UNKNOWN: [(&str, &str, &str); 2] = [
    ("BackupBatch", "backupbatches", "make a BackupConfiguration of each of its members"),
    ("RestoreBatch", "restorebatches", "make a RestoreSession of each of its members"),
];

/// What the operator is not asked to do again.
const OVER: [&str; 3] = ["Succeeded", "Failed", "Unknown"];

/// How one is read into a session.
type Read = fn(&Manifests, Option<&str>, Setting<'_>) -> Result<Session, Vec<String>>;

pub(super) async fn look(look: &mut Look) -> Result<(), kube::Error> {
    let mut manifests = Manifests::default();
    for (task, name) in look.everywhere::<Task>().await?.into_iter().map(|it| (it.clone(), it.name_any())) {
        manifests.tasks.insert((String::new(), name), task);
    }
    for (function, name) in look.everywhere::<Function>().await?.into_iter().map(|it| (it.clone(), it.name_any())) {
        manifests.functions.insert((String::new(), name), function);
    }
    read::<Repository>(look).await?;
    let backups = read::<BackupConfiguration>(look).await?;
    for one in &backups {
        manifests.backups.insert((one.namespace().unwrap_or_default(), one.name_any()), one.clone());
    }
    for one in &backups {
        let target = one.spec.target.as_ref().map(|target| &target.r#ref);
        let asks = (&one.spec.repository, target, one.spec.task.as_ref());
        judge(look, &mut manifests, one, asks, session::backup).await?;
        schedule(look, one).await?;
    }
    for one in read::<RestoreSession>(look).await? {
        let key = (one.namespace().unwrap_or_default(), one.name_any());
        manifests.restores.insert(key, one.clone());
        look.note(
            format!("the RestoreSession `{}` has not ended: Aquifer's operator runs it while it is younger than an hour, and later when it is told to", whole(&one)),
            "remove it if nobody wants it any more",
        );
        let target = one.spec.target.as_ref().map(|target| &target.r#ref);
        let asks = (&one.spec.repository, target, one.spec.task.as_ref());
        judge(look, &mut manifests, &one, asks, session::restore).await?;
    }
    for (kind, plural, next) in UNKNOWN {
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("stash.appscode.com", "v1beta1", kind), plural);
        for one in look.as_written(&kind).await? {
            let name = format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any());
            look.stops(format!("the {} `{name}` is of a kind that is not known here", kind.kind), next);
        }
    }
    for one in look.here::<CronJob>().await? {
        cron_job(look, &one, &backups);
    }
    Ok(())
}

/// All of a kind that is yet to be done. One that is not as it should be is a finding.
async fn read<K>(look: &mut Look) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let kind = ApiResource::erase::<K>(&());
    let mut all = Vec::new();
    for mut one in look.as_written(&kind).await? {
        let name = format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any());
        finalizers(look, &kind, &one, &name);
        let phase = one.data.pointer("/status/phase").and_then(Json::as_str).unwrap_or_default();
        if K::kind(&()) == "RestoreSession" && OVER.contains(&phase) {
            continue;
        }
        // What Stash says of it is not what is wanted of it.
        if let Some(data) = one.data.as_object_mut() {
            data.remove("status");
        }
        match serde_json::to_value(&one).and_then(serde_json::from_value) {
            Ok(read) => all.push(read),
            Err(error) => {
                look.stops(format!("the {} `{name}` cannot be read here: {error}", kind.kind), "mend its spec")
            }
        }
    }
    Ok(all)
}

/// Whoever else wants to be asked before it goes.
fn finalizers(look: &mut Look, kind: &ApiResource, one: &DynamicObject, name: &str) {
    // Those of Kubernetes, and the operator's own.
    let of_kubernetes = |finalizer: &&String| ["foregroundDeletion", "orphan", FINALIZER].contains(&finalizer.as_str());
    let (kept, foreign): (Vec<&String>, Vec<&String>) = one.finalizers().iter().partition(of_kubernetes);
    let [first, ..] = foreign[..] else { return };
    let kept = if kept.is_empty() { Json::Null } else { json!(kept) };
    let patch = json!({"metadata": {"finalizers": kept}});
    look.stops(
        format!(
            "the {} `{name}` has the finalizer `{first}`: with its program gone, a deletion of it hangs",
            kind.kind
        ),
        format!(
            "when Stash is gone: `kubectl patch {} {} -n {} --type=merge -p '{patch}'`",
            kind.plural,
            one.name_any(),
            one.namespace().unwrap_or_default()
        ),
    );
}

fn whole<K: Resource>(one: &K) -> String {
    format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any())
}

/// Looks one over as the operator does.
async fn judge<K>(
    look: &mut Look,
    manifests: &mut Manifests,
    one: &K,
    (repository, target, task): (&RepositoryRef, Option<&TargetRef>, Option<&TaskRef>),
    session: Read,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()>,
{
    let (kind, name) = (K::kind(&()), whole(one));
    let what = format!("the {kind} `{name}`");
    let home = one.namespace().unwrap_or_default();
    let lacks = gather(&look.client, manifests, &home, repository, target, task).await?;
    let complete = lacks.is_empty();
    for lack in lacks {
        match lack {
            Lack::Gone(why) => look.stops(format!("{what}: {why}"), "make it: until then there is no session of it"),
            Lack::Hidden(why) => {
                look.note(format!("{what} could not be looked over: {why}"), "let somebody look who may read it");
            }
        }
    }
    if !complete {
        return Ok(());
    }
    let pod = Setting::Pod { folder: &files_folder(), session: &name, retry_left: 0, exec: true };
    match session(manifests, Some(&name), pod) {
        Ok(session) => {
            for note in session.notes {
                look.note(format!("{what}: {note}"), "change it where that matters: nothing stands in the way");
            }
        }
        Err(problems) => {
            for problem in problems {
                look.stops(format!("{what}: {problem}"), "change this part of its spec, or of what it refers to");
            }
        }
    }
    Ok(())
}

/// Whether a schedule is one: the API server is asked, which makes nothing of it.
async fn schedule(look: &mut Look, one: &BackupConfiguration) -> Result<(), kube::Error> {
    let name = whole(one);
    let Some(schedule) = one.spec.schedule.as_ref().filter(|schedule| !schedule.trim().is_empty()) else {
        look.note(
            format!("the BackupConfiguration `{name}` has no schedule: nothing is backed up by itself"),
            "give it a `schedule`, if that is not meant so",
        );
        return Ok(());
    };
    let container = json!({"name": "slot", "image": "none"});
    let pod = json!({"restartPolicy": "Never", "containers": [container]});
    let cron_job = json!({
        "metadata": {"generateName": "schedule-"},
        "spec": {"schedule": schedule, "timeZone": one.spec.time_zone, "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    });
    let cron_job: CronJob = serde_json::from_value(cron_job).map_err(kube::Error::SerdeError)?;
    let api: Api<CronJob> = Api::namespaced(look.client.clone(), &one.namespace().unwrap_or_default());
    match api.create(&PostParams { dry_run: true, field_manager: None }, &cron_job).await {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let said = status.message.split_once("is invalid: ").map_or(status.message.as_str(), |(_, said)| said);
            look.stops(
                format!("the BackupConfiguration `{name}` has a schedule that is none: {said}"),
                "mend `schedule` or `timeZone`: until then nothing is backed up by itself",
            );
        }
        // Who looks may not make any, or not there.
        Err(kube::Error::Api(_)) | Ok(_) => {}
        Err(other) => return Err(other),
    }
    Ok(())
}

/// A cron job of Stash's.
fn cron_job(look: &mut Look, one: &CronJob, backups: &[BackupConfiguration]) {
    let name = one.name_any();
    let is_ours = one.labels().get(names::MANAGED_BY).is_some_and(|by| by == names::US);
    if !name.starts_with("stash-trigger-") || is_ours {
        return;
    }
    let beside = |backup: &&BackupConfiguration| backup.namespace() == one.namespace();
    let owners = one.metadata.owner_references.iter().flatten();
    let is_owner = |backup: &&BackupConfiguration| {
        owners
            .clone()
            .any(|owner| owner.kind == "BackupConfiguration" && Some(&owner.uid) == backup.metadata.uid.as_ref())
    };
    let (what, home) = (format!("the CronJob `{}`", whole(one)), one.namespace().unwrap_or_default());
    if let Some(backup) = backups.iter().filter(beside).find(is_owner) {
        look.note(
            format!("{what} is Stash's, of the BackupConfiguration `{}`", backup.name_any()),
            "nothing: Aquifer's operator makes it its own, with the same schedule",
        );
    } else if let Some(backup) =
        backups.iter().filter(beside).find(|backup| names::cron_job(&backup.name_any()) == name)
    {
        look.stops(
            format!(
                "{what} has the name of that of the BackupConfiguration `{}`, and is not its own",
                backup.name_any()
            ),
            format!("`kubectl delete cronjob {name} -n {home}`"),
        );
    } else {
        look.note(
            format!("{what} is of nothing that is known here: it goes on asking for backups"),
            format!("`kubectl delete cronjob {name} -n {home}`, or what it belongs to"),
        );
    }
}
