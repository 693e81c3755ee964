//! `run-session`: manifests to a run. Always holds: all that is wrong with the manifests is said before anything runs.

use aquifer_operator::manifests::{self, Manifests};
use aquifer_operator::session::{self, Session, TASK};

use crate::args::{Args, Progress, SessionArgs};
use crate::exit::Exit;
use crate::print::Screen;
use crate::{inputs, print, run};

/// `aquifer run-session`.
pub(crate) fn run(wanted: &SessionArgs, args: &Args, screen: &Screen) -> Exit {
    let read = manifests::read(&wanted.files);
    let (session, unknown) = match read.and_then(|manifests| Ok((chosen(&manifests, wanted)?, manifests.notes))) {
        Ok(found) => found,
        Err(problems) => {
            problems.iter().for_each(|problem| print::error(problem));
            return Exit::Wrong;
        }
    };
    if wanted.show.progress != Progress::Json {
        unknown.iter().chain(&session.notes).for_each(|note| print::note(note));
    }
    if wanted.dry_run {
        return print::result(&format!("{:#}", session.document));
    }
    let mut catalog = inputs::builtin_catalog();
    catalog.add_text("the session", &format!("{:#}", session.document));
    match catalog.plan(TASK, &session.inputs) {
        Ok(plan) => run::execute(plan, &wanted.show, args, screen),
        Err(problems) => {
            print::problems(&problems, args.color, "; nothing was run");
            Exit::Wrong
        }
    }
}

/// What is asked for: by name, or the only thing that the manifests ask for.
fn chosen(manifests: &Manifests, wanted: &SessionArgs) -> Result<Session, Vec<String>> {
    match (&wanted.backup, &wanted.restore) {
        (Some(name), _) => session::backup(manifests, Some(name)),
        (None, Some(name)) => session::restore(manifests, Some(name)),
        (None, None) => match (manifests.backups.is_empty(), manifests.restores.is_empty()) {
            (false, true) => session::backup(manifests, None),
            (true, false) => session::restore(manifests, None),
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
