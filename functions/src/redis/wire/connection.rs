//! One connection to a server: requests collected and sent together. What comes back is read in [`incoming`](super::incoming).
//!
//! Takes a [`Target`]. Gives a [`Connection`] that is signed in and named. Always holds: every wait ends at the answer
//! timeout or when the step is told to stop, whichever comes first; what was not read yet is at most one read of the
//! socket, however long a reply is.

use std::io;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::redis::wire::dial::{self, Wire};
use crate::redis::wire::outgoing::Outgoing;
use crate::redis::wire::refusal;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::target::{Protocol, Target};
use crate::redis::wire::tls;

/// How much is asked of the socket at once.
const READ: usize = 64 << 10;

/// How many requests' bytes are collected before they are sent.
const SEND: usize = 64 << 10;

/// A connection that is signed in.
pub(crate) struct Connection {
    wire: Box<dyn Wire>,
    pub(super) input: BytesMut,
    output: Outgoing,
    protocol: Protocol,
    patience: Duration,
    cancel: CancellationToken,
    server: String,
    tls: bool,
    /// Whether the server has ever sent anything.
    heard: bool,
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
        let wire = call.or_cancelled(dial::connect(target)).await??;
        let mut connection = Self {
            wire,
            input: BytesMut::new(),
            output: Outgoing::new(target.names.clone()),
            protocol: target.protocol,
            patience: target.answer_timeout,
            cancel: call.cancellation().clone(),
            server: shown,
            tls: target.tls.is_some(),
            heard: false,
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
        // Where nobody signs in, what is refused is the first command.
        let doing = if args.is_empty() { "greeting the server (`PING`)" } else { "signing in" };
        if !args.is_empty() {
            let reply = self.ask(&args).await?;
            if let Reply::Error(error) = &reply
                && target.protocol == Protocol::Third
                && (refusal::is_unknown(error) || error.starts_with("NOPROTO"))
            {
                return Err(refusal::failure(error, "asking for version 3 of the protocol (`HELLO 3`)")
                    .with_help("this server has version 2 only: leave `protocol` out"));
            }
            self.accepted(reply, doing)?;
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
            Some(reply) => self.accepted(reply, doing).map(drop),
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
                Ok(Err(error)) => return Err(self.refused(error).await),
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
            Ok(Err(error)) => Err(self.refused(error).await),
            Err(_) => Err(self.silent("took nothing")),
        }
    }

    /// What it means that nothing more can be sent. Over TLS a server says why it hangs up before it does.
    async fn refused(&mut self, error: io::Error) -> Failure {
        if self.tls
            && !self.heard
            && let Ok(Err(reason)) = timeout(self.patience, self.wire.read_buf(&mut self.input)).await
        {
            return self.lost(&reason);
        }
        self.lost(&error)
    }

    /// What was read and not taken yet, for a reader of something else than replies.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Reads once from the socket.
    ///
    /// # Errors
    /// The connection is lost, the server is silent for too long, or the step has to stop.
    pub(crate) async fn fill(&mut self) -> Result<(), Failure> {
        self.input.reserve(READ);
        let reading = timeout(self.patience, self.wire.read_buf(&mut self.input));
        let read = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Failure::cancelled("stopped")),
            read = reading => read,
        };
        match read {
            Ok(Ok(0)) => Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => {
                self.heard = true;
                Ok(())
            }
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => Err(self.silent("did not answer")),
        }
    }

    fn lost(&self, error: &io::Error) -> Failure {
        if let Some(failure) = tls::wants_certificate(error, &self.server) {
            return failure;
        }
        let failure = Failure::unavailable(format!("the connection to `{}` was lost", self.server)).caused_by(error);
        failure.with_help(match (self.heard, self.tls) {
            (false, false) => "the server hung up before it answered anything: if it speaks TLS, write `rediss://`; else its log says why",
            (false, true) => "the server hung up before it answered anything: its log says why; if it asks for a client's certificate, give `tls.certFile` and `tls.keyFile`",
            (true, _) => "the server's log says why: it may have been stopped, or have closed the connection (`CLIENT KILL`, `timeout`)",
        })
    }

    fn silent(&self, what: &str) -> Failure {
        let after = humantime::format_duration(self.patience);
        Failure::unavailable(format!("`{}` {what} for {after}", self.server))
            .with_help("look at what the server is doing, or raise `answerTimeout`")
    }

    /// A failure of what no Redis server answers.
    pub(crate) fn strange(&self, what: impl std::fmt::Display) -> Failure {
        Failure::corrupt(format!("`{}` answered {what}", self.server)).with_help(if self.tls {
            "is it a Redis server?"
        } else {
            "is it a Redis server? if it speaks TLS, write `rediss://`"
        })
    }

    /// A reply of another sort than the command has.
    pub(crate) fn unexpected(&self, doing: &str, found: &impl std::fmt::Debug) -> Failure {
        let found: String = format!("{found:?}").chars().take(200).collect();
        self.strange(format_args!("{doing} with `{found}`"))
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
