//! Resources to a task of the engine's own language, and the secrets that it takes.
//!
//! Takes manifests, which `BackupConfiguration` or `RestoreSession` is meant, and where it is to run. Gives a Task document, which may be shown to
//! anybody, the values of its secret params, and the files that it names. Always holds: what a manifest asks for is in the document, or the session is refused with all reasons at
//! once; no secret is in the document.

mod addon;
pub(crate) mod apart;
mod asker;
mod backup;
mod database;
mod own;
mod plan;
mod repository;
mod restore;
mod secrets;
pub mod steps;
mod upkeep;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aquifer_engine::catalog::{InputValue, Inputs};
use aquifer_engine::diagnostic::nearest;
use kube::Resource;
use serde_json::{Map, Value as Json, json};

use crate::amounts::period;
use crate::manifests::{Key, Manifests};
use crate::resources::app_binding::AppBinding;
use crate::resources::runtime::RuntimeSettings;
use crate::resources::target::TargetRef;

pub use asker::{Apart, Asker, End};
pub use backup::{backup, join};
pub(crate) use repository::may_use;
pub use restore::restore;
pub use secrets::{Held, SecretKey, trimmed};
pub use upkeep::{Upkeep, upkeep};

/// The file that a dump is in a snapshot, as Stash says it.
pub(crate) const FILE: &str = "dumpfile.resp";

/// The name of the task in a session's document.
pub const TASK: &str = "session";

/// Where a session is to run, with the folder that the files lie in which it names.
#[derive(Debug, Clone, Copy)]
pub enum Setting<'p> {
    /// On this machine: the session itself tries again, and there are no pods.
    Machine(&'p Path),
    /// In a pod: trying again is the operator's, which makes a session of each time.
    Pod {
        /// The folder.
        folder: &'p Path,
        /// The session's name.
        session: &'p str,
        /// How often it is tried again.
        retry_left: i32,
        /// Whether commands may be run in other pods.
        exec: bool,
    },
}

impl<'p> Setting<'p> {
    fn folder(self) -> &'p Path {
        match self {
            Self::Machine(folder) | Self::Pod { folder, .. } => folder,
        }
    }

    fn is_pod(self) -> bool {
        matches!(self, Self::Pod { .. })
    }

    /// Whether commands may be run in other pods.
    fn may_exec(self) -> Result<(), String> {
        match self {
            Self::Pod { exec: true, .. } => Ok(()),
            Self::Pod { .. } => Err("it has an `exec`, and the operator runs commands in pods only where it is told that it may: by `hooks.exec` of its chart, which is `--exec-hooks` and the right to".to_owned()),
            Self::Machine(_) => Err("it has an `exec`, which is run in a pod of the database: only the operator does that, in a cluster".to_owned()),
        }
    }

    /// The session's name, and how often it is tried again; on a machine, what asks for it is all there is of it.
    fn session(self, asker: &'p str) -> (&'p str, i32) {
        match self {
            Self::Machine(_) => (asker, 0),
            Self::Pod { session, retry_left, .. } => (session, retry_left),
        }
    }
}

/// What is to be run.
#[derive(Debug)]
pub struct Session {
    /// The Task document.
    pub document: Json,
    /// The Function documents of the user's own that it uses.
    pub functions: Vec<Json>,
    /// The values of its secret params, and of those that are given to a Task of the user's own.
    pub secrets: BTreeMap<String, Held>,
    /// The files that it names, by their names in the setting's folder: certificates, which are no secrets, and keys, which are.
    pub files: BTreeMap<String, Held>,
    /// What is to be said before it runs.
    pub notes: Vec<String>,
    /// Who asks for it, where that is one whose hooks are run.
    pub asker: Option<Asker>,
    /// How many pods run it, of which each is given its number, from 1 on, as the param [`SHARD`]; nothing where it is one that is given none.
    pub shards: Option<u32>,
}

/// The param of a session's document that says which shard of a cluster is read.
pub const SHARD: &str = "shard";

