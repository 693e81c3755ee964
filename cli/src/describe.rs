//! `functions`, `tasks` and `schema`: what there is, from the declarations themselves.

use std::fmt::Write as _;

use aquifer_engine::catalog::{Catalog, FunctionEntry, TaskEntry};
use aquifer_engine::diagnostic::suggest;
use aquifer_engine::ports::Need;
use aquifer_engine::reference::{Reference, fields};
use aquifer_engine::schema::{self, Callable};

use crate::args::Show;
use crate::exit::Exit;
use crate::{inputs, print};

/// How wide help is printed.
const COLUMNS: usize = 100;

/// `aquifer functions [show NAME]`.
pub(crate) fn functions(command: Option<&Show>) -> Exit {
    let catalog = inputs::builtin_catalog();
    let entries = catalog.functions();
    let Some(Show::Show { name }) = command else {
        return print::result(&list(entries.iter().map(|entry| (entry.name.as_str(), entry.summary.as_str()))));
    };
    if let Some(function) = catalog.registry().get(name) {
        return print::result(&Reference::of(function.info()).text(COLUMNS));
    }
    match entries.iter().find(|entry| entry.name == *name) {
        Some(entry) => print::result(&document(entry).text(COLUMNS)),
        None => unknown("function", name, entries.iter().map(|entry| entry.name.as_str()).collect()),
    }
}

/// A Function document, described as a built-in is.
fn document(entry: &FunctionEntry) -> Reference {
    let end = |need| (need != Need::Never).then(|| "a stream".to_owned());
    Reference {
        name: entry.name.clone(),
        summary: entry.summary.clone(),
        stdin: end(entry.stdin),
        stdout: end(entry.stdout),
        params: fields(&entry.params),
        outputs: fields(&entry.outputs),
        repeat: None,
    }
}

/// `aquifer tasks [show NAME]`.
pub(crate) fn tasks(command: Option<&Show>) -> Exit {
    let entries = inputs::builtin_catalog().tasks();
    let Some(Show::Show { name }) = command else {
        return print::result(&list(entries.iter().map(|entry| (entry.name.as_str(), entry.summary.as_str()))));
    };
    match entries.iter().find(|entry| entry.name == *name) {
        Some(entry) => match task(entry) {
            Some(text) => print::result(text),
            None => {
                print::error(&format!("`{}` is not among the files of this program", entry.source));
                Exit::Failed
            }
        },
        None => unknown("task", name, entries.iter().map(|entry| entry.name.as_str()).collect()),
    }
}

/// A shipped task: its own file, which is written to be read and copied.
fn task(entry: &TaskEntry) -> Option<&'static str> {
    let file = entry.source.strip_prefix("built-in:")?;
    aquifer_functions::shipped().iter().find(|(name, _)| *name == file).map(|(_, text)| *text)
}

fn unknown(what: &str, name: &str, known: Vec<&str>) -> Exit {
    print::error(&format!(
        "there is no {what} `{name}`; {}",
        suggest(name, &format!("{what}s"), known.iter().copied())
    ));
    Exit::Wrong
}

fn list<'a>(entries: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let width = entries.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, summary) in entries {
        let _ = writeln!(text, "{name:<width$}  {summary}");
    }
    text
}

/// `aquifer schema`.
pub(crate) fn schema() -> Exit {
    print::result(&file_schema(&inputs::builtin_catalog()))
}

pub(crate) fn file_schema(catalog: &Catalog) -> String {
    let entries = catalog.functions();
    let callables: Vec<Callable<'_>> = entries
        .iter()
        .map(|entry| Callable { name: &entry.name, summary: &entry.summary, params: &entry.params })
        .collect();
    format!("{:#}\n", schema::file(&callables))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_task_can_be_shown() {
        for entry in inputs::builtin_catalog().tasks() {
            let text = task(&entry).unwrap_or_default();
            assert!(text.contains(&format!("name: {}\n", entry.name)), "{}: {text}", entry.name);
        }
    }
}
