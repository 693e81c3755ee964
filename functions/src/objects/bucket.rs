//! An object in a bucket, sent in parts.
//!
//! Takes a stream. Gives the object once the server has put it together. Always holds:
//! - the server is told to complete only after the stream said that it is finished;
//! - every other end, also that of a future which is dropped, tells the server to forget the parts;
//! - parts grow, so that 10,000 of them, which is all that S3 allows, hold S3's largest object; what is in memory is
//!   `concurrency + 5` parts: those on their way, and those that wait for it;
//! - what took an older object's place stays, also where the upload fails after that: nothing else is left.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use aquifer_engine::pipe::Reader;
use bytes::{Bytes, BytesMut};
use opendal::{Buffer, ErrorKind, Writer};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::{Written, give_up, look, taken};
use crate::location::Store;

/// The narrowest limits of all stores: S3's, and the largest block of Azure's.
const MOST_PARTS: u64 = 10_000;
const SMALLEST_PART: usize = 5 << 20;
const LARGEST_PART: u64 = 4000 << 20;

/// How a part's size follows from what the parts before it hold. How large the object becomes is not known, and all sizes
/// share the 10,000 parts: those that most have get small parts, and what is larger than [`COMMON`] pays for it with
/// larger ones than it would otherwise need.
const COMMON: u64 = 100 << 30;
const COMMON_LARGEST: u64 = 16 << 20;
const COMMON_SHARE: u64 = 250;
const LARGE_SHARE: u64 = 800;

/// What says that an object is of this very upload, where the answer to the last request was lost.
/// Letters alone, since Azure takes no other names.
const MARK: &str = "aquiferupload";

/// How an object is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The first part's size in bytes.
    pub(crate) first: u64,
    /// How many are sent at once.
    pub(crate) concurrency: usize,
}

impl Parts {
    /// The size of the part that comes after so many bytes.
    fn size(self, before: u64) -> usize {
        let grown = if before < COMMON { (before / COMMON_SHARE).min(COMMON_LARGEST) } else { before / LARGE_SHARE };
        let size = grown.next_multiple_of(1 << 20).clamp(self.first, LARGEST_PART);
        usize::try_from(size).unwrap_or(usize::MAX)
    }
}

/// What the stream's side tells the server's side.
enum Order {
    Part(Buffer),
    Commit,
}

pub(super) async fn write(
    store: &Store,
    name: &str,
    parts: Parts,
    overwrite: bool,
    mut input: Reader,
    call: &Call,
) -> Result<Written, Failure> {
    let (orders, arriving) = mpsc::channel(1);
    let stop = CancellationToken::new();
    // Also where this future is dropped: the task below outlives it, and tidies up.
    let _at_the_latest = stop.clone().drop_guard();
    let sending = Sending {
        store: store.clone(),
        name: name.to_owned(),
        overwrite,
        mark: format!("{}-{}-{}", call.run.id, call.step, jiff::Timestamp::now().as_nanosecond()),
        sent: 0,
        committing: false,
        replaces: false,
    };
    let mut sending = tokio::spawn(sending.run(parts.concurrency, arriving, stop.clone()));
    let taken = tokio::select! {
        biased;
        taken = cut(&mut input, parts, &orders) => taken,
        // The server's side ended first; what it says comes below.
        () = orders.closed() => Err(Failure::internal("the parts have no taker")),
        // Also while a part waits for a server that takes no more: nothing is read then that could say so.
        () = call.cancelled() => Err(Failure::cancelled("stopped")),
    };
    let gone = orders.is_closed();
    if taken.is_err() {
        stop.cancel();
    }
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        () = call.cancelled() => {
            stop.cancel();
            sending.await
        }
    };
    let sent = sent.unwrap_or_else(|error| Err(Failure::internal(format!("sending ended: {error}"))));
    match (taken, sent) {
        (_, Err(of_the_server)) if gone => Err(of_the_server),
        (Err(mut of_the_stream), Err(of_the_server)) => {
            of_the_stream.causes.extend(of_the_server.causes);
            Err(of_the_stream)
        }
        (Err(why), Ok(_)) | (Ok(_), Err(why)) => Err(why),
        (Ok(written), Ok(replaced)) => Ok(Written { replaced, ..written }),
    }
}

