//! How requests reach a server, and how long one may take.
//!
//! Takes the requests of one store. Always holds: a server that takes a request and never answers is given up; a part that
//! is sent over a slow line is not, as long as the line carries [`SLOWEST`] bytes a second or as many as its own limit lets
//! it; never more requests are under way than `connections`, one that waits for its turn not counted as time of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aquifer_engine::failure::Failure;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use http::{HeaderMap, Method, Request, Response, header};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, HttpTransporter};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until};

use super::http::{Http, Pace};

/// How long one request may take that sends little.
pub(super) const SENDING: Duration = Duration::from_secs(300);

/// The slowest line, in bytes a second, that is still waited for: 1 Mbit/s.
const SLOWEST: u64 = 125_000;

/// The slowest line that is waited for: half of what its own limit lets through, where that is less.
fn slowest(http: &Http) -> u64 {
    http.send_rate.map_or(SLOWEST, |rate| (rate.0 / 2).clamp(1, SLOWEST))
}

/// How long sending so many bytes over such a line may take, with the answer.
pub(super) fn patience(bytes: u64, slowest: u64) -> Duration {
    SENDING.max(Duration::from_secs(bytes / slowest.max(1)))
}

/// Headers that sign in.
const SECRETS: [&str; 5] =
    ["authorization", "proxy-authorization", "x-auth-key", "x-auth-token", "x-amz-security-token"];

/// Marks what must be shown nowhere.
fn hide(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if SECRETS.contains(&name.as_str()) {
            value.set_sensitive(true);
        }
    }
}

/// What is said of a server that sends a request to another address. Its path and query may hold a signature.
fn elsewhere(asked: &reqwest::Url, to: &[u8]) -> Error {
    let to = std::str::from_utf8(to).ok().and_then(|to| asked.join(to).ok());
    let what = match to.map(|to| to.origin().ascii_serialization()) {
        Some(to) if to != asked.origin().ascii_serialization() => {
            format!(
                "the server sends this on to `{to}`, and nothing was sent there: write that address in the location"
            )
        }
        Some(to) => format!(
            "the server sends this on to another path of `{to}`, and nothing was sent there: write the address itself in the location"
        ),
        None => "the server sends this on to something that is no address".to_owned(),
    };
    Error::new(ErrorKind::ConfigInvalid, what)
}

/// A transport of a store's own, and the line below it, for requests that have bounds of their own.
///
/// # Errors
/// Those of the client.
pub(super) fn transport(http: &Http) -> Result<(HttpTransporter, Line), Failure> {
    let line = Line::new(http)?;
    Ok((HttpTransporter::new(Bounded::new(line.clone(), http)), line))
}

/// The line to a server: a client, and what paces it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: reqwest::Client,
    pub(super) sending: Option<Arc<Pace>>,
    receiving: Option<Arc<Pace>>,
    pub(super) slowest: u64,
}

impl Line {
    pub(super) fn new(http: &Http) -> Result<Self, Failure> {
        let pace = |rate: Option<_>| rate.map(|rate| Arc::new(Pace::new(rate)));
        let (sending, receiving) = (pace(http.send_rate), pace(http.receive_rate));
        Ok(Self { client: http.client()?, sending, receiving, slowest: slowest(http) })
    }

