//! `run-session`: manifests to a run. Always holds: all that is wrong with the manifests is said before anything runs.

use std::path::Path;

use aquifer_engine::event::Status;
use aquifer_operator::hooks::STEP;
use aquifer_operator::manifests::{self, Manifests};
use aquifer_operator::outcome::Outcome;
use aquifer_operator::session::{self, Apart, End, Session, Setting, TASK};

use crate::args::{Args, Progress, SessionArgs, ShowArgs};
use crate::exit::Exit;
use crate::print::Screen;
use crate::print::plain;
use crate::{inputs, print, run};

/// `aquifer run-session`.
pub(crate) fn run(wanted: &SessionArgs, args: &Args, screen: &Screen) -> Exit {
    // What the session names: certificates, and keys. Only their owner can look into it.
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            print::error(&format!("no folder for certificates can be made: {error}"));
            return Exit::Failed;
        }
    };
    let mut told = Vec::new();
    let read = manifests::read(&wanted.files);
    let chosen = read.and_then(|manifests| {
        told.clone_from(&manifests.notes);
        // One that is misspelt may be the one that says what is overwritten, or kept.
        let mut unknown = manifests.unknown.clone();
        if wanted.ignore_unknown {
            told.append(&mut unknown);
        }
        match chosen(&manifests, wanted, folder.path()) {
            Ok(session) if unknown.is_empty() => Ok(session),
            Ok(_) => {
                unknown.push("correct what is misspelt, or say `--ignore-unknown`".to_owned());
                Err(unknown)
            }
            Err(problems) => Err([unknown, problems].concat()),
        }
    });
    let session = match chosen {
        Ok(found) => found,
        Err(problems) => {
            told.iter().for_each(|note| print::note(&plain(note)));
            problems.iter().for_each(|problem| print::error(&plain(problem)));
            return Exit::Wrong;
        }
    };
    if wanted.show.progress != Progress::Json {
        told.iter().chain(&session.notes).for_each(|note| print::note(&plain(note)));
    }
    if wanted.dry_run {
        return print::result(&session.text());
    }
    if let Err(error) = session.write_files(folder.path()) {
        print::error(&format!("a certificate cannot be put into a file: {error}"));
        return Exit::Failed;
    }
    let mut catalog = inputs::builtin_catalog();
    catalog.add_text("the session", &session.text());
    match catalog.plan(TASK, &session.inputs()) {
        Ok(plan) => {
            let mut outcome = None;
            let exit = run::execute_and(plan, &wanted.show, args, screen, |report| outcome = Some(Outcome::of(report)));
            let hook = after(&session, outcome, wanted, args, screen);
            if exit == Exit::Success { hook } else { exit }
        }
        Err(problems) => {
            print::problems(&problems, args.color, "; nothing was run");
            Exit::Wrong
        }
    }
}

/// What is done after it, where a hook says so and the one before did not fail.
fn after(session: &Session, outcome: Option<Outcome>, wanted: &SessionArgs, args: &Args, screen: &Screen) -> Exit {
    let (Some(asker), Some(outcome)) = (&session.asker, outcome) else { return Exit::Success };
    if outcome.status(STEP) == Some(Status::Failed) {
        return Exit::Success;
    }
    let said = outcome.error.map(|error| error.message).unwrap_or_else(|| "it was stopped".to_owned());
    let end = End { error: (!outcome.succeeded).then_some(&said), is_final: true, seconds: outcome.seconds };
    let hook = match asker.after(end) {
        None => return Exit::Success,
        Some(Ok(Apart::Run(hook))) => hook,
        // It was looked over before the session began, and refused.
        Some(Ok(Apart::Command(_))) => {
            print::error("the hook after it: it has an `exec`, which only the operator does, in a cluster");
            return Exit::Failed;
        }
        Some(Err(why)) => {
            print::error(&format!("the hook after it: {why}"));
            return Exit::Failed;
        }
    };
    let mut catalog = inputs::builtin_catalog();
    catalog.add_text("the hook", &hook.text());
    match catalog.plan(TASK, &hook.inputs()) {
        // The report is the session's.
        Ok(plan) => run::execute(plan, &ShowArgs { report: None, progress: wanted.show.progress }, args, screen),
        Err(problems) => {
            print::problems(&problems, args.color, "; the hook was not run");
            Exit::Failed
        }
    }
}

/// What is asked for: by name, or the only thing that the manifests ask for.
fn chosen(manifests: &Manifests, wanted: &SessionArgs, folder: &Path) -> Result<Session, Vec<String>> {
    let here = Setting::Machine(folder);
    match (&wanted.backup, &wanted.restore) {
        (Some(name), _) => session::backup(manifests, Some(name), here),
        (None, Some(name)) => session::restore(manifests, Some(name), here),
        (None, None) => match (manifests.backups.is_empty(), manifests.restores.is_empty()) {
            (false, true) => session::backup(manifests, None, here),
            (true, false) => session::restore(manifests, None, here),
            (true, true) => {
                Err(vec!["there is no BackupConfiguration and no RestoreSession among the manifests".to_owned()])
            }
            (false, false) => {
                let names = manifests.backups.keys().map(|(namespace, name)| format!("--backup {namespace}/{name}"));
                let names = names
                    .chain(manifests.restores.keys().map(|(namespace, name)| format!("--restore {namespace}/{name}")));
                Err(vec![format!(
                    "the manifests ask for several things: say which one: {}",
                    names.collect::<Vec<_>>().join(", ")
                )])
            }
        },
    }
}
