//! Makes stored blobs of plain ones, and plain ones of stored ones: compressed (format version 2), then encrypted.
//!
//! Always holds: what is stored opens again to bytes with the blob's id, or is refused; a version 1 repository gets no compressed
//! blob; a blob that compression would not make smaller is stored as it is.

use aquifer_engine::failure::Failure;
use bytes::{Bytes, BytesMut};
use rustic_core::Id;
use sha2::{Digest, Sha256};

use super::cipher::Cipher;

/// A blob as it is stored.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The SHA-256 of its plain bytes.
    pub(crate) id: Id,
    /// Its bytes in the pack.
    pub(crate) bytes: Vec<u8>,
    /// Its length once unpacked, in bytes; 0 where it is not compressed.
    pub(crate) unpacked: u32,
}

fn unpack(packed: &[u8], length: u32) -> Result<Vec<u8>, Failure> {
    zstd::bulk::decompress(packed, length as usize)
        .map_err(|error| Failure::corrupt(format!("it does not unpack: {error}")))
}

fn compare(id: &Id, plain: &[u8]) -> Result<(), Failure> {
    if id_of(plain) == *id { Ok(()) } else { Err(Failure::corrupt("its content has another hash than its id")) }
}

/// Unpacks one blob after the other, in room that is taken once.
pub(crate) struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    room: Vec<u8>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    /// One of its own.
    ///
    /// # Errors
    /// The machine refuses.
    pub(crate) fn new() -> Result<Self, Failure> {
        let zstd = zstd::bulk::Decompressor::new();
        let zstd = zstd.map_err(|error| Failure::internal(format!("nothing can be unpacked: {error}")))?;
        Ok(Self { zstd, room: Vec::new() })
    }

    /// What bytes unpack to, if it has so many.
    fn unpack(&mut self, packed: &[u8], length: u32) -> Result<&[u8], Failure> {
        let mut room = std::mem::take(&mut self.room);
        room.clear();
        room.shrink_to(ROOM);
        self.room = self.unpack_into(packed, length, room)?;
        Ok(&self.room)
    }

    /// The same in room that is given, and given back with it.
    fn unpack_into(&mut self, packed: &[u8], length: u32, mut room: Vec<u8>) -> Result<Vec<u8>, Failure> {
        room.reserve_exact(length as usize);
        let made = self.zstd.decompress_to_buffer(packed, &mut room);
        let made = made.map_err(|error| Failure::corrupt(format!("it does not unpack: {error}")))?;
        if made != length as usize {
            return Err(Failure::corrupt(format!("it unpacks to {made} bytes, and by the index it has {length}")));
        }
        Ok(room)
    }
}

/// How blobs of one repository are sealed.
#[derive(Debug, Clone)]
pub(crate) struct Sealer {
    cipher: Cipher,
    /// The zstd level; none where nothing is compressed.
    level: Option<i32>,
    /// Whether each blob is opened again before it is stored.
    verify: bool,
}

/// The id of plain bytes.
pub(crate) fn id_of(plain: &[u8]) -> Id {
    Id::new(Sha256::digest(plain).into())
}

impl Sealer {
    /// With a repository's key, and zstd of this level where it compresses. With `verify` each blob is opened again before it is
    /// stored: a bit that flips in this machine's memory would otherwise be found by whoever needs the backup.
    pub(crate) fn new(cipher: Cipher, level: Option<i32>, verify: bool) -> Self {
        Self { cipher, level, verify }
    }

    /// One worker, with a compressor of its own.
    ///
    /// # Errors
    /// The level is none of zstd's.
    pub(crate) fn worker(&self) -> Result<Worker, Failure> {
        let compressor = self.level.map(zstd::bulk::Compressor::new).transpose();
        let compressor =
            compressor.map_err(|error| Failure::corrupt(format!("the repository's compression level: {error}")))?;
        let unpacker = Unpacker::new()?;
        Ok(Worker { sealer: self.clone(), compressor, unpacker, packed: Vec::new(), again: Vec::new() })
    }

