//! One request whose body comes bit by bit: for protocols that know no parts.
//!
//! Always holds: a body that is not told to have ended breaks off, so that the server can tell it from a whole one; a server that
//! takes nothing for [`SENDING`] is given up, and one that answers nothing for as long, or for as long as what it got takes on the
//! slowest line; no more than a few pieces wait here.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream;
use http::{Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::transport::{Line, SENDING, patience};

/// How much is handed on at once.
const PIECE: usize = 1 << 20;

enum Sent {
    Piece(Bytes),
    End,
}

/// A request that is under way.
pub(super) struct Flow {
    pieces: mpsc::Sender<Sent>,
    answer: JoinHandle<Result<Response<Buffer>>>,
    /// The bytes that were handed on.
    sent: u64,
    slowest: u64,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

fn silent(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the server has {what} for {} seconds", limit.as_secs()))
}

impl Flow {
    /// Begins a request; the line's rate holds for it.
    pub(super) fn begin(line: &Line, head: http::request::Parts) -> Self {
        let (pieces, arriving) = mpsc::channel(1);
        let (line, pace, slowest) = (line.clone(), line.sending.clone(), line.slowest);
        let body = stream::unfold((arriving, Bytes::new(), pace), async |(mut arriving, mut left, pace)| {
            while left.is_empty() {
                match arriving.recv().await {
                    Some(Sent::Piece(piece)) => left = piece,
                    Some(Sent::End) => return None,
                    None => return Some((Err(std::io::ErrorKind::BrokenPipe.into()), (arriving, left, pace))),
                }
            }
            let piece = pace.as_ref().map_or(left.len(), |pace| left.len().min(pace.piece()));
            if let Some(pace) = &pace {
                sleep_until(pace.book(piece)).await;
            }
            Some((Ok::<_, std::io::Error>(left.split_to(piece)), (arriving, left, pace)))
        });
        let body = reqwest::Body::wrap_stream(body);
        let answer = tokio::spawn(async move {
            let (head, mut body) = line.send(head, body).await?.into_parts();
            Ok(Response::from_parts(head, body.to_buffer().await?))
        });
        Self { pieces, answer, sent: 0, slowest }
    }

    /// Hands a part of the body on.
    ///
    /// # Errors
    /// The server refused the request, cannot be reached any more or takes nothing.
    pub(super) async fn push(&mut self, mut content: Buffer) -> Result<()> {
        while content.has_remaining() {
            let piece = content.copy_to_bytes(content.chunk().len().min(PIECE));
            let bytes = piece.len() as u64;
            match timeout(SENDING, self.pieces.send(Sent::Piece(piece))).await {
                Ok(Ok(())) => self.sent += bytes,
                Ok(Err(_)) => return Err(self.why().await),
                Err(_) => return Err(silent("taken nothing", SENDING)),
            }
        }
        Ok(())
    }

    /// Ends the body, and gives what the server answers.
    ///
    /// # Errors
    /// The server cannot be reached any more, or does not answer.
    pub(super) async fn finish(mut self) -> Result<Response<Buffer>> {
        // Where it is not taken, the answer is there.
        _ = timeout(SENDING, self.pieces.send(Sent::End)).await;
        self.answered().await
    }

    async fn answered(&mut self) -> Result<Response<Buffer>> {
        // Some put what they got together only now, such as one that stands in front of another store.
        let limit = patience(self.sent, self.slowest);
        match timeout(limit, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ended)) => Err(Error::new(ErrorKind::Unexpected, "sending ended").set_source(ended)),
            Err(_) => Err(silent("answered nothing", limit)),
        }
    }

    /// Why the server takes nothing more.
    async fn why(&mut self) -> Error {
        match self.answered().await {
            Err(error) => error,
            Ok(answer) if answer.status() == StatusCode::OK || answer.status().is_success() => {
                Error::new(ErrorKind::Unexpected, "the server answered before it had everything")
            }
            Ok(answer) => super::spoken::refusal("a write", &answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::http::Http;
    use super::*;

    /// What a server gets of a request of three pieces, that is ended or not.
    async fn got(end: bool) -> (Vec<u8>, Option<StatusCode>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let (mut all, mut piece) = (Vec::new(), [0; 1024]);
            while !all.ends_with(b"\r\n0\r\n\r\n") {
                match client.read(&mut piece).await {
                    Ok(0) | Err(_) => return all,
                    Ok(count) => all.extend_from_slice(&piece[..count]),
                }
            }
            client.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.expect("taken");
            all
        });
        let line = Line::new(&Http::default()).expect("a client");
        let request = http::Request::put(format!("http://127.0.0.1:{port}/")).body(()).expect("sound");
        let mut flow = Flow::begin(&line, request.into_parts().0);
        for piece in ["one", "two", "three"] {
            flow.push(Buffer::from(piece)).await.expect("taken");
        }
        let status = if end {
            Some(flow.finish().await.expect("an answer").status())
        } else {
            drop(flow);
            None
        };
        (server.await.expect("no panic"), status)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_as_long_as_what_was_sent_takes_on_a_slow_line() {
        for (pieces, after, comes) in [(1, 299, true), (1, 301, false), (64, 500, true), (64, 600, false)] {
            let (sender, mut taken) = mpsc::channel(1);
            let answer = tokio::spawn(async move {
                while !matches!(taken.recv().await, Some(Sent::End)) {}
                tokio::time::sleep(Duration::from_secs(after)).await;
                Ok(Response::new(Buffer::new()))
            });
            let mut flow = Flow { pieces: sender, answer, sent: 0, slowest: 125_000 };
            for _ in 0..pieces {
                flow.push(Buffer::from(vec![0; 1 << 20])).await.expect("taken");
            }
            assert_eq!(flow.finish().await.is_ok(), comes, "{pieces} MiB, {after} s");
        }
    }

    #[tokio::test]
    async fn only_a_body_that_was_ended_is_whole() {
        let (whole, status) = got(true).await;
        assert!(String::from_utf8_lossy(&whole).contains("three") && status == Some(StatusCode::CREATED));
        let (broken, _) = got(false).await;
        assert!(!broken.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&broken));
    }
}
