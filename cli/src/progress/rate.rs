//! How fast a step is now: the mean of the last seconds, not of its whole time, so that a stall shows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(5);

/// What one step moved lately.
#[derive(Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Takes the bytes so far; gives bytes per second.
    pub(super) fn add(&mut self, now: Instant, bytes: u64) -> u64 {
        self.0.push_back((now, bytes));
        // The newest sample that is older than the window stays: the rate is of the window's whole length.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let (since, before) = self.0.front().copied().unwrap_or((now, bytes));
        let millis = now.duration_since(since).as_millis();
        if millis == 0 {
            return 0;
        }
        u64::try_from(u128::from(bytes.saturating_sub(before)) * 1000 / millis).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.add(start, 0), 0);
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(rate.add(at(1), 100), 100);
        for second in 2..=10 {
            assert_eq!(rate.add(at(second), 100 * second), 100);
        }
        // It stalls: five seconds later nothing of its speed is left.
        assert_eq!(rate.add(at(12), 1000), 60);
        assert_eq!(rate.add(at(15), 1000), 0);
        assert_eq!(rate.add(at(15), 1000), 0);
    }
}
