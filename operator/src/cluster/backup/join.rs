//! The second half of a session whose Job read a cluster's shards by a pod each: their snapshots become one, in a Job of its own.
//!
//! Takes how the first Job ended. Gives how the whole session did. Always holds: nothing is joined unless each shard's pod said which snapshot it made;
//! once they are being joined, nothing counts but how that ends; it is begun once, and one whose Job somebody removed has failed; what is told of the
//! session is the sum of its shards; both have the time of one.

use std::time::Duration;

use aquifer_engine::event::Status;
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value as Json, json};

use crate::cluster::gather::gather;
use crate::cluster::job::Wanted;
use crate::cluster::run::{Ended, Follow, Place, Way};
use crate::cluster::{
    Context, Trouble, conditions, configuration, files_folder, is_newest, names, patch_status, repository, run,
};
use crate::outcome::{Outcome, StepOutcome};
use crate::resources::backup::BackupConfiguration;
use crate::resources::backup_session::{BackupSession, BackupSessionStatus};
use crate::resources::condition::ConditionStatus;
use crate::session::{self, Setting, steps};

/// The condition of a session whose second Job was made.
const JOINING: &str = "ShardsJoined";

/// Joins what a session's pods stored, where there were several and all succeeded; else the session has ended as its Job did.
pub(super) async fn after(
    context: &Context,
    one: &BackupSession,
    status: &mut BackupSessionStatus,
    asks: Option<&BackupConfiguration>,
    time_out: Duration,
    (first, is_noted): (Ended, bool),
) -> Result<Follow, Trouble> {
    let namespace = one.namespace().unwrap_or_default();
    let (name, uid) = (names::join_job(&one.name_any()), one.uid().unwrap_or_default());
    let place = Place { namespace: &namespace, name: &name, owner: &uid };
    let was_made = status.conditions.iter().any(|one| one.r#type == JOINING);
    // Once they are being joined, the first Job may be gone.
    if first.parts.is_empty() && (is_noted || !was_made) {
        if first.error.is_some() {
            // It may have been given up while they were joined.
            run::give_up(context, place).await?;
        }
        return Ok(ended(first));
    }
    match run::way(context, place).await? {
        Way::Waits => return Ok(Follow::Runs),
        Way::Blocked(why) => return Ok(ended(Ended::failed(why))),
        Way::Free if was_made => {
            return Ok(ended(Ended::failed(format!("its Job `{name}` was removed before it ended"))));
        }
        Way::Free => {
            // What is known of it may be older than its end.
            if is_newest(context, one).await?
                && let Err(why) = begin(context, one, asks, place, time_out, &first).await?
            {
                return Ok(ended(Ended::failed(why)));
            }
            return Ok(Follow::Runs);
        }
        Way::Made if !was_made => {
            conditions::set(&mut status.conditions, JOINING, ConditionStatus::Unknown, "Joining", "");
            patch_status(context, one, &*status).await?;
            // The change that this is brings it here again.
            return Ok(Follow::Runs);
        }
        Way::Made => {}
    }
    // What its pods said may be gone by now, and what they stored is not.
    Ok(match run::follow(context, place, time_out, None).await? {
        Follow::Ended(joined) => {
            let done = joined.error.clone().map_or_else(|| Ok(String::new()), Err);
            conditions::judge(&mut status.conditions, JOINING, ("Joined", "NotJoined"), done);
            ended(whole(&first.parts, *joined))
        }
        other => other,
    })
}

fn ended(ended: Ended) -> Follow {
    Follow::Ended(Box::new(ended))
}

/// Makes the Job. Gives why there is none.
async fn begin(
    context: &Context,
    one: &BackupSession,
    asks: Option<&BackupConfiguration>,
    place: Place<'_>,
    time_out: Duration,
    first: &Ended,
) -> Result<Result<(), String>, Trouble> {
    let snapshots: Vec<&str> =
        first.parts.iter().flatten().filter_map(|part| part.words(steps::PUSH, "snapshot")).collect();
    if snapshots.len() < first.parts.len() {
        let why =
            "a pod was gone before it was heard which snapshot its shard has: another session stores only what is new";
        return Ok(Err(why.to_owned()));
    }
    let Some(asks) = asks else {
        return Ok(Err("its BackupConfiguration is gone: the snapshots of its shards were not joined".to_owned()));
    };
    let spec = &asks.spec;
    let found = gather(context, place.namespace, &spec.repository, None, None).await?;
    if !found.is_all() {
        return Ok(Err(found.missing().join("; ")));
    }
    let mut manifests = found.manifests;
    manifests.backups.insert((place.namespace.to_owned(), asks.name_any()), asks.clone());
    let (folder, own_name) = (files_folder(), one.name_any());
    let pod = Setting::Pod { folder: &folder, session: &own_name, retry_left: 0, exec: false };
    let whole = format!("{}/{}", place.namespace, asks.name_any());
    let session = match session::join(&manifests, &whole, pod, &snapshots) {
        Ok(session) => session,
        Err(problems) => return Ok(Err(problems.join("; "))),
    };
    let wanted = Wanted {
        name: place.name.to_owned(),
        namespace: place.namespace.to_owned(),
        session: &own_name,
        uid: place.owner,
        database: None,
        // That of the first Job, which was made for what there was then: its pods have ended.
        host: first.host.clone().unwrap_or_else(|| names::host("backup", place.owner)),
        labels: names::invoked(configuration::KIND, &asks.name_any()),
        owner: one.controller_owner_ref(&()),
        repository: Some(repository::place(asks)),
        run: &session,
        image: &context.settings.image,
        settings: spec.runtime_settings.as_ref(),
        temp_dir: spec.temp_dir.as_ref(),
        volume: found.volume.as_deref(),
        deadline: left(time_out, first.took),
    };
    run::make(context, &wanted).await
}

/// What the first Job has left of the session's time: a second at least, in which it is told of that it is over.
fn left(time_out: Duration, took: Option<Duration>) -> Duration {
    time_out.saturating_sub(took.unwrap_or_default()).max(Duration::from_secs(1))
}

/// What became of the whole, as if one pod had done it; without sums where one of them was not heard.
fn whole(parts: &[Option<Outcome>], mut joined: Ended) -> Ended {
    let all = parts.iter().map(Option::as_ref).collect::<Option<Vec<&Outcome>>>();
    let Some(parts) = all.filter(|parts| !parts.is_empty()) else { return joined };
    let sum = |step: &str, output: &str| -> i64 { parts.iter().filter_map(|part| part.number(step, output)).sum() };
    let longest = |of: &dyn Fn(&Outcome) -> f64| parts.iter().map(|part| of(part)).fold(0.0, f64::max);
    let Some(outcome) = &mut joined.outcome else { return joined };
    let outputs = Map::from_iter(["keys", "bytes"].map(|name| (name.to_owned(), json!(sum(steps::DUMP, name)))));
    let dump = StepOutcome {
        status: Status::Succeeded,
        seconds: longest(&|part| part.steps.get(steps::DUMP).map_or(0.0, |step| step.seconds)),
        outputs,
    };
    outcome.seconds += longest(&|part| part.seconds);
    outcome.steps.insert(steps::DUMP.to_owned(), dump);
    if let Some(push) = outcome.steps.get_mut(steps::PUSH) {
        let stored = push.outputs.get("storedBytes").and_then(Json::as_i64).unwrap_or_default();
        push.outputs.insert("storedBytes".to_owned(), json!(stored.max(sum(steps::PUSH, "storedBytes"))));
        push.seconds += longest(&|part| part.steps.get(steps::PUSH).map_or(0.0, |step| step.seconds));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seconds: f64, steps: Json) -> Outcome {
        let said = json!({"version": 1, "succeeded": true, "seconds": seconds, "steps": steps}).to_string();
        Outcome::read(&said).expect("an outcome")
    }

    #[test]
    fn what_is_told_is_the_sum_of_the_shards() {
        let step = |seconds: f64, outputs: Json| json!({"status": "succeeded", "seconds": seconds, "outputs": outputs});
        let part = |keys: i64, seconds: f64| {
            let dump = step(seconds, json!({"keys": keys, "bytes": keys * 10}));
            outcome(seconds, json!({"dump": dump, "push": step(seconds, json!({"storedBytes": keys * 2}))}))
        };
        let parts = [Some(part(3, 1.0)), Some(part(4, 5.0))];
        let left = |took: Option<u64>| left(Duration::from_secs(60), took.map(Duration::from_secs)).as_secs();
        assert_eq!((left(Some(5)), left(Some(61)), left(None)), (55, 1, 60));
        let joined = step(1.0, json!({"snapshot": "abc", "bytes": 70, "storedBytes": 0}));
        let outcome = Some(outcome(2.0, json!({"push": joined})));
        let joined = Ended { succeeded: true, outcome, error: None, ..Ended::failed("") };
        let unheard = whole(&[None, parts[1].clone()], joined.clone());
        assert_eq!((unheard.number("dump", "keys"), unheard.words("push", "snapshot")), (None, Some("abc")));
        let whole = whole(&parts, joined);
        assert_eq!((whole.number("dump", "keys"), whole.number("push", "storedBytes")), (Some(7), Some(14)));
        assert_eq!((whole.words("push", "snapshot"), whole.number("push", "bytes")), (Some("abc"), Some(70)));
        assert_eq!(whole.seconds(), Some(7.0));
    }
}
