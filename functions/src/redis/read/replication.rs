//! A server's data as it sends it to a replica: the handshake, then an RDB of one moment.
//!
//! Takes a [`Connection`] that is signed in and has nothing under way. Gives the RDB's bytes as they come, and where they
//! end. Always holds: the server is asked for an RDB alone, and is never told that anything was taken over, so it counts
//! on no replica here; what is held is one read of the socket; a line feed that it sends while it prepares the RDB is a
//! sign of life; a connection that ends before the RDB does is a failure.

use aquifer_engine::failure::{Failure, FailureKind};
use bytes::Bytes;

use crate::redis::read::framing::{self, Framing, Next};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::refusal;
use crate::redis::wire::resp::Head;

/// An RDB being received.
#[derive(Debug)]
pub(crate) struct Replication {
    connection: Connection,
    framing: Framing,
    /// Bytes of the RDB that have come.
    received: u64,
    /// Where in which history of writes it is, where the server says so.
    pub(crate) moment: Option<Moment>,
    /// The server wrote the RDB to its disk first.
    pub(crate) from_disk: bool,
}

/// A moment in the life of a server's data.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// The history of writes.
    pub(crate) id: String,
    /// How far in it.
    pub(crate) offset: u64,
}

impl Replication {
    /// Asks for an RDB, and waits for its first byte. `disk` has the server write it to its disk.
    ///
    /// # Errors
    /// The server does not do that, not for us, or not now; or it goes away.
    pub(crate) async fn begin(mut connection: Connection, disk: bool) -> Result<Self, Failure> {
        // Without `eof` the server knows no other way than a file. What it does not know or allow of these it leaves out:
        // what counts is its answer to `PSYNC`. Each has to be answered before the next one is sent.
        // Valkey 9 writes for the version that the other side has, and none for one that knows no expiries of fields.
        let options: &[&[&[u8]]] =
            &[&[b"version", b"9.0.0"], &[b"capa", b"psync2"], &[b"rdb-only", b"1"], &[b"capa", b"eof"]];
        for option in &options[..if disk { 3 } else { 4 }] {
            let mut command: Vec<&[u8]> = vec![b"REPLCONF"];
            command.extend_from_slice(option);
            connection.ask(&command).await?;
        }
        connection.push(&[b"PSYNC", b"?", b"-1"]);
        connection.flush().await?;
        connection.skip_signs_of_life().await?;
        // Under another name than its own (`rename-command`) the server takes `PSYNC` for `SYNC`, which has no answer.
        let moment = if connection.input().starts_with(b"$") { None } else { Some(moment(&mut connection).await?) };
        let framing = connection.announced_rdb().await.map_err(not_made)?;
        let from_disk = matches!(framing, Framing::Length(_));
        // A server that cannot make the RDB may find out only now: until here another way can still be taken.
        if connection.input().is_empty() {
            connection.fill().await.map_err(not_made)?;
        }
        Ok(Self { connection, framing, received: 0, moment, from_disk })
    }

    /// The next bytes of the RDB; nothing once it is complete.
    ///
    /// # Errors
    /// The server went away or was silent for too long, or the step has to stop.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.framing.next(self.connection.input()) {
                Next::Piece(piece) => {
                    self.received += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Next::End => return Ok(None),
                Next::More => {
                    let filled = self.connection.fill().await;
                    filled.map_err(|failure| self.while_reading(failure))?;
                }
            }
        }
    }

    fn while_reading(&self, failure: Failure) -> Failure {
        if failure.kind == FailureKind::Cancelled {
            return failure;
        }
        let message = format!("{}, {} bytes into its RDB", failure.message, self.received);
        Failure { message, ..failure }
    }
}

/// What the server answers to `PSYNC` where it sends all of its data.
async fn moment(connection: &mut Connection) -> Result<Moment, Failure> {
    let line = match connection.head().await? {
        Head::Simple(line) => line,
        Head::Error(error) => return Err(refused(&error)),
        head => return Err(connection.unexpected("`PSYNC`", &head)),
    };
    let text = String::from_utf8_lossy(&line).into_owned();
    let mut words = text.split_ascii_whitespace();
    let (Some("FULLRESYNC"), Some(id), Some(offset)) = (words.next(), words.next(), words.next()) else {
        return Err(connection.unexpected("`PSYNC`", &text));
    };
    let offset = offset.parse().map_err(|_| connection.unexpected("`PSYNC`", &text))?;
    Ok(Moment { id: id.to_owned(), offset })
}

impl Connection {
    /// Waits for something else than line feeds, which a server sends while it prepares for a replica.
    ///
    /// # Errors
    /// As [`Connection::head`].
    async fn skip_signs_of_life(&mut self) -> Result<(), Failure> {
        loop {
            framing::skip_signs_of_life(self.input());
            if !self.input().is_empty() {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// The line that announces an RDB.
    ///
    /// # Errors
    /// As [`Connection::head`].
    async fn announced_rdb(&mut self) -> Result<Framing, Failure> {
        loop {
            match Framing::announced(self.input()) {
                Ok(Some(framing)) => return Ok(framing),
                Ok(None) => self.fill().await?,
                Err(what) => return Err(self.strange(what)),
            }
        }
    }
}

fn refused(error: &str) -> Failure {
    let failure = refusal::failure(error, "asking for replication (`PSYNC`)");
    match refusal::word(error) {
        "NOPERM" => {
            failure.with_help("give this user `+psync +replconf` in the server's ACL, or read by `source: scan`")
        }
        "NOMASTERLINK" => Failure { kind: FailureKind::Unavailable, ..failure }
            .with_help("this replica has lost its master, so what it holds may be old: name another server"),
        _ if refusal::is_unknown(error) => {
            failure.with_help("this server has no `PSYNC`, as is usual where others run it: read it by `source: scan`")
        }
        _ if failure.help.is_some() => failure,
        _ => failure.with_help("the server's log says more; `source: scan` reads it without replication"),
    }
}

/// The server said that it would send an RDB, and then did not.
fn not_made(failure: Failure) -> Failure {
    if failure.kind != FailureKind::Unavailable {
        return failure;
    }
    Failure { message: format!("{} before its RDB began", failure.message), ..failure }.with_help(
        "the server's log says why: it may have no memory for another process, or no room on its disk (`serverDisk`)",
    )
}