    /// Sends a request with any body; gives the answer's head as soon as it is there.
    pub(super) async fn send(
        &self,
        head: http::request::Parts,
        body: reqwest::Body,
    ) -> opendal::Result<Response<HttpBody>> {
        let url = reqwest::Url::parse(&head.uri.to_string())
            .map_err(|error| Error::new(ErrorKind::ConfigInvalid, "the address is no URL").set_source(error))?;
        let is_head = head.method == Method::HEAD;
        let mut headers = head.headers;
        hide(&mut headers);
        let request = self.client.request(head.method, url.clone()).headers(headers).body(body);
        // The address may hold a signature or a token, which no message should show.
        let failed = |doing: &'static str| {
            move |error: reqwest::Error| {
                let passes = error.is_request() || error.is_body() || error.is_decode();
                Error::new(ErrorKind::Unexpected, doing).with_temporary(passes).set_source(error.without_url())
            }
        };
        let mut answer = request.send().await.map_err(failed("the server cannot be reached"))?;
        // Without an address it is the server's own way to say something else.
        if answer.status().is_redirection()
            && let Some(to) = answer.headers().get(header::LOCATION)
        {
            return Err(elsewhere(&url, to.as_bytes()));
        }
        let length = if is_head { None } else { answer.content_length() };
        let mut made = Response::new(());
        *made.status_mut() = answer.status();
        std::mem::swap(made.headers_mut(), answer.headers_mut());
        let pieces = answer.bytes_stream().map(move |piece| piece.map_err(failed("the answer broke off")));
        let pieces: Pieces = match self.receiving.clone() {
            None => Box::pin(pieces),
            Some(pace) => Box::pin(pieces.then(move |piece| {
                let at = piece.as_ref().map_or_else(|_| Instant::now(), |piece| pace.book(piece.len()));
                async move {
                    sleep_until(at).await;
                    piece
                }
            })),
        };
        let pieces = pieces.filter(|piece| futures::future::ready(!matches!(piece, Ok(piece) if piece.is_empty())));
        Ok(made.map(|()| HttpBody::new(pieces.map(|piece| piece.map(Buffer::from)), length)))
    }
}

type Pieces = Pin<Box<dyn Stream<Item = opendal::Result<Bytes>> + Send + Sync>>;

impl HttpTransport for Line {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (head, body) = request.into_parts();
        let body = if body.is_empty() {
            reqwest::Body::default()
        } else {
            reqwest::Body::wrap(Body { left: body, pace: self.sending.clone(), until: None })
        };
        self.send(head, body).await
    }
}

