//! `kube restore`: a RestoreSession by hand.
//!
//! Takes a repository, and what is not said from the BackupConfigurations that back up into it. Always holds: into which database is known and there, or nothing is
//! made; with `--wait`, success is a restore that lost nothing.

use aquifer_operator::cluster::STILL_WANTED;
use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::{RestorePhase, RestoreSession};
use aquifer_operator::resources::target::TargetRef;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::args::RestoreArgs;
use super::connect::{Cluster, Problem, failed};
use super::wait::{Far, until_over};
use crate::exit::Exit;
use crate::print::{self, plain};

/// `aquifer kube restore`.
pub(super) async fn run(wanted: &RestoreArgs, cluster: &Cluster) -> Result<Exit, Problem> {
    let (name, namespace) = (&wanted.name, &cluster.namespace);
    let what = cluster.name::<RestoreSession>(name);
    let there = cluster.api::<RestoreSession>().get_opt(name).await.map_err(|error| failed(&what, &error))?;
    if let Some(there) = there {
        return Err(Problem::Failed(is_there(&there, &what, namespace)));
    }
    let (home, repository) = wanted.from.split_once('/').unwrap_or((namespace, &wanted.from));
    must_be_there::<Repository>(cluster, home, repository).await?;
    let writers = writers(cluster, home, repository).await?;
    let (target, target_home) = target(wanted, &writers, namespace)?;
    must_be_there::<AppBinding>(cluster, &target_home, &target.name).await?;
    let host = host(wanted, &writers, &target)?;
    let writers: Vec<&BackupConfiguration> = writers.iter().filter(|one| backs_up(one, &target)).collect();
    // What a backup needs to reach the repository's volume, a restore needs, too.
    let settings = writers.first().and_then(|one| one.spec.runtime_settings.clone());
    let mut session = session(wanted, (home != namespace).then_some(home), repository, &target, host.as_deref())?;
    session.spec.runtime_settings = settings;
    for one in writers.iter().filter(|_| wanted.snapshot == "latest") {
        if let Some(why) = one.shares_snapshots() {
            print::note(&plain(&format!("it may be the wrong one: {why}; `--snapshot ID` says which one is meant")));
        }
    }
    match cluster.api::<RestoreSession>().create(&PostParams::default(), &session).await {
        Ok(_) => {}
        Err(error) => return Err(failed(&what, &error)),
    }
    let of = host.map(|host| format!(" of the host `{host}`")).unwrap_or_default();
    print::note(&format!(
        "the snapshot `{}`{of} of the Repository `{home}/{repository}` is to be restored into the AppBinding `{target_home}/{}`",
        wanted.snapshot, target.name
    ));
    let told = print::result(&format!("RestoreSession {namespace}/{name}"));
    if !wanted.wait || told != Exit::Success {
        return Ok(told);
    }
    tell(&until_over(cluster, name, far).await?, &what, namespace)
}

/// Whether one is of this database.
fn backs_up(one: &BackupConfiguration, target: &TargetRef) -> bool {
    one.spec.target.as_ref().is_some_and(|own| own.r#ref.name == target.name && own.r#ref.namespace == target.namespace)
}

fn is_there(there: &RestoreSession, what: &str, namespace: &str) -> String {
    let phase = there.status.as_ref().and_then(|status| status.phase);
    let phase = phase.map(|phase| format!(" and is {phase:?}")).unwrap_or_default();
    let name = there.name_any();
    format!(
        "{what} is there already{phase}: choose another name, or remove it first: `kubectl delete restoresession {name} -n {namespace}`"
    )
}

/// A session that names what is not there would wait for it without end.
async fn must_be_there<K>(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), Problem>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    if namespace == cluster.namespace {
        return cluster.get::<K>(name).await.map(drop);
    }
    let what = format!("the {} `{namespace}/{name}`", K::kind(&()));
    match Api::<K>::namespaced(cluster.client.clone(), namespace).get_opt(name).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Problem::Failed(format!("{what} is not there: look at its namespace and its name"))),
        // Who may use it from here need not be allowed to read it there.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            print::note(&format!("{what} cannot be looked at: {}", status.message));
            Ok(())
        }
        Err(error) => Err(failed(&what, &error)),
    }
}

/// What backs up into a repository, of this namespace.
async fn writers(cluster: &Cluster, home: &str, repository: &str) -> Result<Vec<BackupConfiguration>, Problem> {
    let all = cluster.api::<BackupConfiguration>().list(&ListParams::default()).await;
    let all = all.map_err(|error| failed("the BackupConfigurations", &error))?.items;
    let namespace = cluster.namespace.as_str();
    let is_writer = |one: &BackupConfiguration| {
        let of = &one.spec.repository;
        of.name == repository && of.namespace.as_deref().unwrap_or(namespace) == home
    };
    Ok(all.into_iter().filter(is_writer).collect())
}

