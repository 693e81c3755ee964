//! `kube status`: how things are. Always holds: the exit status says whether all is well.

use aquifer_operator::overview::{About, LastSession, Line, overview};

use super::args::{Form, StatusArgs};
use super::connect::{Cluster, Problem, failed};
use super::table::Table;
use crate::exit::Exit;
use crate::print;

/// `aquifer kube status`.
pub(super) async fn run(wanted: &StatusArgs, cluster: &Cluster) -> Result<Exit, Problem> {
    let namespace = (!wanted.all_namespaces).then_some(cluster.namespace.as_str());
    let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("the namespace `{name}`"));
    let found = overview(&cluster.client, namespace, wanted.name.as_deref()).await;
    let lines = found.map_err(|error| failed(&format!("what is in {place}"), &error))?;
    if lines.is_empty() && namespace.is_some() {
        cluster.is_there().await?;
    }
    if let Some(name) = wanted.name.as_ref().filter(|_| lines.is_empty()) {
        return Err(Problem::Failed(format!(
            "no BackupConfiguration, Repository or RestoreSession `{name}` is in {place}: `aquifer kube status -A` shows all"
        )));
    }
    let told = match wanted.output {
        Form::Json => match serde_json::to_string_pretty(&lines) {
            Ok(text) => print::result(&text),
            Err(error) => return Err(Problem::Failed(format!("no JSON can be made: {error}"))),
        },
        Form::Text if lines.is_empty() => {
            print::note(&format!("no BackupConfiguration, Repository or RestoreSession is in {place}"));
            Exit::Success
        }
        Form::Text => print::result(&text(&lines)),
    };
    let well = lines.iter().all(|line| line.well);
    Ok(if told == Exit::Success && !well { Exit::Failed } else { told })
}

fn text(lines: &[Line]) -> String {
    let mut backups =
        Table::new(&["BACKUPCONFIGURATION", "PHASE", "SCHEDULE", "LAST SESSION", "LAST SUCCESS", "LAST SLOT"]);
    let mut databases = Table::new(&["APPBINDING", "BLUEPRINT"]);
    let mut repositories = Table::new(&["REPOSITORY", "PHASE", "INTEGRITY", "SIZE", "SNAPSHOTS", "LAST SUCCESS"]);
    let mut unreadable = Table::new(&["UNREADABLE", "KIND"]);
    let mut restores = Table::new(&["RESTORESESSION", "PHASE", "FROM", "MADE", "DURATION"]);
    for line in lines {
        let name = Some(format!("{}/{}", line.namespace, line.name));
        let notes = line.notes.iter().map(|note| format!("note: {note}"));
        let (phase, why) = (line.phase.clone(), line.why.iter().cloned().chain(notes).collect());
        match &line.about {
            About::Backup { schedule, paused, last_session, last_success, last_slot } => {
                let schedule = schedule.clone().unwrap_or_else(|| "by hand".to_owned());
                let schedule = if *paused { format!("{schedule} (paused)") } else { schedule };
                let last = last_session.as_ref().map(session);
                let (success, slot) = (last_success.map(|at| at.to_string()), last_slot.map(|at| at.to_string()));
                backups.row(vec![name, phase, Some(schedule), last, success, slot], why);
            }
            About::Unreadable {} => unreadable.row(vec![name, Some(line.kind.clone())], why),
            About::Database { blueprint } => databases.row(vec![name, Some(blueprint.clone())], why),
            About::Repository { integrity, size, snapshots, last_success } => {
                let integrity = integrity.map(|sound| if sound { "sound" } else { "damaged" }.to_owned());
                let (count, success) =
                    (snapshots.map(|count| count.to_string()), last_success.map(|at| at.to_string()));
                repositories.row(vec![name, phase, integrity, size.clone(), count, success], why);
            }
            About::Restore { repository, made, duration } => {
                let made = made.map(|at| at.to_string());
                restores.row(vec![name, phase, Some(repository.clone()), made, duration.clone()], why);
            }
        }
    }
    let tables = [backups.text(), databases.text(), repositories.text(), restores.text(), unreadable.text()];
    tables.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join("\n")
}

/// A session's phase and time.
fn session(last: &LastSession) -> String {
    let phase = last.phase.as_deref().unwrap_or("New");
    last.time.map_or_else(|| phase.to_owned(), |at| format!("{phase} {at}"))
}
