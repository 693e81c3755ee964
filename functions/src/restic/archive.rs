//! A stream into a repository's packs: cut, known chunks left out, the others sealed and packed.
//!
//! Takes the step's stdin, gives the ids of its chunks in order. The calling thread reads, cuts and hashes; workers compress and
//! encrypt; one thread packs, in the stream's order, so that what is read together lies together. Always holds: the whole input
//! was read and its pipe said "finished" before this returns; a store that fails stops the reading at once; what is under way is bounded,
//! and only the chunks' ids (some 70 bytes each) grow with the stream; nothing that looks like a backup has been written.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use aquifer_engine::failure::Failure;
use aquifer_engine::pipe::BlockingReader;
use rustic_core::Id;
use rustic_core::repofile::BlobType;

use super::chunk::Cutter;
use super::index::Index;
use super::open::Repo;
use super::pack::{Added, Packer};
use super::seal::{ROOM, Sealed, id_of};

/// How many chunks may wait between the reading and the packing, beside those that are worked on.
const WAITING: usize = 2;

/// What became of a stream.
#[derive(Debug)]
pub(crate) struct Archived {
    /// The chunks' ids, in the stream's order.
    pub(crate) content: Vec<Id>,
    /// The stream's length in bytes.
    pub(crate) bytes: u64,
    /// How many of its bytes were not in the repository before.
    pub(crate) new_bytes: u64,
    /// What that added.
    pub(crate) added: Added,
}

type Outcome = Result<Sealed, Failure>;

/// A chunk for a worker, and where the worker puts what it made of it.
type Job = (Id, Vec<u8>, Sender<Outcome>);

/// Archives a stream, of which `first` was read already, cut by `cutter`. For a blocking thread.
///
/// # Errors
/// The stream broke, the step was stopped, or the store failed: whichever was first.
pub(crate) fn archive(
    repo: &Repo,
    index: &Index,
    mut cutter: Cutter,
    first: &[u8],
    mut input: BlockingReader,
) -> Result<Archived, Failure> {
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 8);
    let (jobs, taken) = sync_channel::<Job>(WAITING);
    let taken = Arc::new(std::sync::Mutex::new(taken));
    let (order, ordered) = sync_channel::<Receiver<Outcome>>(WAITING + workers);
    let (rooms, used) = channel();
    cutter.reuse(used);

    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (taken, mut worker) = (Arc::clone(&taken), repo.sealer().worker()?);
            scope.spawn(move || {
                while let Some((id, chunk, done)) = next(&taken) {
                    // Nobody waits for it after a failure.
                    _ = done.send(worker.seal(id, chunk));
                }
            });
        }
        // Only the workers hold it from here on: once they have ended, a sender hears of it.
        drop(taken);
        let packed = rooms.clone();
        let packing = scope.spawn(move || pack(repo, &ordered, &packed));

        let mut feed =
            Feed { index, seen: HashSet::new(), rooms, jobs, order, content: Vec::new(), bytes: 0, new_bytes: 0 };
        let read = cutter
            .add(first, |chunk| feed.take(chunk))
            .and_then(|()| read(repo, &mut input, &mut cutter, &mut feed))
            .and_then(|()| match cutter.finish() {
                Some(last) => feed.take(last),
                None => Ok(()),
            });
        let Feed { content, bytes, new_bytes, jobs, order, .. } = feed;
        if let Err(failure) = &read {
            // The packer asks before it stores what is left.
            repo.trouble().tell(failure.clone());
        }
        drop((jobs, order));
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Whichever went wrong first: a feed that nobody takes any more is a consequence.
        repo.trouble().check()?;
        read?;
        Ok(Archived { content, bytes, new_bytes, added: packed? })
    })
}

fn next(jobs: &std::sync::Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv().ok()
}

fn read(repo: &Repo, input: &mut BlockingReader, cutter: &mut Cutter, feed: &mut Feed<'_>) -> Result<(), Failure> {
    while let Some(piece) = input.read_chunk()? {
        repo.trouble().check()?;
        cutter.add(&piece, |chunk| feed.take(chunk))?;
    }
    Ok(())
}

/// Hands chunks that are new to the workers.
struct Feed<'i> {
    index: &'i Index,
    seen: HashSet<Id>,
    rooms: Sender<Vec<u8>>,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Outcome>>,
    content: Vec<Id>,
    bytes: u64,
    new_bytes: u64,
}

impl Feed<'_> {
    fn take(&mut self, chunk: Vec<u8>) -> Result<(), Failure> {
        let id = id_of(&chunk);
        self.content.push(id);
        self.bytes += chunk.len() as u64;
        if self.index.find(BlobType::Data, &id).is_some() || !self.seen.insert(id) {
            give_back(&self.rooms, chunk);
            return Ok(());
        }
        self.new_bytes += chunk.len() as u64;
        let (done, outcome) = channel();
        let gone = |_| Failure::cancelled("the packing has stopped");
        self.order.send(outcome).map_err(|_| gone(()))?;
        self.jobs.send((id, chunk, done)).map_err(|_| gone(()))
    }
}

/// Gives a chunk's room to those that follow: of the largest ones only a part.
fn give_back(rooms: &Sender<Vec<u8>>, mut room: Vec<u8>) {
    room.clear();
    room.shrink_to(ROOM);
    // After the last chunk nobody takes it.
    _ = rooms.send(room);
}

/// Packs what the workers sealed, in the order of the stream.
fn pack(repo: &Repo, ordered: &Receiver<Receiver<Outcome>>, rooms: &Sender<Vec<u8>>) -> Result<Added, Failure> {
    let mut packer = Packer::new(repo, BlobType::Data);
    let fill = |packer: &mut Packer| {
        for outcome in ordered {
            let sealed = outcome.recv().map_err(|_| Failure::cancelled("the sealing has stopped"))??;
            packer.add(&sealed)?;
            give_back(rooms, sealed.bytes);
        }
        repo.trouble().check()
    };
    match fill(&mut packer) {
        Ok(()) => packer.finish(),
        Err(failure) => {
            repo.trouble().tell(failure.clone());
            packer.give_up();
            Err(failure)
        }
    }
}
