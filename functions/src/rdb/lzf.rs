//! LZF, taken off while it arrives.
//!
//! A run of literals (`000nnnnn`, n + 1 bytes follow), or a copy of what was written before (`lllooooo`, a byte more of the
//! length where `lll` is 7, a byte more of the distance), which lies at most 8 KiB back. Always holds: no more than that,
//! and what nobody has taken yet, is kept.

use aquifer_engine::failure::Failure;

use super::input::{Input, Source};

/// How far back a copy may lie.
const WINDOW: usize = 8 << 10;

/// How much is unpacked at once.
const AT_ONCE: usize = 32 << 10;

/// A text being unpacked.
#[derive(Debug, Default)]
pub(crate) struct Lzf {
    /// Packed bytes that are still to come.
    packed: u64,
    /// The last bytes that were unpacked.
    history: Vec<u8>,
}

impl Lzf {
    /// Begins with a text of so many packed bytes.
    pub(crate) fn begin(&mut self, packed: u64) {
        self.packed = packed;
        self.history.clear();
    }

    /// Unpacks some bytes of the `left` that are still to come, at least one; they are the last ones of what this gives.
    ///
    /// # Errors
    /// What is there is no LZF of this length, or is cut off.
    pub(crate) async fn next<S: Source>(&mut self, left: u64, input: &mut Input<S>) -> Result<&[u8], Failure> {
        if self.history.len() > WINDOW {
            self.history.drain(..self.history.len() - WINDOW);
        }
        let from = self.history.len();
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        while self.history.len() - from < most.min(AT_ONCE) {
            // The longest that a step may be: a run of 32 literals.
            input.need(usize::try_from(self.packed).unwrap_or(usize::MAX).min(33)).await?;
            let unpacked = self.history.len() - from;
            let Some(taken) = self.step(most - unpacked, input.rest()) else {
                return Err(input.wrong("a compressed text is damaged"));
            };
            self.packed -= taken as u64;
            input.skip(taken);
        }
        if self.history.len() - from == most && self.packed > 0 {
            return Err(input.wrong("a compressed text is longer than it says"));
        }
        Ok(&self.history[from..])
    }

    /// One step of at most `most` bytes; gives how many packed ones it took.
    fn step(&mut self, most: usize, input: &[u8]) -> Option<usize> {
        let input = &input[..input.len().min(usize::try_from(self.packed).unwrap_or(usize::MAX))];
        let control = usize::from(*input.first()?);
        if control < 32 {
            let literals = input.get(1..control + 2).filter(|literals| literals.len() <= most)?;
            self.history.extend_from_slice(literals);
            return Some(control + 2);
        }
        let (mut length, mut at) = (control >> 5, 1);
        if length == 7 {
            length += usize::from(*input.get(at)?);
            at += 1;
        }
        let distance = ((control & 31) << 8 | usize::from(*input.get(at)?)) + 1;
        let length = length + 2;
        let start = self.history.len().checked_sub(distance).filter(|_| length <= most)?;
        if distance >= length {
            self.history.extend_from_within(start..start + length);
        } else {
            (start..start + length).for_each(|place| self.history.push(self.history[place]));
        }
        Some(at + 1)
    }
}
