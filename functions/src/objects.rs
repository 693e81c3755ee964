//! Objects under names in a location, as `upload` writes them and `download` reads them.
//!
//! Takes an opened [`Store`] and a name. Gives what was written, and what is there. Always holds: an object appears under its
//! name only when it is complete; one that was given up leaves no parts behind; a [`Manifest`] is written after its object,
//! so what has none is no complete backup. Form and order are described in `docs/reference/objects.md`.

mod bucket;
mod folder;
mod manifest;
mod patience;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, ParamError};
use aquifer_engine::pipe::Reader;
use aquifer_engine::stream::StreamType;
use opendal::{ErrorKind, Metadata};
use tokio::runtime::Handle;

pub(crate) use bucket::Parts;
pub(crate) use manifest::Manifest;

use crate::codec::blocking;
use crate::location::{PARTS, Store};

/// The longest name: S3's 1,024 bytes less those of the manifest's ending, and some for a prefix.
const LONGEST_NAME: usize = 900;

/// The longest part of a name between slashes: a file's 255 bytes less those of the manifest's ending.
const LONGEST_PART: usize = 255 - manifest::ENDING.len();

/// What went into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// In lower-case hexadecimal.
    pub(crate) sha256: String,
    /// What the stream was, which is known for certain only when it has begun.
    pub(crate) stream: StreamType,
    /// Whether it took the place of an older object.
    pub(crate) replaced: bool,
}

/// Checks an object's name, which is the same in a folder and in a bucket.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_name(path: &str, name: &str) -> Result<(), ParamError> {
    let wrong = |why: String, help: &str| Err(ParamError::new(path, why).with_help(help));
    let form = "write it as `redis/dump.resp.zst`; the folder or bucket belongs into `location`";
    if name.is_empty() {
        return wrong("the name is empty".to_owned(), form);
    }
    let shown = name.escape_debug();
    if name.chars().any(char::is_control) {
        return wrong(format!("`{shown}` has a control character in it"), form);
    }
    // The store's library would take such spaces off without a word.
    if name.trim() != name {
        return wrong(format!("`{shown}` begins or ends with a space"), form);
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong(format!("`{shown}` has an empty part, `.` or `..` between its slashes"), form);
    }
    if name.len() > LONGEST_NAME || name.split('/').any(|part| part.len() > LONGEST_PART) {
        let why = format!("the name is too long: {LONGEST_PART} bytes between slashes, {LONGEST_NAME} in all");
        return wrong(why, "shorten it; a letter outside of ASCII has several bytes");
    }
    if name.ends_with(manifest::ENDING) || name.split('/').next() == Some(PARTS) {
        return wrong(format!("`{shown}` is a name that Aquifer uses itself"), "choose another one");
    }
    Ok(())
}

/// What is there under a name; `None` where nothing is.
///
/// # Errors
/// The store does not answer, or something is there that is no object.
pub(crate) async fn look(store: &Store, name: &str) -> Result<Option<Metadata>, Failure> {
    let shown = store.shown(name);
    match store.operator().stat(name).await {
        Ok(found) if !found.is_file() => Err(Failure::rejected(format!("`{shown}` exists and is no regular file"))),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store.failed(&error, &format!("looking at `{shown}`"))),
    }
}

/// Passes over a manifest that cannot be understood, for an upload that writes a new one.
pub(crate) fn unless_damaged(why: Failure) -> Result<(), Failure> {
    if matches!(why.kind, FailureKind::Corrupt | FailureKind::Rejected) { Ok(()) } else { Err(why) }
}

/// Why a name cannot be taken.
pub(crate) fn taken(shown: &str) -> Failure {
    Failure::rejected(format!("`{shown}` exists"))
        .with_help("write `overwrite: true` to replace it, or put `{{ run.id }}` into its name")
}

