//! One pack while it is filled: in a folder a file that grows, for any other store memory.
//!
//! Takes its bytes one after the other; gives its id once it is stored. Always holds: its hash is that of the bytes that were
//! handed on; nothing has its name before it is whole, and what is dropped before leaves nothing behind; in memory a pack takes
//! its own length and less than [`ROOM`] more, and its room is used again by the next one.

use std::sync::{Arc, Mutex, PoisonError};

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};
use opendal::Buffer;
use rustic_core::{FileType, Id};
use sha2::{Digest, Sha256};

use super::backend::Backend;
use crate::location::Part;

/// How large the pieces are that a pack is held in, in bytes. One piece for all of it would be so large that the allocator holds on to
/// as much again.
const ROOM: usize = 1 << 20;

/// Room of packs that were stored, for those that follow.
#[derive(Debug, Clone, Default)]
pub(super) struct Rooms(Arc<Mutex<Vec<BytesMut>>>);

impl Rooms {
    fn take(&self) -> BytesMut {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| BytesMut::with_capacity(ROOM))
    }

    fn give_back(&self, pieces: Vec<Bytes>) {
        // What somebody else still holds is let go.
        let own = pieces.into_iter().filter_map(|piece| piece.try_into_mut().ok());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(own.map(|mut piece| {
            piece.clear();
            piece
        }));
    }
}

#[derive(Debug)]
enum Body {
    File(Part),
    Memory { full: Vec<Bytes>, last: BytesMut, rooms: Rooms },
}

/// A pack that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    body: Body,
    hash: Sha256,
    length: usize,
}

impl Filling {
    /// Begins one. For blocking threads, as [`Self::add`].
    ///
    /// # Errors
    /// The file system refuses it.
    pub(super) fn begin(backend: &Backend, rooms: &Rooms) -> Result<Self, Failure> {
        let body = match backend.store().folder() {
            Some(folder) => Body::File(backend.with_part(|| Part::begin(folder))?),
            None => Body::Memory { full: Vec::new(), last: BytesMut::new(), rooms: rooms.clone() },
        };
        Ok(Self { body, hash: Sha256::new(), length: 0 })
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The file system refuses them.
    pub(super) fn add(&mut self, backend: &Backend, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.length += bytes.len();
        match &mut self.body {
            Body::File(part) => backend.with_part(|| part.write(bytes)),
            Body::Memory { full, last, rooms } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let room = last.capacity() - last.len();
                    if room == 0 {
                        let filled = std::mem::replace(last, rooms.take());
                        if !filled.is_empty() {
                            full.push(filled.freeze());
                        }
                        continue;
                    }
                    let (now, later) = rest.split_at(room.min(rest.len()));
                    last.extend_from_slice(now);
                    rest = later;
                }
                Ok(())
            }
        }
    }

    /// Stores it, durable and whole, or not at all; gives its id.
    ///
    /// # Errors
    /// The store refuses it or cannot be reached.
    pub(super) async fn store(self, backend: &Backend) -> Result<Id, Failure> {
        let id = Id::new(self.hash.finalize().into());
        let name = super::backend::name(FileType::Pack, &id);
        match self.body {
            Body::File(part) => backend.place(part, &name).await?,
            Body::Memory { mut full, last, rooms } => {
                full.push(last.freeze());
                let stored = backend.write(&name, Buffer::from(full.clone())).await;
                rooms.give_back(full);
                stored?;
            }
        }
        Ok(id)
    }
}
