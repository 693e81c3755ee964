//! What a stream holds, counted as it comes: what its trailer is held to.
//!
//! Takes what the commands of a stream do, all of them, whatever becomes of them. Gives counts. Always holds: a key that is
//! written by several commands counts once, as the type of its last parts, and not at all where a `DEL` took all of it back.

use bytes::Bytes;

use crate::redis::keys::tally::{Kind, PerType};
use crate::redis::stream::long::{Long, LongAct};
use crate::redis::stream::statement::{Act, Part};

/// What a stream was found to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census {
    /// Keys, by type.
    pub(crate) keys: PerType,
    /// Commands.
    pub(crate) commands: u64,
    /// Libraries of functions that stand there one by one.
    pub(crate) libraries: u64,
    /// The key that is being written by several commands, and its type as far as it is known.
    open: Option<(Bytes, Option<Kind>)>,
}

impl Census {
    /// Counts a command.
    pub(super) fn count(&mut self, act: &Act) {
        self.commands += 1;
        match act {
            Act::Set { .. } | Act::Restore { .. } => self.value(act.value()),
            Act::Begin { key } => self.enter(key, None),
            Act::Part(Part { key, kind, .. }) => self.enter(key, Some(*kind)),
            Act::Functions { all, .. } => {
                self.close();
                self.libraries += u64::from(!all);
            }
            Act::Select(_) => self.close(),
            Act::Expire { .. } | Act::ExpireFields { .. } => {}
        }
    }

    /// Counts a long command.
    pub(super) fn count_long(&mut self, long: &Long) {
        self.commands += 1;
        match &long.act {
            LongAct::Part { kind, .. } => self.enter(&long.key, Some(*kind)),
            value => self.value(value.value()),
        }
    }

    fn value(&mut self, kind: Option<Kind>) {
        self.close();
        kind.into_iter().for_each(|kind| self.keys.add(kind));
    }

    fn enter(&mut self, key: &Bytes, kind: Option<Kind>) {
        if self.open.as_ref().is_none_or(|(open, _)| open != key) {
            self.close();
        }
        self.open = Some((key.clone(), kind));
    }

    /// Counts the key that was being written by several commands.
    pub(super) fn close(&mut self) {
        if let Some((_, Some(kind))) = self.open.take() {
            self.keys.add(kind);
        }
    }
}