impl Session {
    /// What is said of it, since it can be run.
    pub(crate) fn verdict(&self) -> String {
        [&["it can be run".to_owned()], &self.notes[..]].concat().join("; ")
    }

    /// All its documents, the Task first.
    pub fn documents(&self) -> impl Iterator<Item = &Json> {
        std::iter::once(&self.document).chain(&self.functions)
    }

    /// All its documents in one text.
    pub fn text(&self) -> String {
        self.documents().map(|document| format!("{document:#}")).collect::<Vec<_>>().join("\n---\n")
    }

    /// The values of its secret params, for the engine.
    pub fn inputs(&self) -> Inputs {
        let text = |held: &Held| InputValue::Text(held.text().unwrap_or_default().to_owned());
        let params = self.secrets.iter().map(|(name, held)| (name.clone(), text(held))).collect();
        Inputs { params, env: BTreeMap::new() }
    }

    /// Writes its files, which only their owner can read.
    ///
    /// # Errors
    /// One cannot be written.
    pub fn write_files(&self, folder: &Path) -> std::io::Result<()> {
        self.files.iter().try_for_each(|(name, held)| {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(folder.join(name))?;
            std::io::Write::write_all(&mut file, &held.bytes)
        })
    }
}

/// What is put together on the way.
#[derive(Debug)]
struct Draft<'s> {
    setting: Setting<'s>,
    secrets: BTreeMap<String, Held>,
    files: BTreeMap<String, Held>,
    notes: Vec<String>,
    problems: Vec<String>,
    shards: Option<u32>,
    own: Option<own::Own>,
    /// Whether params stand where they are to already.
    is_filled: bool,
    /// What stands in front of a param's name where its value is to be: nobody who writes a manifest knows it.
    mark: String,
}

impl<'s> Draft<'s> {
    fn new(setting: Setting<'s>) -> Self {
        let (secrets, files) = (BTreeMap::new(), BTreeMap::new());
        let mark = format!("\u{1}{:016x} ", RandomState::new().build_hasher().finish());
        let (notes, problems) = (Vec::new(), Vec::new());
        Self { setting, secrets, files, notes, problems, shards: None, own: None, is_filled: false, mark }
    }

    /// A secret's value becomes a param of the task; gives what stands in its place.
    fn secret(&mut self, name: &str, value: Held) -> Json {
        self.secrets.insert(name.to_owned(), value);
        self.param(name)
    }

    /// What stands for a param of the task.
    fn param(&self, name: &str) -> Json {
        json!(format!("{}{name}", self.mark))
    }

    /// Puts templates where params are to stand, and finds what the engine would take for one that no session wrote.
    fn fill(&mut self, value: &mut Json) {
        match value {
            Json::String(text) => match text.strip_prefix(&self.mark) {
                Some(name) => *text = format!("{{{{ params.{name} }}}}"),
                None if text.contains("{{") => {
                    self.problems.push(format!("`{text}` has `{{{{` in it, which stands for something else here"))
                }
                None => {}
            },
            Json::Array(all) => all.iter_mut().for_each(|one| self.fill(one)),
            Json::Object(all) => all.values_mut().for_each(|one| self.fill(one)),
            _ => {}
        }
    }

    /// A file that the task names; gives its path.
    fn file(&mut self, name: &str, content: Held) -> Json {
        self.files.insert(name.to_owned(), content);
        json!(self.setting.folder().join(name).display().to_string())
    }

    /// Remembers a problem; the value is there where there is none.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Looks whether a text is a time.
    fn period(&mut self, name: &str, text: Option<&String>) {
        if let Some(Err(why)) = text.map(|text| period(text)) {
            self.problems.push(format!("`{name}`: {why}"));
        }
    }

    /// Says what is odd about how a target is named.
    fn odd(&mut self, target: Option<&TargetRef>) {
        let Some(target) = target.filter(|target| target.kind == AppBinding::kind(&())) else { return };
        let known = AppBinding::api_version(&());
        if target.api_version != known {
            self.notes.push(format!(
                "`target.ref.apiVersion` is `{}`: an AppBinding is of `{known}`, and it is taken for one of those",
                target.api_version
            ));
        }
    }