/// A request's body, at a pace.
struct Body {
    left: Buffer,
    pace: Option<Arc<Pace>>,
    until: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let at_once = self.left.chunk().len();
        let piece = match &self.pace {
            None => at_once,
            Some(pace) => {
                let piece = at_once.min(pace.piece());
                let until = pace.clone();
                let sleep = self.until.get_or_insert_with(|| Box::pin(sleep_until(until.book(piece))));
                ready!(sleep.as_mut().poll(context));
                self.until = None;
                piece
            }
        };
        Poll::Ready(Some(Ok(http_body::Frame::data(self.left.copy_to_bytes(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left.len() as u64)
    }
}

/// Bounds each request of the transport inside.
struct Bounded<T> {
    inner: T,
    turns: Option<Arc<Semaphore>>,
    slowest: u64,
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
    fn new(inner: T, http: &Http) -> Self {
        Self {
            inner,
            turns: http.connections.map(|most| Arc::new(Semaphore::new(most))),
            slowest: slowest(http),
            under_way: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    fn count(&self, bytes: u64) -> Counted<'_> {
        let now = self.under_way.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        Counted(&self.under_way, bytes)
    }

    /// How long a request that carries data may take, as far as is known now.
    fn limit(&self) -> Duration {
        patience(self.most.load(Ordering::Relaxed), self.slowest)
    }
}

impl<T: HttpTransport> HttpTransport for Bounded<T> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let turn = match &self.turns {
            None => None,
            Some(turns) => Arc::clone(turns).acquire_owned().await.ok(),
        };
        let data = request.body().len() as u64;
        let carries = request.method() == Method::PUT || (request.method() == Method::POST && data > LITTLE);
        // What such a request is answered with is part of its time: a server may begin to answer, and fall silent.
        let is_short = carries || request.method() == Method::POST;
        let _counted = self.count(if carries { data } else { 0 });
        let begun = Instant::now();
        let answer = async {
            let answer = self.inner.fetch(request).await?;
            if is_short {
                let (head, mut body) = answer.into_parts();
                let body = body.to_buffer().await?;
                return Ok(Response::from_parts(head, HttpBody::new(futures::stream::iter([Ok(body)]), None)));
            }
            // The turn is over when the answer is read to its end, or nobody wants it any more.
            Ok(answer.map(|body| {
                body.map_inner(|pieces| {
                    Box::new(pieces.map(move |piece| {
                        let _held = &turn;
                        piece
                    }))
                })
            }))
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

/// What a question to a server, as a `POST`, has at most: more is data.
const LITTLE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::units::Size;

    /// A server that never answers.
    struct Silent;

    impl HttpTransport for Silent {
        async fn fetch(&self, _: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
            std::future::pending().await
        }
    }

    /// A server that answers at once, and never gets to its answer's end.
    struct Endless;

    impl HttpTransport for Endless {
        async fn fetch(&self, _: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
            Ok(Response::new(HttpBody::new(futures::stream::pending(), None)))
        }
    }

    #[test]
    fn secrets_are_marked_and_no_address_is_told_whole() {
        let mut headers = HeaderMap::new();
        for name in ["X-Auth-Key", "X-Auth-Token", "Authorization", "Content-Type"] {
            headers.append(http::HeaderName::try_from(name).expect("sound"), http::HeaderValue::from_static("hunter2"));
        }
        hide(&mut headers);
        let open: Vec<_> = headers.iter().filter(|(_, value)| !value.is_sensitive()).map(|(name, _)| name).collect();
        assert_eq!(open, ["content-type"]);
        let asked = reqwest::Url::parse("http://old/a").expect("sound");
        for (to, told) in
            [("https://new:8443/b?token=hunter2", "`https://new:8443`"), ("/b?hunter2", "another path of `http://old`")]
        {
            let error = elsewhere(&asked, to.as_bytes());
            assert!(error.message().contains(told) && !error.message().contains("hunter2"), "{error}");
        }
    }

    fn request(method: Method, bytes: usize) -> Request<Buffer> {
        let request = Request::builder().method(method).uri("http://host/");
        request.body(Buffer::from(vec![0; bytes])).expect("sound")
    }

    /// After how many seconds each of several requests with so many bytes is given up, all sent at once.
    async fn given_up(method: Method, bytes: usize, at_once: usize, http: Http) -> Vec<u64> {
        let bounded = Bounded::new(Silent, &http);
        let begun = Instant::now();
        let requests = (0..at_once).map(|_| bounded.fetch(request(method.clone(), bytes)));
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
        let plain = Http::default;
        assert_eq!(given_up(Method::PUT, 1 << 20, 4, plain()).await, [300; 4]);
        assert_eq!(given_up(Method::PUT, 64 << 20, 1, plain()).await, [536]);
        // Also the first, which was alone when it began.
        assert_eq!(given_up(Method::PUT, 64 << 20, 4, plain()).await, [2147; 4]);
        assert_eq!(given_up(Method::POST, 1 << 20, 1, plain()).await, [300]);
        // Servers of restic's protocol take their data so.
        assert_eq!(given_up(Method::POST, 64 << 20, 1, plain()).await, [536]);
        let slow = Http { send_rate: Some(Size(64 << 10)), ..Http::default() };
        assert_eq!(given_up(Method::PUT, 64 << 20, 1, slow).await, [2048]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_their_turn_and_lose_no_time_by_it() {
        let two = Http { connections: Some(2), ..Http::default() };
        assert_eq!(given_up(Method::PUT, 1 << 20, 5, two.clone()).await, [300, 300, 600, 600, 900]);
        let bounded = Bounded::new(Endless, &two);
        let first = bounded.fetch(request(Method::GET, 0)).await.expect("an answer");
        let _second = bounded.fetch(request(Method::GET, 0)).await.expect("an answer");
        let third = bounded.fetch(request(Method::GET, 0));
        tokio::pin!(third);
        assert!(futures::poll!(&mut third).is_pending(), "two answers are being read");
        drop(first);
        assert!(futures::poll!(&mut third).is_ready(), "the one that was given up has left its place");
    }
}
