//! The cursors of a `SCAN`, so that one that goes round in circles is found out.
//!
//! Takes each cursor that the server gives. Always holds: a circle of any length fails in the end, in constant memory (one
//! cursor is kept, each for twice as long as the one before, and waited for); a table that is resized meanwhile, which may
//! show a cursor a second time, does not.

use bytes::Bytes;

/// How often the kept cursor may come back.
const AGAIN: u32 = 8;

/// What is remembered of a scan's cursors.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    kept: Bytes,
    came_back: u32,
    steps: u64,
    most: u64,
}

impl Cursors {
    /// The next cursor.
    ///
    /// # Errors
    /// They go round in circles; what the server answered, as a clause.
    pub(crate) fn next(&mut self, cursor: &Bytes) -> Result<(), &'static str> {
        if &cursor[..] == b"0" {
            *self = Self::default();
            return Ok(());
        }
        if *cursor == self.kept {
            self.came_back += 1;
            if self.came_back >= AGAIN {
                return Err("`SCAN` with the same cursors again and again");
            }
        }
        self.steps += 1;
        if self.steps > self.most {
            *self = Self { kept: cursor.clone(), came_back: 0, steps: 0, most: (self.most * 2).max(16) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes(cursors: impl Iterator<Item = u64>) -> Option<usize> {
        let mut seen = Cursors::default();
        cursors.map(|cursor| Bytes::from(cursor.to_string())).position(|cursor| seen.next(&cursor).is_err())
    }

    #[test]
    fn circles_are_found_out_and_nothing_else() {
        for length in [1, 2, 3, 100, 4097] {
            let found = goes((0..).map(|n| 7 + n % length)).expect("a circle");
            assert!(found < 64 * (length as usize + 16), "{length}: after {found}");
        }
        // With a beginning of its own.
        assert!(goes((1000..9000).chain((0..).map(|n| 7 + n % 50)).take(9_000_000)).is_some());
        assert_eq!(goes(1..3_000_000), None);
        // A few come twice, and each round begins anew.
        assert_eq!(goes((0..100_000).flat_map(|n| [n, n / 2 * 2])), None);
        assert_eq!(goes((0..1000).flat_map(|_| (1..300).chain([0]))), None);
    }
}
