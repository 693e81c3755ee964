//! The reference pages, generated from the declarations. `--write` writes them, `--check` says which are stale or left over.
//!
//! Always holds: a page is a function of the code alone, so that two machines write the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aquifer_engine::event::Event;
use aquifer_engine::reference::Reference;
use aquifer_engine::report::Report;
use clap::CommandFactory;

use crate::args::Args;
use crate::exit::Exit;
use crate::{describe, inputs, print};

/// The pages by their paths below the folder.
fn pages() -> BTreeMap<PathBuf, String> {
    let catalog = inputs::builtin_catalog();
    let mut pages = BTreeMap::new();
    let mut index = String::from("# Functions\n\n| function | shape | what it does |\n|---|---|---|\n");
    for function in catalog.registry().iter() {
        let reference = Reference::of(function.info());
        let name = &reference.name;
        index += &format!("| [`{name}`]({name}.md) | {} | {} |\n", reference.shape(), reference.summary);
        pages.insert(Path::new("functions").join(format!("{name}.md")), reference.markdown());
    }
    pages.insert("functions/README.md".into(), index);
    pages.insert("task.schema.json".into(), describe::file_schema(&catalog));
    let json = |schema: schemars::Schema| format!("{:#}\n", schema.to_value());
    pages.insert("event.schema.json".into(), json(schemars::schema_for!(Event)));
    pages.insert("report.schema.json".into(), json(schemars::schema_for!(Report)));
    pages.insert("cli.md".into(), command_line());
    pages
}

fn command_line() -> String {
    let mut root = Args::command().term_width(100);
    root.build();
    let mut page = format!("# The command\n\n```text\n{}\n```\n", root.render_long_help().to_string().trim_end());
    subcommands(&root, "aquifer", &mut page);
    page
}

/// The help of all commands below one, each with those below it.
fn subcommands(of: &clap::Command, path: &str, page: &mut String) {
    for command in of.get_subcommands() {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let path = format!("{path} {}", command.get_name());
        let help = command.clone().term_width(100).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        *page += &format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
        subcommands(command, &path, page);
    }
}

/// `aquifer docs`.
pub(crate) fn run(write: Option<&Path>, check: Option<&Path>) -> Exit {
    let done = match (write, check) {
        (Some(folder), _) => write_pages(folder),
        (None, Some(folder)) => check_pages(folder),
        (None, None) => Err("give `--write FOLDER` or `--check FOLDER`".to_owned()),
    };
    match done {
        Ok(()) => Exit::Success,
        Err(message) => {
            print::error(&message);
            Exit::Failed
        }
    }
}

fn write_pages(folder: &Path) -> Result<(), String> {
    for (path, text) in pages() {
        let path = folder.join(path);
        let write = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        write.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn check_pages(folder: &Path) -> Result<(), String> {
    let pages = pages();
    let mut stale: Vec<String> = pages
        .iter()
        .filter(|(path, text)| fs::read_to_string(folder.join(path)).ok().as_ref() != Some(*text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    let written = fs::read_dir(folder.join("functions")).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in written {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let path = Path::new("functions").join(name);
        if !pages.contains_key(&path) {
            stale.push(format!("{} (of no function)", path.display()));
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("stale: {}; run `aquifer docs --write {}`", stale.join(", "), folder.display()))
    }
}