/// Cuts a stream into parts, and orders the commit at its end. A last part that would be smaller than S3's smallest goes
/// with the one before.
async fn cut(input: &mut Reader, parts: Parts, orders: &mpsc::Sender<Order>) -> Result<Written, Failure> {
    let (mut digest, mut bytes, mut number) = (Sha256::new(), 0, 0);
    let (mut filling, mut held) = (BytesMut::new(), None::<Bytes>);
    let (mut size, mut before) = (parts.size(0), 0);
    let gone = |_| Failure::internal("the parts have no taker");
    while let Some(mut chunk) = input.read().await? {
        digest.update(&chunk);
        bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(size - filling.len()));
            filling.extend_from_slice(&piece);
            if filling.len() == size {
                number += 1;
                if number > MOST_PARTS {
                    return Err(Failure::rejected("the stream is larger than an object can be"));
                }
                before += size as u64;
                size = parts.size(before);
                let full = std::mem::replace(&mut filling, BytesMut::with_capacity(size)).freeze();
                if let Some(before) = held.replace(full) {
                    orders.send(Order::Part(before.into())).await.map_err(gone)?;
                }
            }
        }
    }
    let last = filling.freeze();
    let rest = match held {
        None => vec![Buffer::from(last)],
        Some(held) if last.len() < SMALLEST_PART => vec![Buffer::from(vec![held, last])],
        Some(held) => vec![Buffer::from(held), Buffer::from(last)],
    };
    for part in rest {
        orders.send(Order::Part(part)).await.map_err(gone)?;
    }
    orders.send(Order::Commit).await.map_err(gone)?;
    Ok(Written { bytes, sha256: hex::encode(digest.finalize()), stream: input.stream(), replaced: false })
}

/// The server's side: a task of its own.
struct Sending {
    store: Store,
    name: String,
    overwrite: bool,
    mark: String,
    sent: u64,
    committing: bool,
    /// Whether there was an object when this one was about to take its place.
    replaces: bool,
}

impl Sending {
    async fn run(
        mut self,
        concurrency: usize,
        mut arriving: mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) -> Result<bool, Failure> {
        let mut made = self.store.once().writer_with(&self.name).concurrent(concurrency);
        if self.store.can_mark() {
            made = made.user_metadata([(MARK.to_owned(), self.mark.clone())]);
        }
        if !self.overwrite && self.store.is_conditional() {
            made = made.if_not_exists(true);
        }
        // Also where it may replace, such a store takes the parts in a way that it can be made to complete or forget.
        if self.overwrite && self.store.knows_versions() {
            let there = look(&self.store, &self.name).await?;
            made = match there.as_ref().map(opendal::Metadata::version) {
                Some(Some(version)) => made.if_version_match(version),
                Some(None) => made,
                None => made.if_not_exists(true),
            };
        }
        let mut writer = made.await.map_err(|error| self.failed(&error))?;
        let sent = self.orders(&mut writer, &mut arriving, &stop).await;
        let Err(mut why) = sent else { return Ok(self.replaces) };
        if let Err(error) = abort(&mut writer).await {
            why.causes.push(format!("the parts that were sent could not be removed: {error}"));
        }
        // The server may have completed what it was not heard to complete.
        if self.committing && self.is_there().await {
            return Err(give_up(&self.store, &self.name, self.replaces, why).await);
        }
        Err(why)
    }

    fn failed(&self, error: &opendal::Error) -> Failure {
        let shown = self.store.shown(&self.name);
        match error.kind() {
            ErrorKind::ConditionNotMatch if self.overwrite => {
                Failure::rejected(format!("`{shown}` was written by something else at the same time"))
                    .with_help("upload it again, when nothing else writes it")
            }
            ErrorKind::ConditionNotMatch => taken(&shown),
            _ => {
                let failure = self.store.failed(error, &format!("writing `{shown}`"));
                if error.to_string().contains("NotImplemented") && !self.overwrite {
                    return failure.with_help(
                        "the server may not know conditional writes: write `conditional: false` into `location.s3`",
                    );
                }
                failure
            }
        }
    }

    /// What a server says to be there and does not show. Azurite does so for parts that were never put together.
    fn in_the_way(&self) -> Failure {
        let shown = self.store.shown(&self.name);
        Failure::rejected(format!("the server says that `{shown}` exists, and shows nothing of that name")).with_help(
            "parts of an upload that broke off may lie there until the server removes them: write another name",
        )
    }

