//! The bounded byte pipe between two steps, and the only two ways in which it ends.
//!
//! Takes bytes from one step's [`Writer`], gives them to the [`Reader`] of each step that reads it. Always holds:
//! a reader is told "finished" only after the engine called [`Control::finish`], which it does when the writing step has
//! returned success and has itself read its input to the end; every other end is a failure on the reader's side. No more
//! than the budget is held, and each byte is held once however many readers there are, except that pieces below a
//! kibibyte are copied together, since holding each by itself costs more than the bytes. Dropping a writer or a reader
//! ends nothing: only the engine does, so that the step which failed first is always known.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::stream::StreamType;

/// How many bytes a pipe holds unless told otherwise.
pub const DEFAULT_BUDGET: usize = 8 << 20;

/// The largest piece handed over at once; larger writes are cut without copying.
const LARGEST_CHUNK: usize = 1 << 20;

/// Pieces below this are copied together.
const SMALL: usize = 1 << 10;

/// How much is copied together at most.
const TOGETHER: usize = 16 << 10;

#[derive(Debug)]
enum End {
    Finished,
    Broken(Failure),
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    /// Small pieces, copied together; they come behind the queue.
    tail: BytesMut,
    queued: usize,
    written: u64,
    read: u64,
    end: Option<End>,
    /// Nobody will read any more: what is queued is dropped and what comes is not kept.
    abandoned: bool,
    /// The reader has been told that the stream is finished.
    seen_finished: bool,
    /// What the stream turned out to be, where the plan did not know.
    declared: Option<StreamType>,
}

impl State {
    fn put(&mut self, piece: Bytes) {
        self.queued += piece.len();
        self.written += piece.len() as u64;
        if piece.len() < SMALL {
            // Room is taken once for many pieces; what the reader has taken is given back with what it took.
            if self.tail.capacity() - self.tail.len() < piece.len() {
                self.close_tail();
                self.tail = BytesMut::with_capacity(TOGETHER);
            }
            self.tail.extend_from_slice(&piece);
        } else {
            self.close_tail();
            self.queue.push_back(piece);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        if self.queue.is_empty() {
            self.close_tail();
        }
        let piece = self.queue.pop_front()?;
        self.queued -= piece.len();
        self.read += piece.len() as u64;
        Some(piece)
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.tail = BytesMut::new();
        self.queued = 0;
    }
}

#[derive(Debug)]
struct Shared {
    budget: usize,
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code below can panic while it holds the lock, so a poisoned one still guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How full a pipe is and what went through it; read by progress and reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Bytes written into it so far.
    pub written: u64,
    /// Bytes read from it so far.
    pub read: u64,
    /// Bytes waiting in it.
    pub queued: usize,
    /// The most it may hold.
    pub budget: usize,
}

/// The engine's hand on one pipe.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    /// Tells the reader, once it has read what is queued, that the stream is complete. A broken pipe stays broken.
    pub fn finish(&self) {
        self.end(End::Finished);
    }

    /// Fails the reader's next read, whatever is still queued. A pipe that was already finished stays so.
    pub fn break_off(&self, failure: Failure) {
        self.end(End::Broken(failure));
    }

    fn end(&self, end: End) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            if matches!(end, End::Broken(_)) {
                state.clear();
            }
            state.end = Some(end);
        }
        drop(state);
        self.0.readable.notify_one();
        self.0.writable.notify_one();
    }

    /// Ends the reading side: the writer is no longer held back by this pipe, and the reader's next read fails unless it
    /// has already been told that the stream is complete.
    pub fn cut(&self, failure: Failure) {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.clear();
        // Also where the writer had finished: with its queue gone, "finished" would be a lie to a reader.
        if !state.seen_finished {
            state.end = Some(End::Broken(failure));
        }
        drop(state);
        self.0.readable.notify_one();
        self.0.writable.notify_one();
    }

    /// Tells the reader what the stream turned out to be, before its first byte.
    pub fn declare(&self, stream: StreamType) {
        self.0.lock().declared = Some(stream);
    }

    /// True once the reader was told that the stream is complete.
    pub fn was_read_to_the_end(&self) -> bool {
        self.0.lock().seen_finished
    }

    /// What went through so far.
    pub fn level(&self) -> Level {
        let state = self.0.lock();
        Level { written: state.written, read: state.read, queued: state.queued, budget: self.0.budget }
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stream: StreamType,
}

