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

/// The longest that a step may be when it is packed: a run of 32 literals.
const LONGEST_PACKED: usize = 33;

/// The longest that a step may be when it is unpacked: a copy of 7 + 255 + 2 bytes.
const LONGEST: usize = 264;

/// Bytes that are copied at once, also where a step is shorter: what is too much is overwritten by the next step.
const WIDE: usize = 32;

/// A text being unpacked.
#[derive(Debug, Default)]
pub(crate) struct Lzf {
    /// Packed bytes that are still to come.
    packed: u64,
    /// What was unpacked, with room behind it for one step and what it copies too much.
    history: Vec<u8>,
    /// How much of it there is.
    end: usize,
}

impl Lzf {
    /// Begins with a text of so many packed bytes.
    pub(crate) fn begin(&mut self, packed: u64) {
        self.packed = packed;
        self.end = 0;
        self.history.resize(WINDOW + AT_ONCE + LONGEST + WIDE, 0);
    }

    /// Unpacks some bytes of the `left` that are still to come, at least one; they are the last ones of what this gives.
    ///
    /// # Errors
    /// What is there is no LZF of this length, or is cut off.
    pub(crate) async fn next<S: Source>(&mut self, left: u64, input: &mut Input<S>) -> Result<&[u8], Failure> {
        if self.end > WINDOW {
            self.history.copy_within(self.end - WINDOW..self.end, 0);
            self.end = WINDOW;
        }
        let from = self.end;
        let most = from.saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
        let enough = most.min(from + AT_ONCE);
        while self.end < enough {
            let packed = usize::try_from(self.packed).unwrap_or(usize::MAX);
            input.need(packed.min(LONGEST_PACKED)).await?;
            let rest = input.rest();
            let rest = &rest[..rest.len().min(packed)];
            let Some(taken) = self.steps(enough, most, rest, rest.len() == packed) else {
                return Err(input.wrong("a compressed text is damaged"));
            };
            self.packed -= taken as u64;
            input.skip(taken);
        }
        if self.end == most && self.packed > 0 {
            return Err(input.wrong("a compressed text is longer than it says"));
        }
        Ok(&self.history[from..self.end])
    }

    /// Steps until there is enough, or what is there may end within a step; gives how many packed bytes they took.
    fn steps(&mut self, enough: usize, most: usize, input: &[u8], all: bool) -> Option<usize> {
        let mut at = 0;
        while self.end < enough && (all || input.len() - at >= LONGEST_PACKED) {
            at += self.step(most, &input[at..])?;
        }
        Some(at)
    }

    /// One step, up to the place `most`; gives how many packed bytes it took.
    fn step(&mut self, most: usize, input: &[u8]) -> Option<usize> {
        let control = usize::from(*input.first()?);
        if control < 32 {
            let length = control + 1;
            if self.end + length > most {
                return None;
            }
            let to = &mut self.history[self.end..];
            if let Some(wide) = input.get(1..=WIDE) {
                to[..WIDE].copy_from_slice(wide);
            } else {
                to[..length].copy_from_slice(input.get(1..=length)?);
            }
            self.end += length;
            return Some(control + 2);
        }
        let (mut length, mut at) = (control >> 5, 1);
        if length == 7 {
            length += usize::from(*input.get(at)?);
            at += 1;
        }
        let distance = ((control & 31) << 8 | usize::from(*input.get(at)?)) + 1;
        let length = length + 2;
        let start = self.end.checked_sub(distance).filter(|_| self.end + length <= most)?;
        self.copy(start, length, distance);
        self.end += length;
        Some(at + 1)
    }

    fn copy(&mut self, start: usize, length: usize, distance: usize) {
        if distance >= 8 {
            for done in (0..length).step_by(8) {
                let mut eight = [0; 8];
                eight.copy_from_slice(&self.history[start + done..start + done + 8]);
                self.history[self.end + done..self.end + done + 8].copy_from_slice(&eight);
            }
        } else if distance == 1 {
            let byte = self.history[start];
            self.history[self.end..self.end + length].fill(byte);
        } else {
            (0..length).for_each(|done| self.history[self.end + done] = self.history[start + done]);
        }
    }
}
