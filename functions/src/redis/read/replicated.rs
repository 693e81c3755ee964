//! A dump by replication: what a server sends to a replica, turned into the stream while it arrives.
//!
//! Takes a connection, and then a pipe. Gives the stream and what is in it. Always
//! holds: success means that the RDB's end mark and checksum were there, and that the server's own end of it is at the same
//! place; nothing is written before the RDB's head was understood, so until then another way can be taken.

use std::time::Instant;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;
use aquifer_engine::pipe::Writer;
use bytes::Bytes;

use crate::rdb::copy::{Copied, Options, copy};
use crate::rdb::input::Source;
use crate::rdb::reader::Rdb;
use crate::rdb::said::say;
use crate::redis::read::replication::{Moment, Replication};
use crate::redis::stream::form::{Form, StreamHead};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::resp::show;

impl Source for Replication {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        self.read().await
    }
}

/// What was had.
#[derive(Debug)]
pub(crate) struct Replicated {
    pub(crate) copied: Copied,
    /// Bytes of the stream.
    pub(crate) bytes: u64,
    pub(crate) moment: Option<Moment>,
    pub(crate) from_disk: bool,
}

/// A dump about to be written.
pub(crate) struct Arriving {
    rdb: Rdb<Replication>,
    moment: Option<Moment>,
    from_disk: bool,
}

impl Arriving {
    /// Asks for an RDB and reads its head. The failure inside is one after which another way can be taken: nothing of the data
    /// has come, or none of it can be understood.
    ///
    /// # Errors
    /// The step has to stop, or what has come of the data is damaged.
    pub(crate) async fn begin(connection: Connection, disk: bool) -> Result<Result<Self, Failure>, Failure> {
        let replication = match Replication::begin(connection, disk).await {
            Err(failure) if failure.kind != FailureKind::Cancelled => return Ok(Err(failure)),
            replication => replication?,
        };
        let (moment, from_disk) = (replication.moment.clone(), replication.from_disk);
        match Rdb::begin(replication).await {
            // Of a version that is not known.
            Err(failure) if failure.kind == FailureKind::Rejected => Ok(Err(failure)),
            rdb => Ok(Ok(Self { rdb: rdb?, moment, from_disk })),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The server goes away, what it sends is damaged or ends early, or nobody reads any more.
    pub(crate) async fn write(
        mut self,
        pipe: Writer,
        head: &StreamHead,
        options: &Options,
        call: &Call,
    ) -> Result<Replicated, Failure> {
        let begun = Instant::now();
        let mut form = Form::begin(pipe, head)?;
        let copied = copy(&mut self.rdb, &mut form, options, Some(call)).await?;
        // The server's own end: the mark, or the length that it said.
        let input = &mut self.rdb.input;
        if !input.rest().is_empty() || input.more().await? {
            return Err(Failure::corrupt(format!(
                "the server sends more than its RDB: behind its end, at byte {}, stands {}",
                input.offset(),
                show(&input.rest()[..input.rest().len().min(32)])
            ))
            .with_help("is what stands between a Redis server's own connection? try it without"));
        }
        // A database that was asked for and holds nothing is there all the same, for whoever empties what the stream has.
        for index in head.databases.iter().filter(|index| !copied.databases.contains_key(index)) {
            form.command(&[b"SELECT", index.to_string().as_bytes()]);
        }
        say(&copied, self.rdb.passed_over, call);
        call.debug(format!("the RDB took {:.3} s to come", begun.elapsed().as_secs_f64()));
        let bytes = form.finish(copied.types, copied.functions).await?;
        Ok(Replicated { copied, bytes, moment: self.moment, from_disk: self.from_disk })
    }
}
