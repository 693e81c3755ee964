//! Who is told the parts of a value, one by one.
//!
//! A value is told as texts and what stands between them. A text is announced by its [`Role`] and its length, and then
//! told in pieces, which together have that length; an empty text has none. The order is: a list's or set's elements; a
//! hash's field, value, and then the field's expiry, if it can have one; a sorted set's member, then its score; for streams
//! see [`Stream`].

use std::future::Future;

use aquifer_engine::failure::Failure;

/// What a text is in its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The value of a string.
    Whole,
    /// An element of a list, or a member of a set.
    Element,
    /// A field of a hash, or of a stream's entry.
    Field,
    /// The value of a field.
    Value,
    /// A member of a sorted set.
    Member,
}

/// The id of a stream's entry.
pub(crate) type Id = (u64, u64);

/// What a stream is told as: its entries, each followed by its fields and values as texts; then its state; then each
/// group, followed by its consumers, and then what these have pending, in the order of the ids as far as there is room to bring it
/// into that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream<'a> {
    /// An entry with so many fields.
    Entry {
        id: Id,
        fields: u64,
    },
    State(State),
    Group {
        name: &'a [u8],
        last: Id,
        /// Entries that it has read; negative where that is not known, nothing where the format did not say yet.
        read: Option<i64>,
    },
    Consumer {
        name: &'a [u8],
        seen: i64,
        /// Negative for never; nothing where the format did not say yet.
        active: Option<i64>,
    },
    Pending {
        id: Id,
        /// With whom; one that was told before.
        consumer: &'a [u8],
        delivered: i64,
        times: u64,
        /// The entry is still in the stream; nothing where that was too much to remember.
        there: Option<bool>,
    },
}

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) length: u64,
    pub(crate) last: Id,
    /// What Redis 7.0 added.
    pub(crate) more: Option<MoreState>,
}

/// What is known of a stream since Redis 7.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoreState {
    pub(crate) first: Id,
    pub(crate) deleted: Id,
    pub(crate) added: u64,
}

/// Somebody who is told.
pub(crate) trait Visitor: Send {
    /// A text begins.
    ///
    /// # Errors
    /// Whatever ends the telling.
    fn text(&mut self, role: Role, length: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A piece of the text that was begun; never empty.
    ///
    /// # Errors
    /// As [`Visitor::text`].
    fn piece(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The text that was begun has been told.
    ///
    /// # Errors
    /// As [`Visitor::text`].
    fn told(&mut self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// The score of the member before.
    ///
    /// # Errors
    /// As [`Visitor::text`].
    fn score(&mut self, score: f64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The expiry of the field before, in milliseconds; nothing where it has none.
    ///
    /// # Errors
    /// As [`Visitor::text`].
    fn expires(&mut self, at: Option<u64>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A part of a stream.
    ///
    /// # Errors
    /// As [`Visitor::text`].
    fn stream(&mut self, part: Stream<'_>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Nobody: for values that are passed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nobody;

impl Visitor for Nobody {
    async fn text(&mut self, _: Role, _: u64) -> Result<(), Failure> {
        Ok(())
    }

    async fn piece(&mut self, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    async fn score(&mut self, _: f64) -> Result<(), Failure> {
        Ok(())
    }

    async fn expires(&mut self, _: Option<u64>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stream(&mut self, _: Stream<'_>) -> Result<(), Failure> {
        Ok(())
    }
}
