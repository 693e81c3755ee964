//! How requests reach a server, and how long one may take.
//!
//! Takes the requests of one store. Always holds: a server that takes a request and never answers is given up; a part that
//! is sent over a slow line is not, as long as the line carries [`SLOWEST`] bytes a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aquifer_engine::failure::Failure;
use http::{Method, Request, Response};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, HttpTransporter};
use opendal_http_transport_reqwest::ReqwestTransport;
use tokio::time::{Instant, sleep_until};

/// How long a server may take to answer at all: a request to a host that is not there is sent again and again.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long what was sent may stay unconfirmed: where the network is gone in the middle of a part, nothing else would tell.
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// How long one request may take that sends little.
pub(super) const SENDING: Duration = Duration::from_secs(300);

/// The slowest line, in bytes a second, that is still waited for: 1 Mbit/s.
const SLOWEST: u64 = 125_000;

/// A client of a store's own: a shared one would keep connections that belong to another runtime.
pub(super) fn transport() -> Result<HttpTransporter, Failure> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECTING)
        .tcp_user_timeout(UNCONFIRMED)
        .build()
        .map_err(|error| Failure::config("the TLS client cannot be set up").caused_by(&error))?;
    Ok(HttpTransporter::new(Bounded::new(ReqwestTransport::new(client))))
}

/// Bounds each request of the transport inside.
struct Bounded<T> {
    inner: T,
    /// The bytes that are being sent now, and the most that ever were: parts share one line, so each waits for all of them.
    under_way: AtomicU64,
    most: AtomicU64,
}

/// Counts a request's bytes as under way as long as it is there.
struct Counted<'a>(&'a AtomicU64, u64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl<T> Bounded<T> {
    fn new(inner: T) -> Self {
        Self { inner, under_way: AtomicU64::new(0), most: AtomicU64::new(0) }
    }

    fn count(&self, bytes: u64) -> Counted<'_> {
        let now = self.under_way.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        Counted(&self.under_way, bytes)
    }

    /// How long a request that carries data may take, as far as is known now.
    fn limit(&self) -> Duration {
        SENDING.max(Duration::from_secs(self.most.load(Ordering::Relaxed) / SLOWEST))
    }
}

impl<T: HttpTransport> HttpTransport for Bounded<T> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let carries = request.method() == Method::PUT;
        // What such a request is answered with is part of its time: a server may begin to answer, and fall silent.
        let is_short = carries || request.method() == Method::POST;
        let _counted = self.count(if carries { request.body().len() as u64 } else { 0 });
        let begun = Instant::now();
        let answer = async {
            let answer = self.inner.fetch(request).await?;
            if !is_short {
                return Ok(answer);
            }
            let (head, mut body) = answer.into_parts();
            let body = body.to_buffer().await?;
            Ok(Response::from_parts(head, HttpBody::new(futures::stream::iter([Ok(body)]), None)))
        };
        tokio::pin!(answer);
        loop {
            let limit = if carries { self.limit() } else { SENDING };
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                // Meanwhile others may have begun that take their share of the line.
                () = sleep_until(begun + limit) => if !carries || self.limit() <= limit {
                    let why = format!("the server has not answered for {} seconds", limit.as_secs());
                    return Err(Error::new(ErrorKind::Unexpected, why).set_temporary());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// A server that never answers.
    struct Silent;

    impl HttpTransport for Silent {
        async fn fetch(&self, _: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
            std::future::pending().await
        }
    }

    /// After how many seconds each of several requests with so many bytes is given up, all sent at once.
    async fn given_up(method: Method, bytes: usize, at_once: usize) -> Vec<u64> {
        let bounded = Bounded::new(Silent);
        let begun = Instant::now();
        let requests = (0..at_once).map(|_| {
            let request = Request::builder().method(method.clone()).uri("http://host/");
            bounded.fetch(request.body(Buffer::from(vec![0; bytes])).expect("sound"))
        });
        let ends = requests.map(async |answer| {
            assert!(answer.await.is_err_and(|error| error.is_temporary()));
            begun.elapsed().as_secs()
        });
        let ends = join_all(ends).await;
        assert_eq!(bounded.under_way.load(Ordering::Relaxed), 0);
        ends
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_has_the_time_that_a_slow_line_needs_for_all_that_are_under_way() {
        assert_eq!(given_up(Method::PUT, 1 << 20, 4).await, [300; 4]);
        assert_eq!(given_up(Method::PUT, 64 << 20, 1).await, [536]);
        // Also the first, which was alone when it began.
        assert_eq!(given_up(Method::PUT, 64 << 20, 4).await, [2147; 4]);
        assert_eq!(given_up(Method::POST, 64 << 20, 1).await, [300]);
    }
}