/// A check that the engine makes when a writer says what it turned out to write.
pub type OnDeclare = Arc<dyn Fn(StreamType) -> Result<(), Failure> + Send + Sync>;

/// The writing end: one step's stdout, with one pipe for each of its readers.
pub struct Writer {
    branches: Vec<Arc<Shared>>,
    stream: StreamType,
    on_declare: Option<OnDeclare>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("branches", &self.branches.len())
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// Makes one writer, and a reader with its control for each of `readers`.
pub fn pipe(
    readers: usize,
    budget: usize,
    stream: &StreamType,
    on_declare: Option<OnDeclare>,
) -> (Writer, Vec<(Reader, Control)>) {
    let branches: Vec<_> = (0..readers)
        .map(|_| {
            Arc::new(Shared {
                budget: budget.max(1),
                state: Mutex::default(),
                readable: Notify::new(),
                writable: Notify::new(),
            })
        })
        .collect();
    let ends = branches
        .iter()
        .map(|shared| (Reader { shared: Arc::clone(shared), stream: stream.clone() }, Control(Arc::clone(shared))))
        .collect();
    (Writer { branches, stream: stream.clone(), on_declare }, ends)
}

impl Reader {
    /// The next bytes, or `None` when the stream is complete. Never an empty piece.
    ///
    /// # Errors
    /// The stream broke: its writer failed or was stopped. What was read before is then not to be trusted.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(next) = self.take() {
                tokio::task::coop::consume_budget().await;
                return next;
            }
            self.shared.readable.notified().await;
        }
    }

    /// What a read gives now, if it need not wait.
    fn take(&mut self) -> Option<Result<Option<Bytes>, Failure>> {
        let mut state = self.shared.lock();
        if let Some(End::Broken(failure)) = &state.end {
            return Some(Err(failure.clone()));
        }
        if let Some(chunk) = state.take() {
            drop(state);
            self.shared.writable.notify_one();
            return Some(Ok(Some(chunk)));
        }
        state.seen_finished |= state.end.is_some();
        state.end.is_some().then_some(Ok(None))
    }

    /// What is known of the stream's type: by the plan, or by what a stored object further up turned out to be, which is
    /// known before the first byte.
    pub fn stream(&self) -> StreamType {
        self.shared.lock().declared.clone().unwrap_or_else(|| self.stream.clone())
    }

    /// A blocking [`io::Read`] over this pipe, for a blocking thread of the running runtime.
    pub fn blocking(self, runtime: Handle) -> BlockingReader {
        BlockingReader { reader: self, runtime, chunk: Bytes::new(), done: false }
    }
}

impl Writer {
    /// Hands bytes to every reader, waiting while one of them has its budget full.
    ///
    /// # Errors
    /// Nobody reads any more, or the run is being stopped.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(LARGEST_CHUNK));
            let mut live = false;
            for branch in &self.branches {
                live |= push(branch, piece.clone()).await?;
            }
            if !live && !self.branches.is_empty() {
                return Err(Failure::cancelled("nobody reads this stream any more"));
            }
        }
        tokio::task::coop::consume_budget().await;
        Ok(())
    }

    /// The stream's type as the plan knows it.
    pub fn stream(&self) -> &StreamType {
        &self.stream
    }

    /// Says what the stream turned out to be, once a stored object was opened, before the first byte is written.
    ///
    /// # Errors
    /// A reader further down does not take this type; the failure names it and the missing step.
    pub fn declare(&mut self, stream: StreamType) -> Result<(), Failure> {
        if let Some(check) = &self.on_declare {
            check(stream.clone())?;
        }
        for branch in &self.branches {
            branch.lock().declared = Some(stream.clone());
        }
        self.stream = stream;
        Ok(())
    }

    /// A blocking [`io::Write`] over this pipe, for a blocking thread of the running runtime. Flush it before the end.
    pub fn blocking(self, runtime: Handle) -> BlockingWriter {
        BlockingWriter { writer: self, runtime, buffer: Vec::with_capacity(BLOCKING_BUFFER) }
    }
}

