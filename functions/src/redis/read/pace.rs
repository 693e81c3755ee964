//! How fast a server is asked: how much work one request may make for it, how much of that may be under way, and when to rest.
//!
//! Takes the [`Impact`] that the user allows, estimates of [`work`](crate::redis::read::work), and what a second connection measures: how long
//! a `PING` takes beyond the shortest one, which is what others feel. Gives the size of the next request. Always holds: requests
//! begin small; while others wait for longer than the budget, requests become smaller, and then rarer, until they do not; a
//! pace with a share never asks for more work than that share of the time that has passed, one request aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::redis::wire::connection::Connection;
use crate::redis::wire::target::Target;

/// No request is made smaller than this, in nanoseconds of the server's work.
const LEAST: u64 = 50_000;

/// How often the server's answer time is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// So many answers in a row within the budget make requests larger again.
const GOOD_IN_A_ROW: u32 = 4;

/// By how much the part of the time that is asked for shrinks at most, where others wait nonetheless: requests of the least
/// size are not what they wait for then, but the server's host may be short of time.
const RAREST: u32 = 4;

/// How much others may notice of the reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// At most a fifth of the server's time, in steps of a quarter of a millisecond; rarer while others wait for more than 2 ms.
    Gentle,
    /// As fast as the server is, in steps of at most a millisecond, four of them under way; less while others wait for more than 5 ms.
    #[default]
    Normal,
    /// As fast as the server is, whatever others feel.
    Full,
}

impl Impact {
    /// A request of the first size, in nanoseconds of the server's work.
    fn first(self) -> u64 {
        match self {
            Self::Gentle => 100_000,
            Self::Normal => 250_000,
            Self::Full => 2_000_000,
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Gentle => 250_000,
            Self::Normal => 1_000_000,
            Self::Full => 2_000_000,
        }
    }

    /// Requests under way.
    fn at_once(self) -> u64 {
        match self {
            Self::Gentle => 1,
            Self::Normal => 4,
            Self::Full => 8,
        }
    }

    /// One in so many parts of the time.
    fn every(self) -> u32 {
        if self == Self::Gentle { 5 } else { 1 }
    }

    /// How much longer than by themselves others may wait, in microseconds.
    fn budget(self) -> Option<u64> {
        match self {
            Self::Gentle => Some(2_000),
            Self::Normal => Some(5_000),
            Self::Full => None,
        }
    }
}

/// How fast to ask.
#[derive(Debug)]
pub(crate) struct Pace {
    impact: Impact,
    request: u64,
    /// The part of the time that is asked for: one in so many.
    every: u32,
    good: u32,
    /// Nothing is asked before.
    free: Instant,
    look: Option<Look>,
    cancel: CancellationToken,
}

impl Pace {
    /// Begins. Where the second connection cannot be had, estimates alone bound the work.
    pub(crate) fn new(impact: Impact, target: &Target, call: &Call) -> Self {
        let look = impact.budget().map(|_| Look::start(target.clone(), call.clone()));
        Self { look, ..Self::estimated(impact, call) }
    }

    /// Begins without a second connection.
    pub(crate) fn estimated(impact: Impact, call: &Call) -> Self {
        Self { cancel: call.cancellation().clone(), ..Self::alone(impact) }
    }

    fn alone(impact: Impact) -> Self {
        let (request, every, cancel) = (impact.first(), impact.every(), CancellationToken::new());
        Self { impact, request, every, good: 0, free: Instant::now(), look: None, cancel }
    }

    /// How much work the next request may make.
    pub(crate) fn request(&self) -> u64 {
        self.request
    }

    /// How many things of this cost are worth one request; at least one.
    pub(crate) fn fit(&self, each: u64) -> usize {
        usize::try_from(self.request / each.max(1)).unwrap_or(usize::MAX).max(1)
    }

    /// True where more may be asked while this much work is under way.
    pub(crate) fn allows(&self, under_way: u64) -> bool {
        let room = under_way == 0 || under_way + self.request <= self.request * self.impact.at_once();
        room && (self.every == 1 || Instant::now() >= self.free)
    }

    /// Says that so much work was asked for.
    pub(crate) fn asked(&mut self, work: u64) {
        let now = Instant::now();
        // Estimates are high: where nothing is left out they would add up to a rest that nobody asked for.
        self.free = if self.every > 1 { self.free.max(now) + Duration::from_nanos(work) * self.every } else { now };
        if let (Some(look), Some(budget)) = (&self.look, self.impact.budget()) {
            if let Some(waited) = look.take() {
                self.learn(waited, budget);
            } else if look.is_over() {
                // Nobody looks any more, so what was learned last must not last for ever.
                (self.request, self.every, self.look) = (self.impact.first(), self.impact.every(), None);
            }
        }
    }

