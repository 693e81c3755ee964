//! The parts of a value that were told last.
//!
//! Takes names, as hashes, and the hashes of parts. Gives those of the last [`RECENT`] names. Always holds: no more are kept, and
//! nothing is reserved before it is needed.

use std::collections::{HashMap, VecDeque};

/// How many parts are kept: what belongs to a part, as a field's expiry, is told within the same few commands.
pub(crate) const RECENT: usize = 1 << 15;

/// The last parts.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    hashes: HashMap<u64, u128>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Keeps a part; gives what stood under its name, if that is known.
    pub(crate) fn insert(&mut self, name: u64, hash: u128) -> Option<u128> {
        let before = self.hashes.insert(name, hash);
        if before.is_none() {
            self.order.push_back(name);
            if self.order.len() > RECENT
                && let Some(oldest) = self.order.pop_front()
            {
                self.hashes.remove(&oldest);
            }
        }
        before
    }

    pub(crate) fn get_mut(&mut self, name: u64) -> Option<&mut u128> {
        self.hashes.get_mut(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_no_others() {
        let mut recent = Recent::default();
        for name in 0..3 * RECENT as u64 {
            assert_eq!(recent.insert(name, u128::from(name)), None);
            assert_eq!(recent.insert(name, u128::from(name) + 1), Some(u128::from(name)));
        }
        let kept = |name: usize, recent: &mut Recent| recent.get_mut(name as u64).is_some();
        assert!(kept(3 * RECENT - 1, &mut recent) && kept(2 * RECENT, &mut recent));
        assert!(!kept(2 * RECENT - 1, &mut recent) && recent.hashes.len() == RECENT && recent.order.len() == RECENT);
    }
}
