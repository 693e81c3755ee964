//! Libraries of functions: read from a server one by one, and loaded into one.
//!
//! Takes a connection, or the commands of a stream. Gives `FUNCTION LOAD REPLACE code` for each library, in the order of
//! their names; loads that, and the `FUNCTION RESTORE` of other programs. Always holds: each library is loaded on its own
//! terms, so that one that is already there keeps none of the others out; a whole library is held, no two of them.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::{Connection, Reply};
use super::digest::{field, fields};
use super::facts::Facts;
use super::form::Form;
use super::load::{Before, Loader, OnConflict, refused};
use super::refusal;
use super::replies::{Pending, What};
use super::resp::show;

/// A library is code and is held whole; nobody writes as much of it.
pub(crate) const LONGEST_LIBRARY: u64 = 16 << 20;

/// Writes the libraries, where the server has any, and gives how many they are.
///
/// # Errors
/// The server refuses, or nobody reads any more.
pub(crate) async fn write(connection: &mut Connection, form: &mut Form, facts: &Facts) -> Result<u64, Failure> {
    let libraries = match connection.ask(&[b"FUNCTION", b"LIST"]).await? {
        Reply::Error(error) if refusal::is_unknown(&error) && !facts.has_functions() => return Ok(0),
        Reply::Array(libraries) => libraries,
        Reply::Error(error) => return Err(unreadable(&error)),
        reply => return Err(connection.unexpected("`FUNCTION LIST`", &reply)),
    };
    let mut names: Vec<Bytes> = libraries.into_iter().map(|library| field(&fields(library), "library_name")).collect();
    names.sort();
    let mut written = 0;
    for name in names {
        // A name has letters, digits and `_` only, so it is a pattern that fits nothing else.
        let found = match connection.ask(&[b"FUNCTION", b"LIST", b"LIBRARYNAME", &name, b"WITHCODE"]).await? {
            Reply::Array(found) => found,
            Reply::Error(error) => return Err(unreadable(&error)),
            reply => return Err(connection.unexpected("`FUNCTION LIST`", &reply)),
        };
        // Deleted meanwhile, where there is none.
        for library in found {
            let code = field(&fields(library), "library_code");
            if code.len() as u64 > LONGEST_LIBRARY {
                return Err(Failure::rejected(format!(
                    "the library of functions {} has {} bytes, and more than 16 MiB are not restored",
                    show(&name),
                    code.len()
                ))
                .with_help("leave the functions out: `functions: false`"));
            }
            form.command(&[b"FUNCTION", b"LOAD", b"REPLACE", &code]);
            form.flush_some().await?;
            written += 1;
        }
    }
    Ok(written)
}

/// What it amounts to that the functions cannot be read.
pub(crate) fn unreadable(error: &str) -> Failure {
    let failure = refusal::failure(error, "reading the functions");
    if refusal::is_unknown(error) {
        failure.with_help("where the server has `FUNCTION` under another name (`rename-command`), say so in `commands`; else leave the functions out: `functions: false`")
    } else {
        failure.with_help("let this user run `FUNCTION LIST`, or leave the functions out: `functions: false`")
    }
}

impl Loader {
    /// Carries out a `FUNCTION` command.
    pub(super) async fn function(&mut self, args: &[&[u8]], offset: u64) -> Result<(), Failure> {
        let replace = self.on_functions == OnConflict::Replace;
        let word = args.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        let (args, all): (Vec<&[u8]>, _) = match (&word[..], &args[2..]) {
            (b"LOAD", [code]) => (vec![code], false),
            (b"LOAD", [option, code]) if option.eq_ignore_ascii_case(b"REPLACE") => (vec![code], false),
            (b"RESTORE", [payload] | [payload, _]) => (vec![payload], true),
            _ => return Err(refused(offset, b"FUNCTION")),
        };
        self.close_key().await?;
        // Functions belong to no database: where databases are emptied one by one, none is emptied for them.
        if self.before == Before::FlushAll {
            self.empty().await?;
        }
        let mut whole: Vec<&[u8]> = vec![b"FUNCTION", &word];
        if all {
            whole.extend(args);
            whole.push(if replace { b"REPLACE" } else { b"APPEND" });
        } else {
            whole.extend(replace.then_some(&b"REPLACE"[..]));
            whole.extend(args);
        }
        let Some(servers) = self.fleet.as_ref().map(|fleet| fleet.nodes.len()) else {
            return self.count(What::Functions { all, counts: true });
        };
        // Functions belong to no slot: each master of a cluster has them.
        for at in 0..servers {
            let Some(fleet) = &mut self.fleet else { continue };
            let (size, again) = fleet.write(at, whole.len() as u64, whole.iter().copied());
            let what = What::Functions { all, counts: at == 0 };
            self.sent(at, Pending { key: Bytes::new(), offset, size, again, what }).await?;
        }
        Ok(())
    }
}
