//! `kube work`: what the operator's pods run. Takes a folder with a task and its secrets. Gives what became of it as the container's last words.
//!
//! Always holds: the last words are there also where nothing could be run.

use std::path::Path;

use aquifer_engine::catalog::{InputValue, Inputs};
use aquifer_operator::cluster::{PARAMS, TASK_FILE};
use aquifer_operator::outcome::Outcome;
use aquifer_operator::session::{TASK, trimmed};

use crate::args::{Args, Progress, ShowArgs};
use crate::exit::Exit;
use crate::kube::args::WorkArgs;
use crate::print::Screen;
use crate::{inputs, print, run};

/// `aquifer kube work`.
pub(crate) fn run(wanted: &WorkArgs, args: &Args, screen: &Screen) -> Exit {
    let planned = read(&wanted.folder).and_then(|(text, inputs)| {
        let mut catalog = inputs::builtin_catalog();
        catalog.add_text("the session", &text);
        catalog.plan(TASK, &inputs).map_err(|problems| {
            print::problems(&problems, args.color, "; nothing was run");
            "the session's task is wrong: the pod's log says where".to_owned()
        })
    });
    match planned {
        Ok(plan) => {
            // The operator names its pods by what asks for them, and runs one of them at a time.
            aquifer_functions::host_is_ours_alone();
            let show = ShowArgs { report: None, progress: Progress::Plain };
            run::execute_and(plan, &show, args, screen, |report| leave(&wanted.last_words, Outcome::of(report)))
        }
        Err(problem) => {
            print::error(&problem);
            leave(&wanted.last_words, Outcome::not_begun(problem));
            Exit::Wrong
        }
    }
}

/// The task, and its params.
fn read(folder: &Path) -> Result<(String, Inputs), String> {
    let failed = |path: &Path, error: std::io::Error| format!("`{}`: {error}", path.display());
    let task = folder.join(TASK_FILE);
    let text = std::fs::read_to_string(&task).map_err(|error| failed(&task, error))?;
    let params = folder.join(PARAMS);
    let mut inputs = Inputs::default();
    // A task without secrets has no such folder.
    let entries = std::fs::read_dir(&params).into_iter().flatten();
    for entry in entries {
        let path = entry.map_err(|error| failed(&params, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let value = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        inputs.params.insert(name.to_owned(), InputValue::Text(trimmed(&value).to_owned()));
    }
    Ok((text, inputs))
}

/// Leaves the last words. That they cannot be left is said in the log, and changes nothing about the run.
fn leave(to: &Path, outcome: Outcome) {
    if let Err(error) = std::fs::write(to, outcome.text()) {
        print::error(&format!("`{}`: {error}", to.display()));
    }
}
