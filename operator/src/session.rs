//! Resources to a task of the engine's own language, and the secrets that it takes.
//!
//! Takes manifests, and which `BackupConfiguration` or `RestoreSession` is meant. Gives a Task document, which may be shown to anybody, and
//! the values of its secret params. Always holds: what a manifest asks for is in the document, or the session is refused with all reasons at
//! once; no secret is in the document.

mod addon;
mod backup;
mod database;
mod repository;
mod restore;

use std::collections::BTreeMap;

use aquifer_engine::catalog::{InputValue, Inputs};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value as Json, json};

use crate::manifests::{Key, Manifests, Placed};
use crate::resources::target::TargetRef;

pub use backup::backup;
pub use restore::restore;

/// The host that snapshots of a database are of, as Stash says it.
pub(crate) const HOST: &str = "host-0";

/// The file that a dump is in a snapshot, as Stash says it.
pub(crate) const FILE: &str = "dumpfile.resp";

/// The name of the task in a session's document.
pub const TASK: &str = "session";

/// What is to be run.
#[derive(Debug)]
pub struct Session {
    /// The Task document.
    pub document: Json,
    /// The values of its secret params.
    pub inputs: Inputs,
    /// What is to be said before it runs.
    pub notes: Vec<String>,
    /// The folder with the certificates that it names, which ends with the value.
    pub files: Files,
}

/// Files that a session names: certificates, which are no secrets, and keys, which only their owner can read.
#[derive(Debug, Default)]
pub struct Files(Option<tempfile::TempDir>);

impl Files {
    /// Writes a file, and gives its path.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("a certificate cannot be put into a file: {error}");
        let folder = match &self.0 {
            Some(folder) => folder,
            // Only its owner can look into it.
            None => self.0.insert(tempfile::tempdir().map_err(failed)?),
        };
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(failed)?;
        Ok(path.display().to_string())
    }
}

/// What is put together on the way.
#[derive(Debug, Default)]
struct Draft {
    secrets: BTreeMap<String, String>,
    notes: Vec<String>,
    problems: Vec<String>,
    files: Files,
}

impl Draft {
    /// A secret's value becomes a param of the task; gives what stands in its place.
    fn secret(&mut self, name: &str, value: String) -> Json {
        self.secrets.insert(name.to_owned(), value);
        json!(format!("{{{{ params.{name} }}}}"))
    }

    /// Remembers a problem; the value is there where there is none.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn finish(self, summary: String, steps: Vec<Json>) -> Result<Session, Vec<String>> {
        let mut problems = self.problems;
        if problems.is_empty() {
            steps.iter().for_each(|step| templates(step, &mut problems));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let params = |name: &String| json!({"name": name, "secret": true, "required": true});
        let document = json!({
            "apiVersion": "aquifer.dev/v1alpha1",
            "kind": "Task",
            "metadata": {"name": TASK},
            "spec": {"summary": summary, "params": self.secrets.keys().map(params).collect::<Vec<_>>(), "steps": steps},
        });
        let params = self.secrets.into_iter().map(|(name, value)| (name, InputValue::Text(value))).collect();
        let inputs = Inputs { params, env: BTreeMap::new() };
        Ok(Session { document, inputs, notes: self.notes, files: self.files })
    }
}

/// Finds what the engine would take for a template, and no session wrote as one.
fn templates(value: &Json, problems: &mut Vec<String>) {
    match value {
        Json::String(text) => {
            let own = text.strip_prefix("{{ params.").and_then(|text| text.strip_suffix(" }}"));
            let own = own.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            if text.contains("{{") && !own {
                problems.push(format!("`{text}` has `{{{{` in it, which stands for something else here"));
            }
        }
        Json::Array(all) => all.iter().for_each(|one| templates(one, problems)),
        Json::Object(all) => all.values().for_each(|one| templates(one, problems)),
        _ => {}
    }
}

/// A resource by its key.
fn found<'m, T>(all: &'m BTreeMap<Key, Placed<T>>, kind: &str, namespace: &str, name: &str) -> Result<&'m T, String> {
    let key = (namespace.to_owned(), name.to_owned());
    all.get(&key).map(|placed| &placed.it).ok_or_else(|| {
        let same: Vec<&str> = all.keys().filter(|key| key.1 == name).map(|key| key.0.as_str()).collect();
        match same.as_slice() {
            [] => format!("the {kind} `{name}` is not among the manifests"),
            others => format!(
                "the {kind} `{name}` is not in the namespace `{namespace}`, but in {}",
                others.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ")
            ),
        }
    })
}

/// The one that is meant: by its name, or the only one.
fn meant<'m, T>(
    all: &'m BTreeMap<Key, Placed<T>>,
    kind: &str,
    name: Option<&str>,
) -> Result<(&'m Key, &'m Placed<T>), Vec<String>> {
    let (namespace, name) =
        match name.map(|name| name.split_once('/').map_or((None, name), |(n, name)| (Some(n), name))) {
            Some((namespace, name)) => (namespace, Some(name)),
            None => (None, None),
        };
    let fits =
        |key: &&Key| name.is_none_or(|name| key.1 == name) && namespace.is_none_or(|namespace| key.0 == namespace);
    let names = |keys: &mut dyn Iterator<Item = &Key>| {
        keys.map(|(namespace, name)| format!("`{namespace}/{name}`")).collect::<Vec<_>>().join(", ")
    };
    let mut fitting = all.iter().filter(|(key, _)| fits(key));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(vec![format!(
            "there are several: say which {kind} with its namespace and name: {}",
            names(&mut all.keys().filter(fits))
        )]),
        (None, _) if all.is_empty() => Err(vec![format!("there is no {kind} among the manifests")]),
        (None, _) => Err(vec![format!(
            "there is no {kind} `{}` among the manifests; there are {}",
            name.unwrap_or_default(),
            names(&mut all.keys())
        )]),
    }
}

/// A Secret's values by key: `data`, and `stringData` over it.
fn values(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    let texts = secret.string_data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    data.chain(texts).collect()
}

/// A value as a text. A line break at its end is an editor's.
fn text(values: &BTreeMap<String, Vec<u8>>, key: &str, of: &str) -> Result<Option<String>, String> {
    let Some(value) = values.get(key) else { return Ok(None) };
    let text = String::from_utf8(value.clone()).map_err(|_| format!("`{key}` of the Secret `{of}` is no text"))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// The database that a target is.
fn target<'m>(
    manifests: &'m Manifests,
    target: Option<&TargetRef>,
    namespace: &str,
) -> Result<(&'m crate::resources::app_binding::AppBinding, String), String> {
    let target = target.ok_or("it has no `spec.target`")?;
    if target.kind != "AppBinding" {
        return Err(format!(
            "its target is of the kind `{}`: only an AppBinding can be backed up and restored here",
            target.kind
        ));
    }
    let namespace = target.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    Ok((found(&manifests.app_bindings, "AppBinding", &namespace, &target.name)?, namespace))
}

/// Puts a value into a map where there is one.
fn put(map: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value);
    }
}

/// The same for a step.
fn put_into(step: &mut Json, name: &str, value: Option<Json>) {
    if let Some(step) = step.as_object_mut() {
        put(step, name, value);
    }
}
