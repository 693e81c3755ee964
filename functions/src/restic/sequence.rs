//! A pack read from its beginning on.
//!
//! Takes how many bytes are wanted next, and gives them. Always holds: what is held is what was asked for and a few pieces of the
//! network's, in room that is used again; of a store whose answers flow all of it comes in one answer, of others in one for each piece.

use std::fs::File;
use std::io::Read;

use aquifer_engine::failure::Failure;
use bytes::Buf;
use futures::TryStreamExt;
use opendal::{Buffer, BufferStream};

use super::backend::Backend;

/// A pack that is being read.
pub(super) struct Sequence<'a> {
    backend: &'a Backend,
    name: String,
    at: u64,
    end: u64,
    file: Option<File>,
    answer: Option<BufferStream>,
    /// What came and was not asked for yet.
    left: Buffer,
}

impl<'a> Sequence<'a> {
    /// A file that has so many bytes by the listing.
    pub(super) fn new(backend: &'a Backend, name: String, size: u64) -> Self {
        Self { backend, name, at: 0, end: size, file: None, answer: None, left: Buffer::new() }
    }

    /// Reads the next bytes, in the place of what is in `room`. After an error it is not to be used any more. For blocking threads.
    ///
    /// # Errors
    /// They are not there, the store cannot be reached, or the step was stopped.
    pub(super) fn next(&mut self, length: u64, room: &mut Vec<u8>) -> Result<(), Failure> {
        let from = self.at;
        self.at += length;
        // No more than the listing says: an index may say any length.
        let there = length.min(self.end.saturating_sub(from));
        room.clear();
        room.reserve_exact(usize::try_from(there).unwrap_or(0));
        let backend = self.backend;
        backend.check_ended()?;
        match backend.store().folder() {
            Some(folder) => {
                let path = folder.join(&self.name);
                let read = self.read(&path, there, room);
                read.map_err(|error| {
                    Failure::from_io(error, format!("reading `{}`", backend.store().shown(&self.name)))
                })?;
            }
            None => backend.wait(self.receive(from, there, room))?,
        }
        backend.whole(room.len(), &self.name, from, length)
    }

    fn read(&mut self, path: &std::path::Path, length: u64, room: &mut Vec<u8>) -> std::io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(path)?),
        };
        file.take(length).read_to_end(room)
    }

    async fn receive(&mut self, from: u64, length: u64, room: &mut Vec<u8>) -> Result<(), Failure> {
        let store = self.backend.store();
        if !store.flows() {
            room.extend_from_slice(&self.backend.read_range(&self.name, from, length).await?);
            return Ok(());
        }
        let failed = |error: opendal::Error| store.failed(&error, &format!("reading `{}`", store.shown(&self.name)));
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => {
                let reader = store.operator().reader(&self.name).await.map_err(failed)?;
                none.insert(reader.into_stream(from..self.end).await.map_err(failed)?)
            }
        };
        let mut missing = usize::try_from(length).unwrap_or(usize::MAX);
        while missing > 0 {
            if self.left.is_empty() {
                match answer.try_next().await.map_err(failed)? {
                    Some(piece) => self.left = piece,
                    None => break,
                }
            }
            let piece = self.left.chunk();
            let taken = piece.len().min(missing);
            room.extend_from_slice(&piece[..taken]);
            self.left.advance(taken);
            missing -= taken;
        }
        Ok(())
    }
}
