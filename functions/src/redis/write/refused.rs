//! What a server refused while a restore went on: counted, with the first of each kind.
//!
//! Takes refusals. Gives a table of them, and the failure that a restore ends with. Always holds: a restore of which any key
//! was refused never succeeds; as many kinds as [`MOST_KINDS`] are told apart.

use std::collections::BTreeMap;

use aquifer_engine::failure::{Failure, FailureKind};

use crate::redis::keys::tally::{so_many_keys, thousands};

/// Kinds that are told apart; an error's first word is the server's, so anything.
const MOST_KINDS: usize = 50;

/// Refused keys.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    kinds: BTreeMap<String, (u64, Failure)>,
}

impl Refusals {
    /// Adds one, by the word that the server's answer begins with.
    pub(super) fn add(&mut self, word: &str, failure: Failure) {
        let known = self.kinds.len() < MOST_KINDS || self.kinds.contains_key(word);
        let word = if known { word } else { "others" };
        self.kinds.entry(word.chars().take(40).collect()).or_insert((0, failure)).0 += 1;
    }

    /// A line for each kind, the most frequent first.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut all: Vec<_> = self.kinds.iter().collect();
        all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        all.into_iter()
            .map(|(word, (count, first))| {
                let help = first.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
                format!("{word}: {}; the first: {}{help}", so_many_keys(*count), first.message)
            })
            .collect()
    }

    /// The failure that they are, where there are any.
    pub(super) fn failure(&self) -> Option<Failure> {
        let total: u64 = self.kinds.values().map(|(count, _)| count).sum();
        let first = self.kinds.values().next()?.1.kind;
        let kind =
            if self.kinds.values().all(|(_, failure)| failure.kind == first) { first } else { FailureKind::Rejected };
        let mut words: Vec<_> = self.kinds.iter().map(|(word, (count, _))| (count, word)).collect();
        words.sort_by(|a, b| b.cmp(a));
        let words: Vec<String> = words.iter().map(|(count, word)| format!("{word} {}", thousands(**count))).collect();
        Some(
            Failure::new(
                kind,
                format!(
                    "{} of the stream {} not written: {}",
                    so_many_keys(total),
                    if total == 1 { "was" } else { "were" },
                    words.join(", ")
                ),
            )
            .with_help(
                "all others are there; once the reasons are mended, restore again with `onConflict: skip` or `replace`",
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_kind_and_never_come_to_nothing() {
        let mut refusals = Refusals::default();
        assert!(refusals.failure().is_none());
        for (word, key) in [("OOM", "a"), ("NOPERM", "b"), ("OOM", "c")] {
            refusals.add(word, Failure::rejected(format!("writing {key}")));
        }
        let failure = refusals.failure().expect("three");
        assert_eq!(failure.message, "3 keys of the stream were not written: OOM 2, NOPERM 1");
        assert_eq!(refusals.lines(), ["OOM: 2 keys; the first: writing a", "NOPERM: 1 key; the first: writing b"]);
        (0..100).for_each(|n| refusals.add(&format!("E{n}"), Failure::rejected("x")));
        assert_eq!(refusals.kinds.len(), MOST_KINDS + 1);
    }
}