    /// Seals a file that is no pack (an index, a snapshot, a lock). Format version 2 puts a 2 in front of what is compressed.
    ///
    /// # Errors
    /// The machine refuses.
    pub(crate) fn seal_file(&self, json: &[u8]) -> Result<Vec<u8>, Failure> {
        if self.level.is_none() {
            return self.cipher.encrypt(json);
        }
        let mut plain = vec![2];
        zstd::stream::copy_encode(json, &mut plain, 3)
            .map_err(|error| Failure::internal(format!("a file cannot be compressed: {error}")))?;
        self.cipher.encrypt(&plain)
    }

    /// Opens a file that is no pack.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn open_file(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        let plain = self.cipher.decrypt(sealed)?;
        match plain.first() {
            Some(2) => zstd::stream::decode_all(&plain[1..])
                .map_err(|error| Failure::corrupt(format!("it does not unpack: {error}"))),
            _ => Ok(plain),
        }
    }

    /// Opens a stored blob and checks that it is the one that was asked for.
    ///
    /// # Errors
    /// It is damaged, or another one.
    pub(crate) fn open(&self, id: &Id, stored: &[u8], unpacked: u32) -> Result<Vec<u8>, Failure> {
        let opened = self.cipher.decrypt(stored)?;
        let plain = if unpacked == 0 { opened } else { unpack(&opened, unpacked)? };
        compare(id, &plain)?;
        Ok(plain)
    }

    /// The same without a copy: what is stored is overwritten.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_in_place(
        &self,
        id: &Id,
        mut stored: BytesMut,
        unpacked: u32,
        unpacker: &mut Unpacker,
    ) -> Result<Bytes, Failure> {
        let opened = self.cipher.decrypt_in_place(&mut stored)?;
        let plain = if unpacked == 0 {
            stored.freeze().slice(opened)
        } else {
            unpacker.unpack_into(&stored[opened], unpacked, Vec::new())?.into()
        };
        compare(id, &plain)?;
        Ok(plain)
    }

    /// Whether it opens, without keeping what it opens to: what is stored is overwritten. Gives how many plain bytes it has.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn examine(
        &self,
        id: &Id,
        stored: &mut [u8],
        unpacked: u32,
        unpacker: &mut Unpacker,
    ) -> Result<u64, Failure> {
        let opened = self.cipher.decrypt_in_place(stored)?;
        let plain = if unpacked == 0 { &stored[opened] } else { unpacker.unpack(&stored[opened], unpacked)? };
        compare(id, plain)?;
        Ok(plain.len() as u64)
    }

    /// The cipher itself, for pack headers.
    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }
}

/// How much room is kept for the next blob, in bytes: most have less, and the few that have more are not worth it.
pub(super) const ROOM: usize = 2 << 20;

/// Seals one blob after the other.
pub(crate) struct Worker {
    sealer: Sealer,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    /// For what is opened again.
    unpacker: Unpacker,
    /// Room that is taken once: for what is compressed, and for what is opened again.
    packed: Vec<u8>,
    again: Vec<u8>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// Seals for this repository what is stored in another one, once it was opened. What was compressed there is not compressed
    /// anew.
    ///
    /// # Errors
    /// It is damaged, or another blob; the machine refuses.
    pub(crate) fn reseal(
        &mut self,
        id: &Id,
        mut stored: BytesMut,
        unpacked: u32,
        from: &Sealer,
    ) -> Result<Sealed, Failure> {
        let opened = from.cipher.decrypt_in_place(&mut stored)?;
        let opened = &stored[opened];
        let plain = if unpacked == 0 { opened } else { self.unpacker.unpack(opened, unpacked)? };
        compare(id, plain)?;
        if self.compressor.is_none() || unpacked == 0 {
            let plain = plain.to_vec();
            return self.seal(*id, plain);
        }
        let bytes = self.sealer.cipher.encrypt(opened)?;
        self.checked(Sealed { id: *id, bytes, unpacked })
    }

