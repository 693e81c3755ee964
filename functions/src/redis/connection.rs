//! One connection to a server: requests collected and sent together, replies read head by head and piece by piece.
//!
//! Takes a [`Target`]. Gives a [`Connection`] that is signed in and named. Always holds: every wait ends at the answer
//! timeout or when the step is told to stop, whichever comes first; what was not read yet is at most one read of the
//! socket, however long a reply is.

use std::io;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::dial::{self, Wire};
use super::outgoing::Outgoing;
use super::refusal;
use super::resp::{self, Head};
use super::target::{Protocol, Target};

/// How much is asked of the socket at once.
const READ: usize = 64 << 10;

/// How many requests' bytes are collected before they are sent.
const SEND: usize = 64 << 10;

/// Replies that are read whole nest no deeper: `XINFO` and `FUNCTION LIST` have 4.
const DEEPEST: u32 = 8;

/// Replies that are read whole have no longer parts: a key, a field, a version; never a value.
const LONGEST_WHOLE: u64 = 513 << 20;

/// No error is longer.
const LONGEST_ERROR: u64 = 64 << 10;

/// A reply that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A line such as `OK`.
    Simple(Bytes),
    /// An error.
    Error(String),
    /// A number.
    Integer(i64),
    /// A text of any bytes.
    Bulk(Bytes),
    /// Several replies.
    Array(Vec<Reply>),
    /// Nothing.
    Nil,
}

impl Reply {
    /// The bytes of a text or a line.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The replies inside.
    pub(crate) fn items(self) -> Option<Vec<Reply>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// A connection that is signed in.
pub(crate) struct Connection {
    wire: Box<dyn Wire>,
    input: BytesMut,
    output: Outgoing,
    protocol: Protocol,
    patience: Duration,
    cancel: CancellationToken,
    server: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, signs in and says who we are.
    ///
    /// # Errors
    /// Nobody answers there, TLS fails, or the server refuses the credentials.
    pub(crate) async fn open(target: &Target, call: &Call) -> Result<Self, Failure> {
        let shown = target.shown();
        let wire =
            call.or_cancelled(timeout(target.connect_timeout, dial::connect(target))).await?.map_err(|_| {
                let after = humantime::format_duration(target.connect_timeout);
                Failure::unavailable(format!("`{shown}` could not be reached within {after}"))
                    .with_help("check the address and what stands between, or raise `connectTimeout`")
            })??;
        let mut connection = Self {
            wire,
            input: BytesMut::new(),
            output: Outgoing::new(target.names.clone()),
            protocol: target.protocol,
            patience: target.answer_timeout,
            cancel: call.cancellation().clone(),
            server: shown,
        };
        connection.sign_in(target, call).await?;
        Ok(connection)
    }

    async fn sign_in(&mut self, target: &Target, call: &Call) -> Result<(), Failure> {
        let mut args: Vec<&[u8]> = Vec::new();
        if let Some(password) = &target.address.password {
            call.hide(password.expose());
            args.push(b"AUTH");
            args.extend(target.address.username.as_ref().map(|name| name.as_bytes()));
            args.push(password.expose().as_bytes());
        }
        if target.protocol == Protocol::Third {
            if args.len() == 2 {
                args.insert(1, b"default");
            }
            args.splice(..0, [&b"HELLO"[..], b"3"]);
        }
        if !args.is_empty() {
            let reply = self.ask(&args).await?;
            if let Reply::Error(error) = &reply
                && target.protocol == Protocol::Third
                && (refusal::is_unknown(error) || error.starts_with("NOPROTO"))
            {
                return Err(refusal::failure(error, "asking for version 3 of the protocol (`HELLO 3`)")
                    .with_help("this server has version 2 only: leave `protocol` out"));
            }
            self.accepted(reply, "signing in")?;
        }
        // A name for `CLIENT LIST`, and no traces in the keys' idle times (7.2). Both are courtesies: a server that does
        // not know or allow them is read all the same.
        let name = format!("aquifer:{}", call.step);
        let name: String = name.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect();
        self.push(&[b"CLIENT", b"SETNAME", name.as_bytes()]);
        self.push(&[b"CLIENT", b"NO-TOUCH", b"ON"]);
        let reply = self.ask(&[b"PING"]).await?;
        self.reply().await?;
        let ping = self.reply().await?;
        // A user may lack the right to `PING`; one who is not signed in at all hears so from every command.
        let refused = [reply, ping].into_iter().find(
            |reply| matches!(reply, Reply::Error(error) if !error.starts_with("NOPERM") && !error.starts_with("ERR")),
        );
        match refused {
            Some(reply) => self.accepted(reply, "signing in").map(drop),
            None => Ok(()),
        }
    }