    /// Carries orders out until the commit is done.
    async fn orders(
        &mut self,
        writer: &mut Writer,
        arriving: &mut mpsc::Receiver<Order>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let (mut parts, stopped) = (0, || Failure::cancelled("stopped"));
        loop {
            let order = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(stopped()),
                order = arriving.recv() => order,
            };
            match order {
                None => return Err(stopped()),
                Some(Order::Commit) => {
                    self.committing = true;
                    return tokio::select! {
                        biased;
                        () = stop.cancelled() => Err(stopped()),
                        done = self.commit(writer) => done,
                    };
                }
                Some(Order::Part(part)) => {
                    parts += 1;
                    self.sent += part.len() as u64;
                    // With the second part a multipart upload begins. Only the answer to that request says what there
                    // would be to abort, so it is waited for.
                    if parts == 2 {
                        self.part(writer, part).await?;
                        continue;
                    }
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Err(stopped()),
                        sent = self.part(writer, part) => sent?,
                    }
                }
            }
        }
    }

    async fn part(&self, writer: &mut Writer, part: Buffer) -> Result<(), Failure> {
        let mut patience = Patience::default();
        while let Err(error) = writer.write(part.clone()).await {
            patience.wait_after(error).await.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Makes the object visible, and looks whether it is what was sent.
    async fn commit(&mut self, writer: &mut Writer) -> Result<(), Failure> {
        self.replaces = look(&self.store, &self.name).await?.is_some();
        // For servers that pass over the condition of the request below.
        if !self.overwrite && self.replaces {
            return Err(taken(&self.store.shown(&self.name)));
        }
        let (mut patience, mut lost) = (Patience::default(), false);
        while let Err(error) = writer.close().await {
            let is_taken = error.kind() == ErrorKind::ConditionNotMatch;
            // The answer to an earlier attempt may have been lost on its way: then the object is there, with our mark.
            if (lost || is_taken) && self.is_there().await {
                return Ok(());
            }
            lost = true;
            if is_taken && !self.overwrite && look(&self.store, &self.name).await?.is_none() {
                return Err(self.in_the_way());
            }
            patience.wait_after(error).await.map_err(|error| self.failed(&error))?;
        }
        match look(&self.store, &self.name).await?.map(|found| found.content_length()) {
            Some(bytes) if bytes == self.sent => Ok(()),
            found => Err(Failure::corrupt(format!(
                "`{}` has {} bytes, and {} were sent",
                self.store.shown(&self.name),
                found.map_or_else(|| "no".to_owned(), |bytes| bytes.to_string()),
                self.sent
            ))
            .with_help("something else wrote it at the same time, or the server lost a part")),
        }
    }

    async fn is_there(&self) -> bool {
        look(&self.store, &self.name).await.is_ok_and(|found| {
            found.is_some_and(|found| {
                let mark = found.user_metadata().and_then(|marks| marks.get(MARK));
                found.content_length() == self.sent && mark == Some(&self.mark)
            })
        })
    }
}

async fn abort(writer: &mut Writer) -> opendal::Result<()> {
    let mut patience = Patience::default();
    while let Err(error) = writer.abort().await {
        // It is done with already: completed, or forgotten.
        if error.kind() == ErrorKind::NotFound {
            break;
        }
        patience.wait_after(error).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aquifer_engine::pipe::pipe;
    use aquifer_engine::stream::StreamType;

    use super::*;

    #[test]
    fn parts_grow_until_the_largest_object_fits() {
        for first in [SMALLEST_PART as u64, 8 << 20, 512 << 20] {
            let parts = Parts { first, concurrency: 4 };
            let all = (0..MOST_PARTS).fold(0, |before, _| before + parts.size(before) as u64);
            assert!(all >= 5 << 40, "S3's largest object has 5 TiB, and parts from {first} bytes hold {all}");
            assert_eq!(parts.size(0) as u64, first);
            assert_eq!(parts.size(5 << 40) as u64, LARGEST_PART);
        }
        let mebibytes = |gibibytes: u64| Parts { first: 8 << 20, concurrency: 4 }.size((gibibytes << 30) - 1) >> 20;
        assert_eq!([1, 2, 4, 100].map(mebibytes), [8, 9, 16, 16]);
        assert_eq!([101, 250, 1024].map(mebibytes), [130, 320, 1311]);
    }

    /// The sizes of the parts that a stream of so many bytes is cut into.
    async fn cuts(bytes: usize) -> Vec<usize> {
        let parts = Parts { first: SMALLEST_PART as u64, concurrency: 4 };
        let (mut writer, mut ends) = pipe(1, 64 << 20, &StreamType::unknown(), None);
        let (mut reader, control) = ends.remove(0);
        writer.write(vec![7; bytes].into()).await.expect("room");
        control.finish();
        let (orders, mut arriving) = mpsc::channel(100);
        let written = cut(&mut reader, parts, &orders).await.expect("whole");
        assert_eq!(written.bytes, bytes as u64);
        drop(orders);
        let mut sizes = Vec::new();
        while let Some(order) = arriving.recv().await {
            match order {
                Order::Part(part) => sizes.push(part.len()),
                Order::Commit => assert!(arriving.recv().await.is_none(), "the commit is the last order"),
            }
        }
        sizes
    }

    #[tokio::test]
    async fn no_part_but_an_only_one_is_smaller_than_allowed() {
        let (part, mib) = (SMALLEST_PART, 1 << 20);
        assert_eq!(cuts(0).await, [0]);
        assert_eq!(cuts(1).await, [1]);
        assert_eq!(cuts(part).await, [part]);
        assert_eq!(cuts(part + 1).await, [part + 1]);
        assert_eq!(cuts(2 * part).await, [part, part]);
        assert_eq!(cuts(3 * part - mib).await, [part, 2 * part - mib]);
    }
}
