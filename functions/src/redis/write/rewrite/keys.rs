//! Keys of several commands, on their way: all commands of one have one fate.
//!
//! Always holds: a key whose fate depends on its type is not begun before its first part.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use super::{Fate, Open, Passed, Rewriter};
use crate::redis::keys::tally::Kind;
use crate::redis::stream::statement::{Act, Statement};
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::resp::show;

impl Rewriter {
    pub(super) fn begin(&mut self, key: Bytes, offset: u64) -> Result<Passed, Failure> {
        if self.open.as_ref().is_none_or(|open| open.key != key) {
            self.close();
            self.open = Some(Open { key: key.clone(), kind: None, fate: None, held: None, passed: false });
        }
        let by_kind = self.changes.filter.by_kind();
        let known = if by_kind { None } else { Some(self.decide(&key, None, offset)?) };
        let wanted = known.as_ref().is_some_and(|fate| fate.name.is_some());
        let mut statements = if wanted { self.at_home(offset)? } else { Vec::new() };
        let Some(open) = &mut self.open else { return Ok(Passed::default()) };
        open.kind = None;
        open.held = None;
        let begin = |name: &Bytes| Statement { offset, act: Act::Begin { key: name.clone() } };
        match (&open.fate, known) {
            // It was begun before, and what was written of it is to be taken back, whatever comes now.
            (Some((_, Fate { name: Some(name), .. })), _) if open.passed => {
                statements.push(begin(name));
                if by_kind {
                    open.fate = None;
                }
            }
            (_, Some(fate)) => {
                if let Some(name) = &fate.name {
                    open.passed = true;
                    statements.push(begin(name));
                }
                self.last = Some(fate.clone());
                open.fate = Some((None, fate));
            }
            (_, None) => {
                self.last = None;
                open.fate = None;
                open.held = Some(offset);
            }
        }
        Ok(Passed { statements, ..Passed::default() })
    }

    /// Goes on with a key: what comes before it, and its name if it is wanted.
    pub(super) fn part(
        &mut self,
        key: &Bytes,
        kind: Kind,
        offset: u64,
    ) -> Result<(Vec<Statement>, Option<Bytes>), Failure> {
        if self.open.as_ref().is_none_or(|open| open.key != *key) {
            self.close();
            self.open = Some(Open { key: key.clone(), kind: None, fate: None, held: None, passed: false });
        }
        let decided = match self.open.as_ref().and_then(|open| open.fate.clone()) {
            Some((known, fate)) if known.is_none() && !self.changes.filter.by_kind() || known == Some(kind) => fate,
            _ => self.decide(key, Some(kind), offset)?,
        };
        let mut before = if decided.name.is_some() { self.at_home(offset)? } else { Vec::new() };
        let Some(open) = &mut self.open else { return Ok((before, None)) };
        open.kind = Some(kind);
        if let (Some(name), Some(held)) = (&decided.name, open.held.take()) {
            before.push(Statement { offset: held, act: Act::Begin { key: name.clone() } });
        }
        open.passed |= decided.name.is_some();
        let known = self.changes.filter.by_kind().then_some(kind);
        open.fate = Some((known, decided.clone()));
        self.last = Some(decided.clone());
        Ok((before, decided.name))
    }

    /// The name under which a key is written that an expiry belongs to; `None` where it is left out.
    pub(super) fn name_of(&mut self, key: &Bytes, offset: u64) -> Result<Option<Bytes>, Failure> {
        if let Some(fate) = self.last.as_ref().filter(|fate| fate.key == key) {
            return Ok(fate.name.clone());
        }
        if self.changes.filter.by_kind() {
            let what = format_args!(
                "an expiry for the key {}, which was not written just before, so its type is not known",
                show(key)
            );
            return Err(wrong(offset, what).with_help("such a stream can only be restored without `filter.types`"));
        }
        Ok(self.decide(key, None, offset)?.name)
    }
}
