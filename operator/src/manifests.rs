//! Files of manifests to resources.
//!
//! Takes files and folders. Gives the resources of the kinds that are known here, each with the place that it was read from, and what is
//! to be said of the rest. Always holds: a manifest of a known kind is read whole or is a problem; a field that is not known is
//! told of; of other kinds only the names are.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::resources::app_binding::AppBinding;
use crate::resources::backup::BackupConfiguration;
use crate::resources::own::{OwnFunction, OwnTask};
use crate::resources::repository::Repository;
use crate::resources::restore::RestoreSession;
use crate::resources::task::{Function, Task};

/// Where a resource was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Which of its documents, from 1.
    pub document: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, document {}", self.file.display(), self.document)
    }
}

/// A namespace and a name; kinds without a namespace have an empty one.
pub type Key = (String, String);

/// The namespace of what names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Resources by kind and key.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Secrets.
    pub secrets: BTreeMap<Key, Secret>,
    /// Repositories.
    pub repositories: BTreeMap<Key, Repository>,
    /// What is to be backed up.
    pub backups: BTreeMap<Key, BackupConfiguration>,
    /// What is to be restored.
    pub restores: BTreeMap<Key, RestoreSession>,
    /// Databases.
    pub app_bindings: BTreeMap<Key, AppBinding>,
    /// Stash's tasks.
    pub tasks: BTreeMap<Key, Task>,
    /// Stash's functions.
    pub functions: BTreeMap<Key, Function>,
    /// Tasks of the user's own.
    pub own_tasks: BTreeMap<Key, OwnTask>,
    /// Functions of the user's own.
    pub own_functions: BTreeMap<Key, OwnFunction>,
    /// The labels of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What was found and has no meaning here, in a line each.
    pub notes: Vec<String>,
    /// Fields that are not known, in a line each: such as one that is misspelt, and would say something.
    pub unknown: Vec<String>,
}

/// Reads files, and the `*.yaml`, `*.yml` and `*.json` of folders, in the order of their names.
///
/// # Errors
/// All that is wrong, in a line each.
pub fn read(paths: &[PathBuf]) -> Result<Manifests, Vec<String>> {
    let mut reader = Reader::default();
    let mut problems = Vec::new();
    for path in paths {
        match files(path) {
            Ok(files) => files.iter().for_each(|file| reader.add_file(file, &mut problems)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(reader.manifests) } else { Err(problems) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending =
            file.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        if ending && file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() { Err(format!("`{}` holds no manifests", path.display())) } else { Ok(found) }
}

/// How large a file of manifests may be, in bytes.
const LARGEST: u64 = 16 << 20;

/// What has been read, and where.
#[derive(Default)]
struct Reader {
    manifests: Manifests,
    places: BTreeMap<(String, Key), Place>,
}

impl Reader {
    fn add_file(&mut self, file: &Path, problems: &mut Vec<String>) {
        let shown = file.display();
        // How long one is that is no regular file, only its end tells.
        let read = std::fs::File::open(file).and_then(|file| {
            let mut text = String::new();
            file.take(LARGEST + 1).read_to_string(&mut text)?;
            if text.len() as u64 > LARGEST { Err(std::io::Error::other("it has more than 16 MiB")) } else { Ok(text) }
        });
        let text = match read {
            Ok(text) => text,
            Err(error) => return problems.push(format!("`{shown}`: {error}")),
        };
        let documents: Vec<Json> = match serde_saphyr::from_multiple(&text) {
            Ok(documents) => documents,
            Err(error) => return problems.push(format!("`{shown}`: {}", error.without_snippet())),
        };
        for (number, document) in (1..).zip(documents) {
            let place = Place { file: file.to_owned(), document: number };
            if let Err(problem) = self.add(document, &place) {
                problems.push(format!("{place}: {problem}"));
            }
        }
    }

    fn add(&mut self, document: Json, place: &Place) -> Result<(), String> {
        if document.is_null() {
            return Ok(());
        }
        let text = |name: &str| document.pointer(name).and_then(Json::as_str).map(str::to_owned);
        let version = text("/apiVersion").ok_or("it has no `apiVersion`")?;
        let kind = text("/kind").ok_or("it has no `kind`")?;
        if kind == "List" {
            let items = document.get("items").and_then(Json::as_array).cloned().unwrap_or_default();
            return items.into_iter().try_for_each(|item| self.add(item, place));
        }
        let name = text("/metadata/name").ok_or_else(|| format!("the {kind} has no `metadata.name`"))?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let namespace = text("/metadata/namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let (own, everywhere) = ((namespace, name.clone()), (String::new(), name.clone()));
        let is_of_all = match group {
            "stash.appscode.com" => kind == "Task" || kind == "Function",
            _ => kind == "Namespace",
        };
        let to = &mut self.manifests;
        let key = (format!("{group}/{kind}"), if is_of_all { everywhere.clone() } else { own.clone() });
        if let Some(other) = self.places.insert(key, place.clone()) {
            return Err(format!("the {kind} `{name}` is there twice: also in {other}"));
        }
        let (notes, unknown) = (&mut to.notes, &mut to.unknown);
        match (group, kind.as_str()) {
            ("", "Secret") => put(&mut to.secrets, own, document, place, unknown),
            ("stash.appscode.com", "Repository") => put(&mut to.repositories, own, document, place, unknown),
            ("stash.appscode.com", "BackupConfiguration") => put(&mut to.backups, own, document, place, unknown),
            ("stash.appscode.com", "RestoreSession") => put(&mut to.restores, own, document, place, unknown),
            ("stash.appscode.com", "Task") => put(&mut to.tasks, everywhere, document, place, unknown),
            ("stash.appscode.com", "Function") => put(&mut to.functions, everywhere, document, place, unknown),
            ("appcatalog.appscode.com", "AppBinding") => put(&mut to.app_bindings, own, document, place, unknown),
            ("aquifer.dev", "Task") => put(&mut to.own_tasks, own, document, place, unknown),
            ("aquifer.dev", "Function") => put(&mut to.own_functions, own, document, place, unknown),
            ("", "Namespace") => {
                let mut read = BTreeMap::new();
                put(&mut read, everywhere, document, place, unknown)?;
                let labels = |namespace: Namespace| namespace.metadata.labels.unwrap_or_default();
                to.namespaces.extend(read.into_iter().map(|((_, name), read)| (name, labels(read))));
                Ok(())
            }
            _ => {
                notes.push(format!("{place}: the {kind} `{name}` has no meaning here"));
                Ok(())
            }
        }
    }
}

fn put<T: DeserializeOwned>(
    all: &mut BTreeMap<Key, T>,
    key: Key,
    mut document: Json,
    place: &Place,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    // What a cluster says of a resource is not what is wanted of it, and may be of a version that has other words.
    if let Some(document) = document.as_object_mut() {
        document.remove("status");
    }
    let kind = document.get("kind").and_then(Json::as_str).unwrap_or_default().to_owned();
    let name = &key.1;
    let mut take = |path: serde_ignored::Path<'_>| {
        // What a cluster writes is no mistake of who takes a manifest out of one.
        let path = path.to_string().replace(".?", "");
        let is_clusters = path.starts_with("metadata.managedFields");
        if !is_clusters && path != "apiVersion" && path != "kind" {
            unknown.push(format!("{place}: the {kind} `{name}` has a field that is not known: `{path}`"));
        }
    };
    let it: T =
        serde_ignored::deserialize(document, &mut take).map_err(|error| format!("the {kind} `{name}`: {error}"))?;
    all.insert(key, it);
    Ok(())
}