/// Queues one piece in one branch; false where that branch has no reader any more.
async fn push(shared: &Shared, mut piece: Bytes) -> Result<bool, Failure> {
    while !piece.is_empty() {
        {
            let mut state = shared.lock();
            match &state.end {
                Some(End::Broken(failure)) => return if state.abandoned { Ok(false) } else { Err(failure.clone()) },
                Some(End::Finished) => return Err(Failure::internal("wrote into a stream that was already finished")),
                None if state.abandoned => return Ok(false),
                None => {}
            }
            let room = shared.budget - state.queued;
            if room > 0 {
                // A piece that fits is never cut, except by a budget smaller than the piece itself.
                let taken = if piece.len() <= room {
                    std::mem::take(&mut piece)
                } else if piece.len() > shared.budget {
                    piece.split_to(room)
                } else {
                    Bytes::new()
                };
                if !taken.is_empty() {
                    state.put(taken);
                    drop(state);
                    shared.readable.notify_one();
                    continue;
                }
            }
        }
        shared.writable.notified().await;
    }
    Ok(true)
}

/// How much a blocking writer collects before it hands it on.
const BLOCKING_BUFFER: usize = 256 << 10;

/// [`io::Read`] over a [`Reader`]. Fills the buffer that it is given unless the stream ends; errors carry the [`Failure`].
#[derive(Debug)]
pub struct BlockingReader {
    reader: Reader,
    runtime: Handle,
    chunk: Bytes,
    done: bool,
}

impl BlockingReader {
    /// As [`Reader::stream`].
    pub fn stream(&self) -> StreamType {
        self.reader.stream()
    }

    /// The next bytes without copying them, as [`Reader::read`].
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.chunk.is_empty() {
            return Ok(Some(std::mem::take(&mut self.chunk)));
        }
        if self.done {
            return Ok(None);
        }
        let next = self.runtime.block_on(self.reader.read())?;
        self.done = next.is_none();
        Ok(next)
    }
}

impl io::Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.chunk.is_empty() {
                match self.read_chunk()? {
                    Some(chunk) => self.chunk = chunk,
                    None => break,
                }
            }
            let taken = self.chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + taken].copy_from_slice(&self.chunk[..taken]);
            self.chunk.advance(taken);
            filled += taken;
        }
        Ok(filled)
    }
}

/// [`io::Write`] over a [`Writer`]; collects small writes.
#[derive(Debug)]
pub struct BlockingWriter {
    writer: Writer,
    runtime: Handle,
    buffer: Vec<u8>,
}

impl BlockingWriter {
    /// Hands on bytes without copying them, behind what was collected.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write_chunk(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.flush_buffer()?;
        self.runtime.block_on(self.writer.write(bytes))
    }

    fn flush_buffer(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BLOCKING_BUFFER));
        self.runtime.block_on(self.writer.write(full.into()))
    }
}