/// The database, and its namespace.
fn target(
    wanted: &RestoreArgs,
    writers: &[BackupConfiguration],
    namespace: &str,
) -> Result<(TargetRef, String), Problem> {
    if let Some(name) = &wanted.target {
        let version = "appcatalog.appscode.com/v1alpha1".to_owned();
        let of = TargetRef { api_version: version, kind: "AppBinding".to_owned(), name: name.clone(), namespace: None };
        return Ok((of, namespace.to_owned()));
    }
    let mut all: Vec<&TargetRef> =
        writers.iter().filter_map(|one| one.spec.target.as_ref()).map(|it| &it.r#ref).collect();
    all.retain(|target| target.kind == "AppBinding");
    all.sort_by_key(|target| (&target.namespace, &target.name));
    all.dedup_by_key(|target| (&target.namespace, &target.name));
    match all[..] {
        [one] => Ok((one.clone(), one.namespace.clone().unwrap_or_else(|| namespace.to_owned()))),
        [] => Err(Problem::Wrong(format!(
            "nothing in the namespace `{namespace}` backs up into `{}`: say into which AppBinding with `--target`",
            wanted.from
        ))),
        _ => Err(Problem::Wrong(format!(
            "several are backed up into `{}`: say into which AppBinding with `--target`: {}",
            wanted.from,
            all.iter().map(|target| format!("`{}`", target.name)).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The host that the snapshot is of; nothing where it is the one of all that say none.
fn host(wanted: &RestoreArgs, writers: &[BackupConfiguration], target: &TargetRef) -> Result<Option<String>, Problem> {
    if wanted.host.is_some() {
        return Ok(wanted.host.clone());
    }
    let targets = writers.iter().filter_map(|one| one.spec.target.as_ref());
    let mut all: Vec<Option<String>> =
        targets.filter(|one| one.r#ref.name == target.name).map(|one| one.alias.clone()).collect();
    all.sort();
    all.dedup();
    match &all[..] {
        [] => Ok(None),
        [one] => Ok(one.clone()),
        _ => Err(Problem::Wrong(format!(
            "`{}` is backed up into `{}` under several hosts: say which with `--host`: {}",
            target.name,
            wanted.from,
            all.iter().map(|host| format!("`{}`", host.as_deref().unwrap_or("host-0"))).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn session(
    wanted: &RestoreArgs,
    home: Option<&str>,
    repository: &str,
    target: &TargetRef,
    host: Option<&str>,
) -> Result<RestoreSession, Problem> {
    let mut rule = json!({"snapshots": [wanted.snapshot]});
    if let Some(host) = host {
        rule["sourceHost"] = json!(host);
    }
    let mut of = json!({"name": repository});
    if let Some(home) = home {
        of["namespace"] = json!(home);
    }
    let spec = json!({"repository": of, "target": {"ref": target, "rules": [rule]}});
    let spec = serde_json::from_value(spec).map_err(|error| Problem::Failed(format!("no RestoreSession: {error}")))?;
    let mut session = RestoreSession::new(&wanted.name, spec);
    // Whoever asks for it now wants it now, whatever the API server's clock says of its age.
    session.annotations_mut().insert(STILL_WANTED.to_owned(), Timestamp::now().to_string());
    Ok(session)
}

fn far(one: &RestoreSession) -> Far<RestoreSession> {
    match one.status.as_ref().and_then(|status| status.phase) {
        None => Far::New,
        Some(RestorePhase::Pending) => Far::Waits(one.why().unwrap_or_else(|| "no reason was given".to_owned())),
        Some(RestorePhase::Running) => Far::Runs,
        Some(_) => Far::Over(one.clone()),
    }
}

/// Says what became of it.
fn tell(one: &RestoreSession, what: &str, namespace: &str) -> Result<Exit, Problem> {
    let status = one.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or(RestorePhase::Unknown);
    let mut text = format!("phase     {phase:?}\n");
    if let Some(duration) = &status.session_duration {
        text.push_str(&format!("duration  {duration}\n"));
    }
    if let Some(what) = one.what() {
        text.push_str(&format!("restored  {}\n", plain(&what)));
    }
    let told = print::result(&text);
    if phase == RestorePhase::Succeeded {
        return Ok(told);
    }
    let why = one.why().unwrap_or_else(|| "no reason was given".to_owned());
    Err(Problem::Failed(format!(
        "{what} is {phase:?}: {why}: {}`kubectl describe restoresession {} -n {namespace}` tells more",
        if phase == RestorePhase::Invalid {
            "it stands, and runs once that is mended within the hour; remove it if it is not to; "
        } else {
            ""
        },
        one.name_any()
    )))
}