/// Writes a stream under a name. Whatever happens, there is either the whole object or what was there before.
///
/// # Errors
/// The stream broke, the name is taken, or the store failed. Nothing new is left behind then, but where the failure says so:
/// a whole object that has taken an older one's place.
pub(crate) async fn write(
    store: &Store,
    name: &str,
    parts: Parts,
    overwrite: bool,
    input: Reader,
    call: &Call,
) -> Result<Written, Failure> {
    match store.folder() {
        Some(root) => {
            let file = folder::Target::new(root, name);
            let (input, call) = (input.blocking(Handle::current()), call.clone());
            let written = blocking(move || file.write(input, overwrite, &call)).await?;
            store.sync_name(name).await?;
            Ok(written)
        }
        None => bucket::write(store, name, parts, overwrite, input, call).await,
    }
}

/// Writes the manifest of an object that has just been written; it replaces an older one.
///
/// # Errors
/// The manifest cannot be written. The object, which is no complete backup without it, is then removed; one that has taken an
/// older one's place stays, and the failure says so.
pub(crate) async fn seal(store: &Store, name: &str, manifest: &Manifest, replaced: bool) -> Result<(), Failure> {
    let (text, its_name) = (manifest.to_text(), manifest::name_of(name));
    let sealed = match store.folder() {
        Some(root) => {
            let file = folder::Target::new(root, &its_name);
            match blocking(move || file.replace(text.as_bytes())).await {
                Ok(()) => store.sync_name(&its_name).await,
                failed => failed,
            }
        }
        None => {
            let doing = format!("writing `{}`", store.shown(&its_name));
            store.operator().write(&its_name, text).await.map(drop).map_err(|error| store.failed(&error, &doing))
        }
    };
    match sealed {
        Ok(()) => Ok(()),
        Err(why) => Err(give_up(store, name, replaced, why).await),
    }
}

/// Gives up a whole object that gets no manifest, and completes the failure. Where it has taken an older one's place it is
/// the only copy that there is, and stays.
async fn give_up(store: &Store, name: &str, replaced: bool, mut why: Failure) -> Failure {
    let shown = store.shown(name);
    if replaced {
        let kept = format!(
            "`{shown}` is whole and has taken the older one's place, but has no manifest of its own: upload it again, or \
             download it with `unverified: true`"
        );
        let help = why.help.take().map_or_else(|| kept.clone(), |help| format!("{help}; {kept}"));
        return why.with_help(help);
    }
    if let Err(error) = store.operator().delete(name).await {
        why.causes.push(format!("`{shown}` has no manifest and could not be removed: {error}"));
    }
    why
}

/// The manifest of an object; `None` where there is none.
///
/// # Errors
/// The store does not answer, or the manifest is damaged.
pub(crate) async fn manifest(store: &Store, name: &str) -> Result<Option<Manifest>, Failure> {
    let its_name = manifest::name_of(name);
    let shown = store.shown(&its_name);
    let doing = format!("reading `{shown}`");
    // A file may be a FIFO or a device, from which reading never ends. A bucket is not asked: the answer to reading says
    // more than the one to looking.
    if store.folder().is_some() && look(store, &its_name).await?.is_none() {
        return Ok(None);
    }
    match store.operator().read_with(&its_name).await {
        Ok(text) => Manifest::parse(&text.to_bytes(), &shown).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store.failed(&error, &doing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_its_location() {
        for name in ["a", "redis/dump.resp", "..a/b..", "ä ö/√.zst", ".hidden", "a+b=c&d?e#f%g"] {
            assert!(check_name("name", name).is_ok(), "{name}");
        }
        let long = ["a".repeat(242), format!("{}/b", "ä".repeat(121)), vec!["abc"; 226].join("/")];
        for name in ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", "a\nb", "a\0", "a "].map(str::to_owned) {
            let error = check_name("name", &name).expect_err(&name);
            assert_eq!(error.path, "name");
            assert!(!error.message.contains('\n') && !error.message.contains('\0'), "{error:?}");
        }
        for name in long.into_iter().chain(["a.manifest.json".into(), ".aquifer-parts/a".into()]) {
            assert!(check_name("name", &name).is_err(), "{name}");
        }
        assert!(check_name("name", &"a".repeat(LONGEST_PART)).is_ok());
    }
}