impl io::Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BLOCKING_BUFFER {
            self.flush_buffer()?;
        }
        if bytes.len() >= BLOCKING_BUFFER {
            self.write_chunk(Bytes::copy_from_slice(bytes))?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.flush_buffer()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn one(budget: usize) -> (Writer, Reader, Control) {
        let (writer, mut ends) = pipe(1, budget, &StreamType::unknown(), None);
        let (reader, control) = ends.remove(0);
        (writer, reader, control)
    }

    #[tokio::test]
    async fn a_dropped_writer_is_no_end() {
        let (mut writer, mut reader, control) = one(10);
        writer.write(Bytes::from_static(b"half")).await.expect("room");
        drop(writer);
        assert_eq!(reader.read().await.expect("queued").as_deref(), Some(&b"half"[..]));
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), reader.read()).await;
        assert!(waiting.is_err(), "the reader must wait for the engine's word");
        control.break_off(Failure::internal("the step failed"));
        control.finish();
        assert_eq!(reader.read().await.expect_err("broken").message, "the step failed");
        assert!(!control.was_read_to_the_end());
    }

    #[tokio::test]
    async fn a_break_hides_what_was_queued_and_a_finish_does_not() {
        let (mut writer, mut reader, control) = one(10);
        writer.write(Bytes::from_static(b"x")).await.expect("room");
        control.finish();
        control.break_off(Failure::internal("too late"));
        assert_eq!(reader.read().await.expect("queued").as_deref(), Some(&b"x"[..]));
        assert!(!control.was_read_to_the_end());
        assert_eq!(reader.read().await.expect("finished"), None);
        assert!(control.was_read_to_the_end());

        let (mut writer, mut reader, control) = one(10);
        writer.write(Bytes::from_static(b"x")).await.expect("room");
        control.break_off(Failure::internal("broken"));
        assert!(reader.read().await.is_err());
    }

    #[tokio::test]
    async fn a_cut_pipe_is_never_taken_for_a_finished_one() {
        let (mut writer, mut reader, control) = one(10);
        writer.write(Bytes::from_static(b"unread")).await.expect("room");
        control.finish();
        control.cut(Failure::cancelled("stopped"));
        assert!(reader.read().await.is_err());
        assert!(!control.was_read_to_the_end());

        let (_writer, mut reader, control) = one(10);
        control.finish();
        assert_eq!(reader.read().await.expect("finished"), None);
        control.cut(Failure::cancelled("too late"));
        assert_eq!(reader.read().await.expect("still finished"), None);
    }

    #[tokio::test]
    async fn a_pipe_never_holds_more_than_its_budget() {
        let (mut writer, mut reader, control) = one(100);
        let feeding = tokio::spawn(async move {
            for _ in 0..50 {
                writer.write(Bytes::from(vec![7; 33])).await.expect("read");
            }
            writer.write(Bytes::from(vec![7; 1000])).await.expect("read");
        });
        let mut total = 0;
        while total < 50 * 33 + 1000 {
            assert!(control.level().queued <= 100);
            total += reader.read().await.expect("sound").map_or(0, |chunk| chunk.len());
        }
        feeding.await.expect("no panic");
        assert_eq!(control.level(), Level { written: 2650, read: 2650, queued: 0, budget: 100 });
    }

    #[tokio::test]
    async fn small_pieces_share_their_memory_and_keep_their_order() {
        let (mut writer, mut reader, control) = one(1 << 20);
        let mut wrote = Vec::new();
        for round in 0..40_000_u32 {
            let size = if round % 1000 == 999 { SMALL } else { 1 + (round % 3) as usize };
            let piece = vec![u8::try_from(round % 256).unwrap_or_default(); size];
            wrote.extend_from_slice(&piece);
            writer.write(piece.into()).await.expect("room");
        }
        let held = control.0.lock().queue.len();
        assert!(held < 100, "{held} pieces are held for 40,000 writes");
        control.finish();
        let mut read = Vec::new();
        while let Some(piece) = reader.read().await.expect("sound") {
            read.extend_from_slice(&piece);
        }
        assert!(read == wrote);
    }

    #[tokio::test]
    async fn an_abandoned_branch_does_not_hold_the_others_back() {
        let (mut writer, mut ends) = pipe(2, 10, &StreamType::unknown(), None);
        let (mut kept, kept_control) = ends.remove(0);
        let (_gone, gone_control) = ends.remove(0);
        writer.write(Bytes::from_static(b"0123456789")).await.expect("room");
        gone_control.cut(Failure::cancelled("the reader failed"));
        assert_eq!(kept.read().await.expect("sound").map(|chunk| chunk.len()), Some(10));
        writer.write(Bytes::from_static(b"0123456789")).await.expect("one branch lives");
        kept_control.cut(Failure::cancelled("the reader failed"));
        assert!(writer.write(Bytes::from_static(b"x")).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn blocking_ends_fill_their_buffers_and_carry_the_failure() {
        let (writer, reader, control) = one(1 << 20);
        let handle = Handle::current();
        let mut writer = writer.blocking(handle.clone());
        tokio::task::spawn_blocking(move || {
            for _ in 0..100 {
                writer.write_all(b"abc").expect("room");
            }
            writer.flush().expect("room");
        })
        .await
        .expect("no panic");
        let mut reader = reader.blocking(handle);
        let reading = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 200];
            assert_eq!(reader.read(&mut buffer).expect("sound"), 200);
            assert_eq!(reader.read(&mut buffer[..100]).expect("sound"), 100);
            Failure::from_io(reader.read(&mut buffer).expect_err("broken"), "reading")
        });
        control.break_off(Failure::corrupt("cut"));
        let failed = reading.await;
        // The break may come before the first read, which then fails: both are right, a short success is not.
        if let Ok(failure) = failed {
            assert_eq!(failure, Failure::corrupt("cut"));
        }
    }
}
