//! A password and a repository's key files to its master key.
//!
//! Takes the files as they lie there, which anybody may have written. Always holds: what a key file asks of this machine is bounded
//! before it is done; one that is damaged or asks for too much is passed over and told, and keeps no other from opening the repository.

use aquifer_engine::failure::{Failure, FailureKind};
use rustic_core::repofile::{KeyFile, MasterKey};
use rustic_core::{FileType, Id};

use super::backend::{Backend, name};
use super::cipher::Cipher;

/// How long a salt is, in bytes, in every program that writes keys of this format.
const SALT: usize = 64;

/// How much memory a password may take to be tried, in bytes: four times of what is usual.
const MEMORY: u64 = 512 << 20;

/// How much work that may be (`N * r * p`): 32 times of what is usual, which is seconds.
const WORK: u64 = 1 << 25;

/// The key that a password opens.
pub(super) struct Unlocked {
    pub(super) master: MasterKey,
    /// The id of its file.
    pub(super) id: Id,
}

/// What trying a password has shown.
#[derive(Default)]
pub(super) struct Tried {
    /// The key that it opens, if any.
    pub(super) key: Option<Unlocked>,
    /// How many keys can be used: up to the one that it opens.
    pub(super) usable: usize,
    /// The key files that cannot be used, and why.
    pub(super) damaged: Vec<String>,
}

/// Tries a password on all keys until it opens one that opens the config, too: a program that made the repository at the same moment and came second may
/// have left its own key behind. Where none does, it is the config that is damaged. For blocking threads.
///
/// # Errors
/// The store cannot be reached, or the step was stopped.
pub(super) fn unlock(backend: &Backend, password: &str) -> Result<Tried, Failure> {
    let mut tried = Tried::default();
    let config = backend.wait(present(backend, "config"))?;
    let is_of_it = |master: &MasterKey| {
        let opens = |config: &Vec<u8>| Cipher::new(master).is_ok_and(|cipher| cipher.decrypt(config).is_ok());
        config.as_ref().is_none_or(opens)
    };
    for (file, _) in backend.wait(backend.list("keys"))? {
        let Ok(id) = file.parse::<Id>() else { continue };
        backend.check_ended()?;
        let name = name(FileType::Key, &id);
        // It may have been removed since it was listed.
        let Some(text) = backend.wait(present(backend, &name))? else { continue };
        match open(&text, password) {
            Ok(Some(master)) if is_of_it(&master) => {
                tried.key = Some(Unlocked { master, id });
                tried.usable += 1;
                return Ok(tried);
            }
            Ok(Some(master)) => {
                tried.usable += 1;
                tried.key.get_or_insert(Unlocked { master, id });
                let shown = backend.store().shown(&name);
                tried.damaged.push(format!("the key `{shown}` is of another repository than the `config` beside it"));
            }
            Ok(None) => tried.usable += 1,
            Err(why) => {
                tried.damaged.push(format!("the key `{}` cannot be used: {why}", backend.store().shown(&name)));
            }
        }
    }
    Ok(tried)
}

/// What a file has, where it is there.
async fn present(backend: &Backend, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    match backend.read_all(name).await {
        Ok(text) => Ok(Some(text.to_vec())),
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The master key in a key file; none where the password is another one.
fn open(text: &[u8], password: &str) -> Result<Option<MasterKey>, String> {
    let file: KeyFile =
        serde_json::from_slice(text).map_err(|error| format!("it is not of the form that keys have: {error}"))?;
    check(&file)?;
    let cipher = derive(&file, password)?;
    let Ok(plain) = cipher.decrypt(&file.data) else { return Ok(None) };
    let master: MasterKey =
        serde_json::from_slice(&plain).map_err(|error| format!("what it encrypts is no master key: {error}"))?;
    Cipher::new(&master).map_err(|failure| failure.message)?;
    Ok(Some(master))
}

/// The cipher of a key file, by a password. What it asks for was checked.
fn derive(file: &KeyFile, password: &str) -> Result<Cipher, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("its scrypt parameters make no sense: {error}");
    let mut key = [0; 64];
    let log_n = u8::try_from(file.n.trailing_zeros()).map_err(|error| wrong(&error))?;
    let params = scrypt::Params::new(log_n, file.r, file.p, key.len()).map_err(|error| wrong(&error))?;
    scrypt::scrypt(password.as_bytes(), &file.salt, &params, &mut key).map_err(|error| wrong(&error))?;
    let (encrypt, mac) = key.split_at(32);
    let (k, r) = mac.split_at(16);
    Cipher::of_parts([encrypt, k, r]).map_err(|failure| failure.message)
}

/// Whether what it asks for is sound, and no more than this machine should do for it.
fn check(file: &KeyFile) -> Result<(), String> {
    if file.kdf != "scrypt" {
        return Err(format!("its key derivation is `{}`, and `scrypt` is known", file.kdf.escape_debug()));
    }
    if file.salt.len() != SALT {
        return Err(format!("its salt has {} bytes instead of {SALT}", file.salt.len()));
    }
    let [n, r, p] = [file.n, file.r, file.p].map(u64::from);
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
        return Err(format!("its scrypt parameters make no sense (N {n}, r {r}, p {p})"));
    }
    let memory = n.saturating_mul(r).saturating_mul(128);
    if memory > MEMORY || n.saturating_mul(r).saturating_mul(p) > WORK {
        return Err(format!("its scrypt parameters ask for too much memory or work (N {n}, r {r}, p {p})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(change: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut key = json!({
            "kdf": "scrypt", "N": 2, "r": 1, "p": 1, "data": "", "salt": format!("{}==", "A".repeat(86)),
        });
        for (field, value) in change {
            key[field] = value.clone();
        }
        key.to_string().into_bytes()
    }

    #[test]
    fn absurd_parameters_are_refused_before_they_are_computed() {
        assert!(open(&key(&[]), "a").expect("usable").is_none());
        for (field, value) in [
            ("N", json!(0)),
            ("N", json!(1)),
            ("N", json!(3)),
            ("N", json!(1 << 31)),
            ("N", json!(u64::MAX)),
            ("N", json!(-2)),
            ("r", json!(0)),
            ("r", json!(u32::MAX)),
            ("p", json!(0)),
            ("p", json!(u32::MAX)),
            ("kdf", json!("none")),
            ("salt", json!("")),
            ("salt", json!("AAAA")),
        ] {
            assert!(open(&key(&[(field, value.clone())]), "a").is_err(), "{field} {value}");
        }
        // What is usual, and four times of it.
        for (n, r) in [(1 << 17, 8), (1 << 15, 8), (1 << 19, 8)] {
            let file = serde_json::from_slice(&key(&[("N", json!(n)), ("r", json!(r))])).expect("a key");
            assert_eq!(check(&file), Ok(()));
        }
        for torn in [&b""[..], b"{", b"null", b"\0\0\0"] {
            assert!(open(torn, "a").is_err());
        }
    }
}