    /// Says what of its pods' settings is not done; in a pod, where anything of them is.
    fn leave_out(&mut self, settings: Option<&RuntimeSettings>) {
        let Some(settings) = settings.filter(|_| self.setting.is_pod()) else { return };
        if settings.container.as_ref().is_some_and(|own| own.nice.is_some() || own.ionice.is_some()) {
            self.notes.push("`nice` and `ionice` are not done: `resources` bounds what its pod takes".to_owned());
        }
        if settings.pod.as_ref().is_some_and(|own| !own.service_account_annotations.is_empty()) {
            self.notes.push(
                "`serviceAccountAnnotations` are not done, since no account is made: annotate one, and name it by `serviceAccountName`"
                    .to_owned(),
            );
        }
    }

    /// The session of these steps, which the engine can run. In those of one's own, what the session puts there is filled in already.
    fn finish(mut self, summary: String, mut steps: Vec<Json>) -> Result<Session, Vec<String>> {
        if !self.is_filled {
            steps.iter_mut().for_each(|step| self.fill(step));
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let secret = |name: &String| json!({"name": name, "secret": true, "required": true});
        let shard = self.shards.map(|_| json!({"name": SHARD, "type": "integer", "required": true}));
        let params: Vec<Json> = self.secrets.keys().map(secret).chain(shard).collect();
        let document = json!({
            "apiVersion": own::VERSION,
            "kind": "Task",
            "metadata": {"name": TASK},
            "spec": {"summary": summary, "params": &params, "steps": steps},
        });
        let Self { secrets, files, notes, shards, own, setting, .. } = self;
        let session = Session { document, functions: Vec::new(), secrets, files, notes, asker: None, shards };
        let (session, own) = match own {
            Some(own) => {
                let (session, whose) = own.finish(session, params);
                (session, Some(whose))
            }
            None => (session, None),
        };
        // On a machine, it is planned and shown there.
        if setting.is_pod() { plan::look_over(session, own.as_deref()) } else { Ok(session) }
    }
}

/// Shows all texts in a value.
pub(crate) fn texts<'v>(value: &'v Json, see: &mut dyn FnMut(&'v str)) {
    match value {
        Json::String(text) => see(text),
        Json::Array(all) => all.iter().for_each(|one| texts(one, see)),
        Json::Object(all) => all.values().for_each(|one| texts(one, see)),
        _ => {}
    }
}

/// A resource by its key.
fn found<'m, T>(all: &'m BTreeMap<Key, T>, kind: &str, namespace: &str, name: &str) -> Result<&'m T, String> {
    let key = (namespace.to_owned(), name.to_owned());
    all.get(&key).ok_or_else(|| {
        let same: Vec<&str> = all.keys().filter(|key| key.1 == name).map(|key| key.0.as_str()).collect();
        match same.as_slice() {
            [] => {
                let known = all.keys().filter(|key| key.0 == namespace).map(|key| key.1.as_str());
                let meant = nearest(name, known).map(|known| format!(": did you mean `{known}`?")).unwrap_or_default();
                format!("the {kind} `{name}` is not among the manifests{meant}")
            }
            others => format!(
                "the {kind} `{name}` is not in the namespace `{namespace}`, but in {}",
                others.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ")
            ),
        }
    })
}

/// The one that is meant: by its name, or the only one.
fn meant<'m, T>(all: &'m BTreeMap<Key, T>, kind: &str, name: Option<&str>) -> Result<(&'m Key, &'m T), Vec<String>> {
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
            "there is no {kind} `{}{}` among the manifests; there are {}",
            namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default(),
            name.unwrap_or_default(),
            names(&mut all.keys())
        )]),
    }
}

/// The database that a target is.
fn target<'m>(
    manifests: &'m Manifests,
    target: Option<&TargetRef>,
    namespace: &str,
) -> Result<(&'m AppBinding, String), String> {
    let target = target.ok_or("it has no `spec.target`")?;
    if target.kind != AppBinding::kind(&()) {
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