    /// The server's name in messages.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Puts a command behind those that are still to be sent.
    pub(crate) fn push(&mut self, args: &[&[u8]]) {
        self.output.command(args);
    }

    /// What is still to be sent, for a caller that writes commands by itself.
    pub(crate) fn output(&mut self) -> &mut Outgoing {
        &mut self.output
    }

    /// True where replies come in version 3 of the protocol: members and scores are pairs then, each an array.
    pub(crate) fn pairs(&self) -> bool {
        self.protocol == Protocol::Third
    }

    /// Sends what was collected once it is worth a call.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub(crate) async fn send_some(&mut self) -> Result<(), Failure> {
        if self.output.bytes().len() >= SEND { self.flush().await } else { Ok(()) }
    }

    /// Sends what was collected.
    ///
    /// # Errors
    /// The connection is lost, the server takes nothing for too long, or the step has to stop.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        while !self.output.bytes().is_empty() {
            let writing = timeout(self.patience, self.wire.write_buf(self.output.rest()));
            let written = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Failure::cancelled("stopped")),
                written = writing => written,
            };
            match written {
                Ok(Ok(0)) => return Err(self.lost(&io::ErrorKind::WriteZero.into())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.lost(&error)),
                Err(_) => return Err(self.silent("took nothing")),
            }
        }
        // TLS keeps bytes back until it is told to send them.
        let flushing = timeout(self.patience, self.wire.flush());
        let flushed = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Failure::cancelled("stopped")),
            flushed = flushing => flushed,
        };
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => Err(self.silent("took nothing")),
        }
    }

    /// What was read and not taken yet, for a reader of something else than replies.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Reads once from the socket.
    ///
    /// # Errors
    /// The connection is lost, the server is silent for too long, or the step has to stop.
    pub(super) async fn fill(&mut self) -> Result<(), Failure> {
        self.input.reserve(READ);
        let reading = timeout(self.patience, self.wire.read_buf(&mut self.input));
        let read = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Failure::cancelled("stopped")),
            read = reading => read,
        };
        match read {
            Ok(Ok(0)) => Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => Err(self.silent("did not answer")),
        }
    }

    fn lost(&self, error: &io::Error) -> Failure {
        Failure::unavailable(format!("the connection to `{}` was lost", self.server))
            .caused_by(error)
            .with_help("the server's log says why: it may have been stopped, or have closed the connection (`CLIENT KILL`, `timeout`)")
    }

    fn silent(&self, what: &str) -> Failure {
        let after = humantime::format_duration(self.patience);
        Failure::unavailable(format!("`{}` {what} for {after}", self.server))
            .with_help("look at what the server is doing, or raise `answerTimeout`")
    }

    /// A failure of what no Redis server answers.
    pub(super) fn strange(&self, what: impl std::fmt::Display) -> Failure {
        Failure::corrupt(format!("`{}` answered {what}", self.server)).with_help("is it a Redis server?")
    }

    /// A reply of another sort than the command has.
    pub(crate) fn unexpected(&self, doing: &str, found: &impl std::fmt::Debug) -> Failure {
        let found: String = format!("{found:?}").chars().take(200).collect();
        self.strange(format_args!("{doing} with `{found}`"))
    }

    /// The head of the next reply. What the server was asked must have been sent.
    ///
    /// # Errors
    /// The connection is lost, the server is silent for too long, or it speaks something else.
    pub(crate) async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            match self.any_head().await? {
                Head::Aside(replies) => self.pass_over(replies).await?,
                Head::LongError(length) if length <= LONGEST_ERROR => {
                    let text = self.text(length).await?;
                    return Ok(Head::Error(String::from_utf8_lossy(&text).into_owned()));
                }
                Head::LongError(length) => return Err(self.strange(format_args!("an error of {length} bytes"))),
                head => return Ok(head),
            }
        }
    }

    async fn any_head(&mut self) -> Result<Head, Failure> {
        loop {
            match resp::head(&mut self.input) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => self.fill().await?,
                Err(what) => return Err(self.strange(what)),
            }
        }
    }

    /// Reads so many replies that nobody asked for.
    async fn pass_over(&mut self, replies: u64) -> Result<(), Failure> {
        let mut left = replies;
        while left > 0 {
            left -= 1;
            match self.any_head().await? {
                Head::Array(more) | Head::Aside(more) => left = left.saturating_add(more),
                Head::Bulk(length) | Head::Verbatim(length) | Head::LongError(length) => {
                    let mut bytes = length;
                    while bytes > 0 {
                        self.piece(&mut bytes).await?;
                    }
                    self.bulk_end().await?;
                }
                Head::Simple(_) | Head::Error(_) | Head::Integer(_) | Head::Nil => {}
            }
        }
        Ok(())
    }

    /// Some of the bytes that a [`Head::Bulk`] announced, at least one; `left` says how many are still to come.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn piece(&mut self, left: &mut u64) -> Result<Bytes, Failure> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
        *left -= taken as u64;
        Ok(self.input.split_to(taken).freeze())
    }

    /// The line end behind the bytes of a bulk.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn bulk_end(&mut self) -> Result<(), Failure> {
        while self.input.len() < 2 {
            self.fill().await?;
        }
        if &self.input[..2] == b"\r\n" {
            self.input.advance(2);
            Ok(())
        } else {
            Err(self.strange("a text that is longer than announced"))
        }
    }

    /// The whole text that a [`Head::Bulk`] announced.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn text(&mut self, length: u64) -> Result<Bytes, Failure> {
        if length > LONGEST_WHOLE {
            return Err(self.strange(format_args!("a name of {length} bytes")));
        }
        let length = length as usize;
        while self.input.len() < length {
            self.fill().await?;
        }
        let text = self.input.split_to(length).freeze();
        self.bulk_end().await?;
        Ok(text)
    }

    /// The next reply, whole.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn reply(&mut self) -> Result<Reply, Failure> {
        self.nested(DEEPEST).await
    }

    async fn nested(&mut self, depth: u32) -> Result<Reply, Failure> {
        Ok(match self.head().await? {
            Head::Simple(line) => Reply::Simple(line),
            Head::Error(error) => Reply::Error(error),
            Head::Integer(value) => Reply::Integer(value),
            Head::Nil => Reply::Nil,
            Head::Bulk(length) => Reply::Bulk(self.text(length).await?),
            Head::Verbatim(length) => {
                let text = self.text(length).await?;
                Reply::Bulk(text.slice(text.len().min(4)..))
            }
            Head::Aside(_) | Head::LongError(_) => return Err(self.strange("something in the wrong place")),
            Head::Array(_) if depth == 0 => return Err(self.strange("arrays in arrays without an end")),
            Head::Array(count) => {
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Box::pin(self.nested(depth - 1)).await?);
                }
                Reply::Array(items)
            }
        })
    }

    /// Reads the next reply and forgets it, piece by piece, however long or deep it is.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn skip_reply(&mut self) -> Result<(), Failure> {
        self.pass_over(1).await
    }

    /// Sends a command and reads its reply. Nothing else may be under way, except what [`Connection::push`] put before it,
    /// whose replies come first: this gives the first of them.
    ///
    /// # Errors
    /// As [`Connection::flush`] and [`Connection::head`].
    pub(crate) async fn ask(&mut self, args: &[&[u8]]) -> Result<Reply, Failure> {
        self.push(args);
        self.flush().await?;
        self.reply().await
    }

    /// A reply that is no error.
    ///
    /// # Errors
    /// The error reply, as a failure.
    pub(crate) fn accepted(&self, reply: Reply, doing: impl std::fmt::Display) -> Result<Reply, Failure> {
        refusal::accepted(reply, doing)
    }
}
