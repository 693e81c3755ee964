//! Expiries that stand in commands of their own, behind the key that they belong to.
//!
//! Always holds: they are set under the name that the key has at that time, and on no key that was left as it was.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::lifetimes::When;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::resp::show;
use crate::redis::write::load::{Loader, OnConflict};
use crate::redis::write::replies::What;

/// The command for an expiry, and its number.
fn command(when: When, at: &'static str, left: &'static str) -> (&'static [u8], String) {
    match when {
        When::At(moment) => (at.as_bytes(), moment.to_string()),
        When::Left(time) => (left.as_bytes(), time.to_string()),
    }
}

impl Loader {
    /// Sets the expiry of the key that was written just before.
    ///
    /// # Errors
    /// It is the expiry of another key, or the server refused a command before it.
    pub(super) async fn expire(&mut self, key: Bytes, when: When, offset: u64) -> Result<(), Failure> {
        let passed = self.has_passed(when);
        if let Some(group) = self.group.as_mut().filter(|group| group.key == key) {
            group.timed = true;
            group.expired |= passed;
        }
        let Some(target) = self.written_before(&key, offset).await? else { return Ok(()) };
        let (name, number) = command(when, "PEXPIREAT", "PEXPIRE");
        let args = [name, &target, number.as_bytes()];
        self.send(3, args.into_iter(), key, offset, What::Plain).await
    }

    /// Sets expiries of fields of the hash that was written just before.
    ///
    /// # Errors
    /// As [`Loader::expire`].
    pub(super) async fn expire_fields(
        &mut self,
        key: Bytes,
        when: When,
        fields: Vec<Bytes>,
        offset: u64,
    ) -> Result<(), Failure> {
        if let Some(group) = self.group.as_mut().filter(|group| group.key == key) {
            group.timed_fields += fields.len() as u64;
        }
        let Some(target) = self.written_before(&key, offset).await? else { return Ok(()) };
        let (name, number) = command(when, "HPEXPIREAT", "HPEXPIRE");
        let count = fields.len().to_string();
        let args = [name, &target, number.as_bytes(), b"FIELDS", count.as_bytes()];
        let all = args.into_iter().chain(fields.iter().map(|field| &field[..]));
        self.send(5 + fields.len() as u64, all, key, offset, What::Fields).await
    }

    /// Under which name the key stands that was written just before; nothing where it was left as it was.
    async fn written_before(&mut self, key: &Bytes, offset: u64) -> Result<Option<Bytes>, Failure> {
        if let Some(group) = self.group.as_ref().filter(|group| group.key == *key) {
            return Ok((!group.skipping).then(|| group.target.clone().unwrap_or_else(|| key.clone())));
        }
        // Whether the key before was left as it was is known once everything is answered.
        self.settle().await?;
        match &self.last {
            Some((last, skipped)) if last == key => Ok((!skipped).then(|| key.clone())),
            _ if self.on_conflict == OnConflict::Replace => Ok(Some(key.clone())),
            _ => Err(wrong(
                offset,
                format_args!("an expiry for the key {}, which was not written just before", show(key)),
            )
            .with_help("such a stream can only be restored with `onConflict: replace`")),
        }
    }
}
