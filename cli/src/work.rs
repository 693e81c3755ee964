//! `kube work`: what the operator's pods run. Takes a folder with a task and its secrets. Gives what became of it as the container's last words.
//!
//! Always holds: the last words are there also where nothing could be run.

use std::path::Path;

use aquifer_engine::catalog::{InputValue, Inputs};
use aquifer_operator::cluster::{INDEX, PARAMS, TASK_FILE};
use aquifer_operator::outcome::Outcome;
use aquifer_operator::session::{SHARD, TASK, trimmed};

use crate::args::{Args, Progress, ShowArgs};
use crate::exit::Exit;
use crate::kube::args::WorkArgs;
use crate::print::Screen;
use crate::{inputs, print, run};

/// `aquifer kube work`.
pub(crate) fn run(wanted: &WorkArgs, args: &Args, screen: &Screen) -> Exit {
    let planned = read(&wanted.folder).and_then(|(text, inputs, index)| {
        // The operator names its pods by what asks for them, and runs one of each name at a time.
        if let Some(host) = &wanted.host {
            let number = index.map(|index| format!("-{index}")).unwrap_or_default();
            aquifer_functions::host_is_ours_alone(format!("{host}{number}"));
        }
        let mut catalog = inputs::builtin_catalog();
        catalog.add_text("the session", &text);
        catalog.plan(TASK, &inputs).map_err(|problems| {
            print::problems(&problems, args.color, "; nothing was run");
            "the session's task is wrong: the pod's log says where".to_owned()
        })
    });
    match planned {
        Ok(plan) => {
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

/// The task, its params, and the pod's number where there are several.
fn read(folder: &Path) -> Result<(String, Inputs, Option<u32>), String> {
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
    let path = folder.join(INDEX);
    let index = match std::fs::read_to_string(&path) {
        Ok(text) => {
            let number = text.trim().parse::<u32>();
            Some(number.map_err(|error| format!("`{}`: `{}`: {error}", path.display(), text.trim()))?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&path, error)),
    };
    // Shards are counted from 1.
    let shard = index.map(|index| InputValue::Text((u64::from(index) + 1).to_string()));
    inputs.params.extend(shard.map(|shard| (SHARD.to_owned(), shard)));
    Ok((text, inputs, index))
}

/// Leaves the last words. That they cannot be left is said in the log, and changes nothing about the run.
fn leave(to: &Path, outcome: Outcome) {
    if let Err(error) = std::fs::write(to, outcome.text()) {
        print::error(&format!("`{}`: {error}", to.display()));
    }
}