    /// Seals plain bytes whose id is known, in the room that they lie in.
    ///
    /// # Errors
    /// The blob is too large for the format, or the machine refuses.
    pub(crate) fn seal(&mut self, id: Id, mut bytes: Vec<u8>) -> Result<Sealed, Failure> {
        let length = u32::try_from(bytes.len()).map_err(|_| Failure::internal("a blob of more than 4 GiB"))?;
        self.packed.clear();
        if let Some(compressor) = &mut self.compressor {
            self.packed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
            compressor
                .compress_to_buffer(&bytes[..], &mut self.packed)
                .map_err(|error| Failure::internal(format!("a blob cannot be compressed: {error}")))?;
        }
        let smaller = self.compressor.is_some() && self.packed.len() < bytes.len();
        if smaller {
            self.sealer.cipher.encrypt_into(&self.packed, &mut bytes)?;
        } else {
            self.sealer.cipher.encrypt_in_place(&mut bytes)?;
        }
        let sealed = self.checked(Sealed { id, bytes, unpacked: if smaller { length } else { 0 } });
        for room in [&mut self.packed, &mut self.again] {
            room.clear();
            room.shrink_to(ROOM);
        }
        sealed
    }

    /// Opens it again, where the repository wants that.
    fn checked(&mut self, sealed: Sealed) -> Result<Sealed, Failure> {
        if self.sealer.verify {
            self.again.clear();
            self.again.extend_from_slice(&sealed.bytes);
            let opened = self.sealer.examine(&sealed.id, &mut self.again, sealed.unpacked, &mut self.unpacker);
            opened.map_err(|failure| {
                Failure::internal(format!("a blob does not open again right after it was sealed: {}", failure.message))
                    .with_help("nothing wrong was stored; the memory of this machine may be broken")
            })?;
        }
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests {
    use rustic_core::repofile::MasterKey;

    use super::*;

    #[test]
    fn a_blob_opens_as_what_it_was_and_as_nothing_else() {
        let cipher = Cipher::new(&MasterKey::new()).expect("sound");
        for level in [None, Some(3)] {
            let sealer = Sealer::new(cipher.clone(), level, true);
            for plain in [vec![b'a'; 100_000], b"short".to_vec()] {
                let id = id_of(&plain);
                let sealed = sealer.worker().expect("a level").seal(id, plain.clone()).expect("sealed");
                assert_eq!(sealed.unpacked > 0, level.is_some() && plain.len() > 1000);
                assert_eq!(sealer.open(&id, &sealed.bytes, sealed.unpacked).expect("sound"), plain);
                let mut unpacker = Unpacker::new().expect("room");
                let stored = BytesMut::from(&sealed.bytes[..]);
                let opened = sealer.open_in_place(&id, stored, sealed.unpacked, &mut unpacker);
                assert_eq!(opened.expect("sound"), plain);
                let mut examine =
                    |id: &Id, unpacked| sealer.examine(id, &mut sealed.bytes.clone(), unpacked, &mut unpacker);
                assert!(examine(&id, sealed.unpacked).is_ok() && examine(&id, sealed.unpacked).is_ok());
                assert!(examine(&id_of(b"other"), sealed.unpacked).is_err());
                assert!(sealer.open(&id_of(b"other"), &sealed.bytes, sealed.unpacked).is_err());
                assert!(sealer.open(&id, &sealed.bytes[..sealed.bytes.len() - 1], sealed.unpacked).is_err());
                assert_eq!(sealer.open_file(&sealer.seal_file(b"{}").expect("sealed")).expect("sound"), b"{}");
                if sealed.unpacked > 0 {
                    assert!(examine(&id, sealed.unpacked - 1).is_err() && examine(&id, sealed.unpacked + 1).is_err());
                    assert!(sealer.open(&id, &sealed.bytes, sealed.unpacked - 1).is_err());
                }
            }
        }
    }
}