    fn learn(&mut self, waited: u64, budget: u64) {
        if waited > budget {
            self.good = 0;
            if self.request > LEAST {
                self.request = (self.request / 2).max(LEAST);
            } else {
                self.every = (self.every * 2).min(RAREST * self.impact.every());
            }
        } else if waited < budget / 2 {
            self.good += 1;
            if self.good >= GOOD_IN_A_ROW {
                self.good = 0;
                if self.every > self.impact.every() {
                    self.every = (self.every / 2).max(self.impact.every());
                } else {
                    self.request = (self.request + self.request / 2).min(self.impact.most());
                }
            }
        }
    }

    /// Waits until more may be asked; nothing may be under way.
    ///
    /// # Errors
    /// The step has to stop.
    pub(crate) async fn rest(&self) -> Result<(), Failure> {
        if self.every == 1 || self.free <= Instant::now() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::cancelled("stopped")),
            () = tokio::time::sleep_until(self.free) => Ok(()),
        }
    }
}

/// A second connection that looks how long the server takes to answer others, on a thread of its own: among the threads that
/// read the dump it would find an answer only when one of them has a moment, and take that for the server's time.
#[derive(Debug)]
struct Look {
    /// The longest wait since it was taken, in microseconds and one more; 0 where there was no answer since.
    longest: Arc<AtomicU64>,
    /// `None` where there is no thread to be had.
    thread: Option<JoinHandle<()>>,
    /// Ends it.
    _end: DropGuard,
}

impl Look {
    fn start(target: Target, call: Call) -> Self {
        let (longest, end) = (Arc::new(AtomicU64::new(0)), call.cancellation().child_token());
        let (told, ended) = (Arc::clone(&longest), end.clone());
        let looking = move || {
            // A server that grants no second connection is read all the same.
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(ended.run_until_cancelled(look(&target, &call, &told)));
        };
        let thread = std::thread::Builder::new().name("aquifer-look".into()).spawn(looking).ok();
        Self { longest, thread, _end: end.drop_guard() }
    }

    fn take(&self) -> Option<u64> {
        self.longest.swap(0, Ordering::Relaxed).checked_sub(1)
    }

    /// Nobody looks any more.
    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// Looks until the connection is lost.
async fn look(target: &Target, call: &Call, longest: &AtomicU64) {
    let Ok(mut connection) = Connection::open(target, call).await else { return };
    let mut shortest = Duration::MAX;
    loop {
        let begun = std::time::Instant::now();
        // An error is an answer too.
        if connection.ask(&[b"PING"]).await.is_err() {
            return;
        }
        let took = begun.elapsed();
        shortest = shortest.min(took);
        let waited = (took - shortest).as_micros() as u64;
        longest.fetch_max(waited + 1, Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gentle_asks_for_a_fifth_of_the_time_and_others_for_all_of_it() {
        for (impact, share) in [(Impact::Gentle, 0.2), (Impact::Normal, 1e9), (Impact::Full, 1e9)] {
            let mut pace = Pace::alone(impact);
            let (begun, mut work) = (Instant::now(), 0);
            for _ in 0..1000 {
                if !pace.allows(0) {
                    tokio::time::sleep_until(pace.free).await;
                }
                assert!(pace.allows(0) && pace.request() <= impact.most());
                pace.learn(100, 5_000);
                let request = pace.request();
                pace.asked(request);
                work += request;
                let passed = begun.elapsed().as_nanos() as f64;
                assert!(work as f64 <= passed * share + request as f64 || share > 1.0, "{work} in {passed}");
            }
            assert_eq!(pace.request(), impact.most());
            assert_eq!(begun.elapsed() > Duration::from_millis(100), impact == Impact::Gentle);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_lets_others_wait_asks_for_less_then_more_rarely() {
        for impact in [Impact::Gentle, Impact::Normal] {
            let budget = impact.budget().expect("it has one");
            let mut pace = Pace::alone(impact);
            for _ in 0..20 {
                pace.learn(budget + 1, budget);
            }
            assert_eq!((pace.request(), pace.every), (LEAST, RAREST * impact.every()));
            // What is neither good nor bad changes nothing.
            pace.learn(budget, budget);
            assert_eq!((pace.request(), pace.every), (LEAST, RAREST * impact.every()));
            for _ in 0..100 {
                pace.learn(0, budget);
            }
            assert_eq!((pace.request(), pace.every), (impact.most(), impact.every()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_second_connection_estimates_alone_bound_the_work() {
        let mut pace = Pace::alone(Impact::Normal);
        (pace.request, pace.every) = (LEAST, RAREST);
        let thread = std::thread::spawn(|| {});
        while !thread.is_finished() {
            std::thread::yield_now();
        }
        let end = CancellationToken::new().drop_guard();
        pace.look = Some(Look { longest: Arc::default(), thread: Some(thread), _end: end });
        pace.asked(1);
        assert_eq!((pace.request(), pace.every), (Impact::Normal.first(), Impact::Normal.every()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_under_way_than_a_few_requests() {
        for impact in [Impact::Gentle, Impact::Normal, Impact::Full] {
            let pace = Pace::alone(impact);
            let mut under_way = 0;
            while pace.allows(under_way) {
                under_way += pace.request();
            }
            assert_eq!(under_way, pace.request() * impact.at_once());
            assert_eq!(pace.fit(u64::MAX), 1);
        }
    }
}
