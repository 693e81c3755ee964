//! The temporary key under which a restore builds a key that takes several commands, and the list of such keys.
//!
//! Takes the loader's connection. Gives the name to write to, for as long as a database is selected. Always holds: the
//! name is this connection's alone, and stands in the database's list [`LIST`] before anything is written under it; a
//! name in the list is removed with its key only where no connection of the server bears its mark any more, so nobody's
//! key is taken away while it is built. See `docs/decisions/0011-keys-in-parts.md`.

use std::hash::{BuildHasher, Hasher, RandomState};

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::connection::Reply;
use super::load::Loader;
use super::resp::show;

/// The set of temporary keys in a database.
pub(crate) const LIST: &[u8] = b"aquifer:restore:open";

/// What a temporary key's name begins with; its connection's mark follows.
pub(crate) const BEGIN: &[u8] = b"aquifer:restore:part:";

/// True for names that a restore keeps for itself: no dump and no digest covers them.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    key == LIST || key.starts_with(BEGIN)
}

/// This connection's temporary key.
#[derive(Debug)]
pub(super) struct Temporary {
    name: Bytes,
    mark: String,
    /// The connection bears the mark.
    marked: bool,
    /// It is in the list of the database that is selected.
    listed: bool,
}

impl Temporary {
    pub(super) fn new() -> Self {
        // Seeded anew for each value; no secret, only never the same twice.
        let mark = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { name: [BEGIN, mark.as_bytes()].concat().into(), mark, marked: false, listed: false }
    }
}

impl Loader {
    /// The name to build a key under. Nothing may be unanswered.
    ///
    /// # Errors
    /// The server refuses to name the connection or to keep the list.
    pub(super) async fn temporary(&mut self) -> Result<Bytes, Failure> {
        if !self.temporary.listed {
            // A stream without any `SELECT` has not come by here before.
            self.sweep().await?;
        }
        let name = self.temporary.name.clone();
        let Some(connection) = &mut self.connection else { return Ok(name) };
        if !self.temporary.marked {
            let before = match connection.ask(&[b"CLIENT", b"GETNAME"]).await? {
                Reply::Bulk(name) if !name.is_empty() => String::from_utf8_lossy(&name).into_owned(),
                _ => "aquifer".to_owned(),
            };
            let marked = format!("{before}:{}", self.temporary.mark);
            let reply = connection.ask(&[b"CLIENT", b"SETNAME", marked.as_bytes()]).await?;
            connection
                .accepted(reply, "naming the connection, by which others know whose temporary keys are in use")?;
            self.temporary.marked = true;
        }
        if !self.temporary.listed {
            let reply = connection.ask(&[b"SADD", LIST, &name]).await?;
            connection.accepted(reply, format_args!("listing a temporary key in {}", show(LIST)))?;
            self.temporary.listed = true;
        }
        Ok(name)
    }

    /// Takes the name off the list of the database that is selected, and the key away where a failure left one. Nothing may
    /// be unanswered.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(super) async fn done_with_temporary(&mut self) -> Result<(), Failure> {
        let (Some(connection), true) = (&mut self.connection, self.temporary.listed) else { return Ok(()) };
        let name = self.temporary.name.clone();
        connection.push(&[b"UNLINK", &name]);
        let unlinked = connection.ask(&[b"SREM", LIST, &name]).await?;
        let listed = connection.reply().await?;
        self.temporary.listed = false;
        connection.accepted(unlinked, format_args!("removing the temporary key {}", show(&name)))?;
        connection.accepted(listed, format_args!("taking a temporary key off {}", show(LIST))).map(drop)
    }

    /// Removes what restores that did not end have left in the database that is selected. Nothing may be unanswered.
    ///
    /// # Errors
    /// The connection is lost. Where the server refuses, the leftovers stay: they do no harm.
    pub(super) async fn sweep(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let Reply::Array(names) = connection.ask(&[b"SMEMBERS", LIST]).await? else { return Ok(()) };
        if names.is_empty() {
            return Ok(());
        }
        // In this order: whoever is in the list had named its connection before.
        let Reply::Bulk(clients) = connection.ask(&[b"CLIENT", b"LIST"]).await? else { return Ok(()) };
        let clients = String::from_utf8_lossy(&clients);
        for name in names.iter().filter_map(Reply::bytes) {
            let mark = name.strip_prefix(BEGIN).and_then(|mark| std::str::from_utf8(mark).ok());
            if mark.is_some_and(|mark| !mark.is_empty() && !clients.contains(mark)) {
                connection.push(&[b"UNLINK", name]);
                connection.ask(&[b"SREM", LIST, name]).await?;
                connection.reply().await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reserved_and_never_the_same() {
        let (one, two) = (Temporary::new(), Temporary::new());
        assert!(one.name != two.name && is_reserved(&one.name) && is_reserved(LIST));
        assert!(!is_reserved(b"aquifer:restore:") && !is_reserved(b"part"));
    }
}
