//! The temporary key under which a restore builds a key that takes several commands, and the list of such keys.
//!
//! Takes the loader's servers. Gives the name to write to, for as long as a database is selected; in a cluster, for as long
//! as the keys are of one slot. Always holds: the name is this restore's alone, and stands in the database's list
//! [`LIST`] before anything is written under it; a name in the list is removed with its key only where no connection of
//! any of the servers bears its mark any more, so nobody's key is taken away while it is built. See
//! `docs/decisions/0011-keys-in-parts.md`.

use std::hash::{BuildHasher, Hasher, RandomState};

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::reserved::{BEGIN, LIST};
use crate::redis::topology::slots;
use crate::redis::wire::refusal::accepted;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;
use crate::redis::write::fleet::Fleet;
use crate::redis::write::load::Loader;

/// This restore's temporary key.
#[derive(Debug)]
pub(super) struct Temporary {
    mark: String,
    /// The connections bear the mark.
    marked: bool,
    /// The name that is in the list of the database that is selected.
    listed: Option<Bytes>,
}

impl Temporary {
    pub(super) fn new() -> Self {
        // Seeded anew for each value; no secret, only never the same twice.
        let mark = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { mark, marked: false, listed: None }
    }

    /// The name for a key: in a cluster one of the key's slot.
    fn name(&self, key: &[u8], cluster: bool) -> Bytes {
        let mut name = [BEGIN, self.mark.as_bytes()].concat();
        if cluster {
            name.extend_from_slice(format!("{{{}}}", slots::tag(slots::slot(key))).as_bytes());
        }
        name.into()
    }
}

/// The mark in a temporary key's name.
fn mark(name: &[u8]) -> Option<&str> {
    let rest = std::str::from_utf8(name.strip_prefix(BEGIN)?).ok()?;
    Some(rest.split_once('{').map_or(rest, |(mark, _)| mark)).filter(|mark| !mark.is_empty())
}

impl Loader {
    /// The name to build a key under. Nothing may be unanswered.
    ///
    /// # Errors
    /// The server refuses to name the connection or to keep the list.
    pub(super) async fn temporary(&mut self, key: &[u8]) -> Result<Bytes, Failure> {
        let cluster = self.fleet.as_ref().is_some_and(Fleet::is_cluster);
        let name = self.temporary.name(key, cluster);
        if self.temporary.listed.as_ref().is_some_and(|listed| *listed != name) {
            self.done_with_temporary().await?;
        } else if self.temporary.listed.is_none() {
            // A stream without any `SELECT` has not come by here before.
            self.sweep().await?;
        }
        let Some(fleet) = &mut self.fleet else { return Ok(name) };
        if !self.temporary.marked {
            fleet.mark(&self.temporary.mark).await?;
            self.temporary.marked = true;
        }
        if self.temporary.listed.is_none() {
            let reply = fleet.ask(LIST, &[b"SADD", LIST, &name]).await?;
            accepted(reply, format_args!("listing a temporary key in {}", show(LIST)))?;
            self.temporary.listed = Some(name.clone());
        }
        Ok(name)
    }

    /// Takes the name off the list of the database that is selected, and the key away where a failure left one. Nothing may
    /// be unanswered.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub(super) async fn done_with_temporary(&mut self) -> Result<(), Failure> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        let Some(name) = self.temporary.listed.take() else { return Ok(()) };
        // A key that stays has to stay in the list too: else nobody would ever remove it.
        let unlinked = fleet.ask(&name, &[b"UNLINK", &name]).await?;
        accepted(unlinked, format_args!("removing the temporary key {}", show(&name)))?;
        let listed = fleet.ask(LIST, &[b"SREM", LIST, &name]).await?;
        accepted(listed, format_args!("taking a temporary key off {}", show(LIST))).map(drop)
    }

    /// Removes what restores that did not end have left in the database that is selected. Nothing may be unanswered.
    ///
    /// # Errors
    /// The connection is lost. Where the server refuses, the leftovers stay: they do no harm.
    pub(super) async fn sweep(&mut self) -> Result<(), Failure> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        let Reply::Array(names) = fleet.ask(LIST, &[b"SMEMBERS", LIST]).await? else { return Ok(()) };
        if names.is_empty() {
            return Ok(());
        }
        // In this order: whoever is in the list had named its connections before.
        let mut all = String::new();
        for node in &mut fleet.nodes {
            let Reply::Bulk(clients) = node.connection.ask(&[b"CLIENT", b"LIST"]).await? else { return Ok(()) };
            all.push_str(&String::from_utf8_lossy(&clients));
        }
        for name in names.iter().filter_map(Reply::bytes) {
            if mark(name).is_some_and(|mark| !all.contains(mark))
                && let Reply::Integer(_) = fleet.ask(name, &[b"UNLINK", name]).await?
            {
                fleet.ask(LIST, &[b"SREM", LIST, name]).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::keys::reserved::is_reserved;

    #[test]
    fn names_are_reserved_and_never_the_same() {
        let (one, two) = (Temporary::new(), Temporary::new());
        assert!(
            one.name(b"k", false) != two.name(b"k", false) && is_reserved(&one.name(b"k", false)) && is_reserved(LIST)
        );
        assert!(!is_reserved(b"aquifer:restore:") && !is_reserved(b"part"));
    }

    #[test]
    fn in_a_cluster_a_name_is_of_its_keys_slot_and_has_the_same_mark() {
        let temporary = Temporary::new();
        for key in [&b"key"[..], b"{tag}x", b"a}b", b"", b"{}"] {
            let name = temporary.name(key, true);
            assert_eq!(slots::slot(&name), slots::slot(key));
            assert_eq!(mark(&name), Some(&temporary.mark[..]));
        }
        assert_eq!(mark(&temporary.name(b"key", false)), Some(&temporary.mark[..]));
        assert_eq!(mark(BEGIN), None);
    }
}
