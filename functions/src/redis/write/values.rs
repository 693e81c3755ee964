//! Whole values, each written by one command.
//!
//! Takes strings and payloads. Gives the server `SET` and `RESTORE`, each on the restore's terms, whatever the terms of the
//! stream are: without `replace` a key that is already there is never touched. Always holds: what has expired by the
//! server's clock is not written.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::lifetimes::When;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::statement::Hint;
use crate::redis::stream::wrong::refuse_reserved;
use crate::redis::write::load::{Before, Loader, OnConflict};
use crate::redis::write::old;
use crate::redis::write::replies::{Pending, What};

impl Loader {
    /// Writes a string.
    pub(super) async fn set(
        &mut self,
        key: Bytes,
        value: Bytes,
        expiry: Option<When>,
        offset: u64,
    ) -> Result<(), Failure> {
        let Some(what) = self.begin_value(&key, Kind::String, expiry, offset).await? else { return Ok(()) };
        let replace = self.on_conflict == OnConflict::Replace;
        let Some(expiry) = expiry else {
            let again = matches!(what, What::Value { repeated: true, .. });
            if !again && self.next_goes_together(key.len() + value.len()) {
                return self.set_together(key, value, offset).await;
            }
            let args = [&b"SET"[..], &key, &value].into_iter().chain((!replace).then_some(&b"NX"[..]));
            return self.send(3 + u64::from(!replace), args, key.clone(), offset, what).await;
        };
        if self.old {
            let payload = old::payload(&value);
            let at = self.moment(expiry).to_string();
            let args = [&b"RESTORE"[..], &key, at.as_bytes(), &payload, b"ABSTTL"];
            let args = args.into_iter().chain(replace.then_some(&b"REPLACE"[..]));
            return self.send(5 + u64::from(replace), args, key.clone(), offset, what).await;
        }
        let (word, number) = match expiry {
            When::At(at) => (&b"PXAT"[..], at),
            When::Left(left) => (&b"PX"[..], left),
        };
        let number = number.to_string();
        let args = [&b"SET"[..], &key, &value, word, number.as_bytes()];
        let args = args.into_iter().chain((!replace).then_some(&b"NX"[..]));
        self.send(5 + u64::from(!replace), args, key.clone(), offset, what).await
    }

    /// Writes a payload of `DUMP`.
    pub(super) async fn restore(
        &mut self,
        key: Bytes,
        payload: Bytes,
        expiry: Option<When>,
        hint: Option<Hint>,
        offset: u64,
    ) -> Result<(), Failure> {
        let kind = Kind::of_payload(payload.first().copied().unwrap_or(u8::MAX));
        let Some(what) = self.begin_value(&key, kind, expiry, offset).await? else { return Ok(()) };
        let (absolute, number) = match expiry {
            None => (true, 0),
            Some(When::At(at)) => (true, at),
            Some(When::Left(left)) => (false, left),
        };
        let number = number.to_string();
        let mut args = vec![&b"RESTORE"[..], &key, number.as_bytes(), &payload];
        args.extend(absolute.then_some(&b"ABSTTL"[..]));
        args.extend((self.on_conflict == OnConflict::Replace).then_some(&b"REPLACE"[..]));
        if let Some(hint) = &hint {
            args.extend([hint.word.as_bytes(), &hint.number]);
        }
        self.send(args.len() as u64, args.into_iter(), key.clone(), offset, what).await
    }

    /// The moment that an expiry means, in milliseconds of Unix time.
    fn moment(&self, expiry: When) -> u64 {
        match expiry {
            When::At(at) => at,
            When::Left(left) => self.now().saturating_add(left),
        }
    }

    /// True where an expiry has passed on the server.
    pub(super) fn has_passed(&self, expiry: When) -> bool {
        match expiry {
            When::At(at) => at <= self.now(),
            When::Left(left) => left == 0,
        }
    }

    /// Counts a whole key; `None` where its expiry has passed, so that there is nothing to write.
    pub(super) async fn begin_value(
        &mut self,
        key: &Bytes,
        kind: Kind,
        expiry: Option<When>,
        offset: u64,
    ) -> Result<Option<What>, Failure> {
        refuse_reserved(key, offset)?;
        // A `DEL` just before begins this very key, so it is not met twice.
        let begun = self.group.as_ref().and_then(|group| group.begins(key));
        self.close_key().await?;
        self.first_write().await?;
        self.spoiled = false;
        if expiry.is_some_and(|at| self.has_passed(at)) {
            self.done.expired += 1;
            self.last = Some((key.clone(), true));
            // The key does not exist any more where it came from, so `replace` must not leave an older one behind.
            if self.on_conflict == OnConflict::Replace {
                self.remove(key.clone(), key.clone(), offset).await?;
            }
            return Ok(None);
        }
        let repeated = begun.unwrap_or_else(|| self.remember(key));
        self.last = Some((key.clone(), false));
        Ok(Some(What::Value { kind, repeated, expired: false }))
    }

    /// A stream without any `SELECT` writes into database 0.
    pub(super) async fn first_write(&mut self) -> Result<(), Failure> {
        if self.before == Before::Keep { Ok(()) } else { self.empty().await }
    }

    /// Remembers a key; true where the stream had it before. With `replace` it does not matter.
    pub(super) fn remember(&mut self, key: &[u8]) -> bool {
        if self.on_conflict == OnConflict::Replace {
            return false;
        }
        self.remembered.again(key, self.database)
    }

    /// Removes what stands under a name, on behalf of a key.
    pub(super) async fn remove(&mut self, name: Bytes, key: Bytes, offset: u64) -> Result<(), Failure> {
        // `DEL` of a big value would keep the server from answering others.
        let args = [&b"UNLINK"[..], &name];
        self.send(2, args.into_iter(), key, offset, What::Plain).await
    }

    /// Sends a command of so many arguments to the server that has the key.
    pub(super) async fn send<'a>(
        &mut self,
        count: u64,
        args: impl Iterator<Item = &'a [u8]>,
        key: Bytes,
        offset: u64,
        what: What,
    ) -> Result<(), Failure> {
        self.let_pass(&key, offset).await?;
        let Some(fleet) = &mut self.fleet else { return self.carried_out_dry(key, what) };
        let at = fleet.route(&key);
        let (size, again) = fleet.write(at, count, args);
        self.sent(at, Pending { key, offset, size, again, what, held: Vec::new() }).await
    }
}
