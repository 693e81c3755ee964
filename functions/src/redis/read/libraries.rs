//! Libraries of functions, read from a server one by one.
//!
//! Takes a connection. Gives `FUNCTION LOAD REPLACE code` for each library, in the order of their names, or their hashes.
//! Always holds: a whole library is held, no two of them.

use std::collections::BTreeMap;

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::digest::{self, Sum};
use crate::redis::stream::form::{Form, LONGEST_LIBRARY};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::facts::Facts;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::{Reply, field, fields};
use crate::redis::wire::resp::show;

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

/// The masters of a cluster have not the same.
pub(crate) fn mixed() -> Failure {
    Failure::rejected("the masters of the cluster have different functions")
        .with_help("load the same libraries into all of them, or leave the functions out: `functions: false`")
}

/// The functions' libraries: the hash of each one's name, engine and code, by name.
///
/// # Errors
/// The server refuses, or the connection is lost.
pub(crate) async fn functions_by_name(
    connection: &mut Connection,
    facts: &Facts,
) -> Result<BTreeMap<Bytes, u128>, Failure> {
    let reply = match connection.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"]).await? {
        Reply::Error(error) if refusal::is_unknown(&error) && !facts.has_functions() => return Ok(BTreeMap::new()),
        Reply::Error(error) => return Err(unreadable(&error)),
        reply => connection.accepted(reply, "reading the functions")?,
    };
    let hash = |library: Reply| {
        let library = fields(library);
        let [name, engine, code] = ["library_name", "engine", "library_code"].map(|name| field(&library, name));
        let hash = digest::library(&name, &engine, &code);
        (name, hash)
    };
    Ok(reply.items().unwrap_or_default().into_iter().map(hash).collect())
}

/// The sum of the hashes of all libraries.
///
/// # Errors
/// As [`functions_by_name`].
pub(crate) async fn functions(connection: &mut Connection, facts: &Facts) -> Result<Sum, Failure> {
    let mut sum = Sum::default();
    functions_by_name(connection, facts).await?.into_values().for_each(|hash| sum.add(hash));
    Ok(sum)
}
