//! From arguments to a catalog, a task's name and its params. Takes the command line and the environment; gives what the
//! engine plans from, or a message. Always holds: a file wins over a name only where it looks like one or is one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use aquifer_engine::catalog::{Catalog, InputValue, Inputs, Origin};
use aquifer_engine::diagnostic::list;

use crate::args::TaskArgs;

/// The built-in functions and the shipped documents.
pub(crate) fn builtin_catalog() -> Catalog {
    aquifer_functions::catalog()
}

/// A catalog with the user's definitions, and which task is meant.
pub(crate) fn target(args: &TaskArgs) -> Result<(Catalog, String), String> {
    let mut catalog = builtin_catalog();
    for path in &args.catalog {
        catalog.add_path(path);
    }
    let path = Path::new(&args.target);
    let ending = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let named = || catalog.tasks().iter().any(|task| task.name == args.target);
    if !ending && !args.target.contains('/') && !path.is_file() && (named() || !path.is_dir()) {
        return Ok((catalog, args.task.clone().unwrap_or_else(|| args.target.clone())));
    }
    catalog.add_path(path);
    if let Some(task) = &args.task {
        return Ok((catalog, task.clone()));
    }
    let within = |source: &Path| source == path || (path.is_dir() && source.parent() == Some(path));
    let tasks: Vec<String> = catalog
        .tasks()
        .into_iter()
        .filter(|task| task.origin == Origin::User && within(Path::new(&task.source)))
        .map(|task| task.name)
        .collect();
    let name = path.display();
    match tasks.as_slice() {
        [task] => Ok((catalog, task.clone())),
        // Its problems say why there is none.
        [] if catalog.problems().has_errors() => Ok((catalog, String::new())),
        [] => Err(format!("`{name}` holds no Task")),
        several => Err(format!("`{name}` holds several tasks: choose one with `--task`: {}", list(several))),
    }
}

/// The params and the environment.
pub(crate) fn inputs(args: &TaskArgs) -> Result<Inputs, String> {
    let mut params = BTreeMap::new();
    for path in &args.values {
        let text = if path == Path::new("-") {
            bounded(std::io::stdin().lock()).map_err(|error| format!("stdin: {error}"))?
        } else {
            read(path)?
        };
        let values: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&text).map_err(|error| {
            // Some of the library's messages say how a program would allow it.
            let why =
                error.without_snippet().to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", "");
            format!("`{}` is no map of params: {why}", path.display())
        })?;
        params.extend(values.into_iter().map(|(name, value)| (name, InputValue::Value(value))));
    }
    for given in &args.set {
        let (name, value) = split("--set", given)?;
        params.insert(name, InputValue::Text(value));
    }
    for given in &args.set_file {
        let (name, path) = split("--set-file", given)?;
        let text = read(&PathBuf::from(path))?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        params.insert(name, InputValue::Text(text.to_owned()));
    }
    for given in &args.set_env {
        let (name, variable) = split("--set-env", given)?;
        let value = std::env::vars_os().find(|(key, _)| *key == *variable).map(|(_, value)| value);
        let value = value.ok_or_else(|| format!("--set-env {given}: the variable `{variable}` is not set"))?;
        let value = value.into_string().map_err(|_| format!("--set-env {given}: its value is no UTF-8 text"))?;
        params.insert(name, InputValue::Text(value));
    }
    // A variable that is no text cannot be named in a document.
    let env = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Ok(Inputs { params, env: env.collect() })
}

/// Secrets that were given where other users of the machine can read them.
pub(crate) fn exposed(catalog: &Catalog, task: &str, args: &TaskArgs) -> Vec<String> {
    let tasks = catalog.tasks();
    let declared = tasks.iter().find(|entry| entry.name == task).map(|entry| &entry.params.list);
    let given = args.set.iter().filter_map(|given| given.split_once('=')).map(|(name, _)| name);
    given
        .filter(|name| declared.is_some_and(|list| list.iter().any(|param| param.secret && param.name.text == *name)))
        .map(|name| {
            format!("note: `--set {name}=…` shows a secret to everybody on this machine who lists processes: use `--set-env` or `--set-file`")
        })
        .collect()
}

fn read(path: &Path) -> Result<String, String> {
    let read = std::fs::File::open(path).and_then(bounded);
    read.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

/// The most that is read of one value or one file of values, in bytes: what does not end (`/dev/zero`) must not fill the memory.
const MOST: u64 = 4 << 20;

fn bounded(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(std::io::Error::other(format!("it has more than {} MiB, too much for params", MOST >> 20)));
    }
    Ok(text)
}

fn split(flag: &str, given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // Not the text itself: it may be a secret without its name.
        _ => Err(format!("{flag} takes NAME=VALUE")),
    }
}
