//! restic's encryption: AES-256-CTR with a Poly1305-AES tag, under a repository's master key.
//!
//! Takes plain bytes, gives `NONCE(16) CIPHERTEXT TAG(16)`, and the other way round ("Keys, Encryption and MAC" in restic's design
//! document). Always holds: a nonce is random and used once; what does not carry the right tag is never given out; the key
//! is in no debug form.

use std::fmt;
use std::ops::Range;

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key};
use aquifer_engine::failure::Failure;
use rustic_core::repofile::MasterKey;

/// How many bytes encryption adds.
pub(crate) const OVERHEAD: usize = 32;

/// How many of them stand in front.
const NONCE: usize = 16;

/// A repository's master key, ready for use.
#[derive(Clone)]
pub(crate) struct Cipher(Aes256CtrPoly1305Aes);

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// Takes over the key of an open repository.
    ///
    /// # Errors
    /// The key's parts have other lengths than the format's.
    pub(crate) fn new(key: &MasterKey) -> Result<Self, Failure> {
        Self::of_parts([&key.encrypt, &key.mac.k, &key.mac.r])
    }

    /// With a key whose parts are these: AES's, and Poly1305's `k` and `r`.
    ///
    /// # Errors
    /// They have other lengths than the format's.
    pub(super) fn of_parts(parts: [&[u8]; 3]) -> Result<Self, Failure> {
        if parts.map(<[u8]>::len) != [32, 16, 16] {
            return Err(Failure::corrupt("the master key has another length than the format's"));
        }
        let joined: Vec<u8> = parts.into_iter().flatten().copied().collect();
        Ok(Self(Aes256CtrPoly1305Aes::new(Key::from_slice(&joined))))
    }

    /// Encrypts.
    ///
    /// # Errors
    /// The machine gives no random bytes.
    pub(crate) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        self.encrypt_into(plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Encrypts, in the place of what is in `sealed`.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub(crate) fn encrypt_into(&self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Failure> {
        sealed.clear();
        sealed.reserve(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&[0; NONCE]);
        sealed.extend_from_slice(plain);
        self.finish(sealed)
    }

    /// Encrypts where it lies.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub(crate) fn encrypt_in_place(&self, plain: &mut Vec<u8>) -> Result<(), Failure> {
        plain.reserve(OVERHEAD);
        plain.splice(..0, [0; NONCE]);
        self.finish(plain)
    }

    /// Encrypts what stands behind the room for a nonce.
    fn finish(&self, sealed: &mut Vec<u8>) -> Result<(), Failure> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|error| Failure::internal(format!("the machine gives no random bytes: {error}")))?;
        sealed[..NONCE].copy_from_slice(&nonce);
        let tag = self
            .0
            .encrypt_in_place_detached((&nonce).into(), &[], &mut sealed[NONCE..])
            .map_err(|_| Failure::internal("the encryption failed"))?;
        sealed.extend_from_slice(&tag);
        Ok(())
    }

    /// Decrypts.
    ///
    /// # Errors
    /// The bytes are damaged, or were encrypted with another key.
    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut opened = sealed.to_vec();
        let plain = self.decrypt_in_place(&mut opened)?;
        opened.truncate(plain.end);
        opened.drain(..plain.start);
        Ok(opened)
    }

    /// Decrypts where it lies, and gives where the plain bytes are then.
    ///
    /// # Errors
    /// As [`Self::decrypt`].
    pub(crate) fn decrypt_in_place(&self, sealed: &mut [u8]) -> Result<Range<usize>, Failure> {
        let damaged =
            || Failure::corrupt("the authentication tag is wrong: the data is damaged or not of this repository");
        if sealed.len() < OVERHEAD {
            return Err(damaged());
        }
        let plain = 16..sealed.len() - 16;
        let (nonce, rest) = sealed.split_at_mut(plain.start);
        let (body, tag) = rest.split_at_mut(plain.len());
        self.0.decrypt_in_place_detached((&*nonce).into(), &[], body, (&*tag).into()).map_err(|_| damaged())?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_what_was_changed_does_not() {
        let cipher = Cipher::new(&MasterKey::new()).expect("sound");
        for plain in [&b""[..], b"a", &[7; 100_000]] {
            let sealed = cipher.encrypt(plain).expect("random bytes");
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(cipher.decrypt(&sealed).expect("sound"), plain);
            let (mut there, mut into) = (plain.to_vec(), b"before".to_vec());
            cipher.encrypt_in_place(&mut there).expect("random bytes");
            cipher.encrypt_into(plain, &mut into).expect("random bytes");
            for other in [&there, &into] {
                assert_eq!(cipher.decrypt(other).expect("sound"), plain);
                assert_ne!(other[..16], sealed[..16], "a nonce is used once");
            }
            for at in [0, 15, 16, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(cipher.decrypt(&changed).is_err(), "{at}");
            }
            assert!(cipher.decrypt(&sealed[1..]).is_err());
        }
        assert!(cipher.decrypt(b"short").is_err());
        let other = Cipher::new(&MasterKey::new()).expect("sound");
        assert!(other.decrypt(&cipher.encrypt(b"a").expect("random bytes")).is_err());
    }
}
