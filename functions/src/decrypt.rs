//! Decrypts a stream in the age format (age-encryption.org/v1).
//!
//! Takes one binary age file, and X25519 identities or a passphrase; gives what was encrypted. Always holds: an input
//! that is cut off, changed or followed by other bytes is a `corrupt` failure, and a key that does not fit is an
//! `unauthorized` one; bytes are handed on only after their piece was authenticated.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use age::secrecy::SecretString;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Transform;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::{Input, Output, blocking, copy, damaged};

/// The costliest passphrase that is tried, as `age -d` has it: scrypt with N = 2^22.
const WORK_FACTOR_MAX: u8 = 22;

/// The largest header that is read: room for some 600 recipients. The library begins anew with each piece of it, so its time
/// grows with the square of the header, and 64 KiB take a few seconds already.
const HEADER_MAX: u64 = 64 << 10;

/// The most that is read of an identity file.
const IDENTITY_FILE_MAX: u64 = 1 << 20;

const MAGIC: &[u8] = b"age-encryption.org/v1";
const ARMOR: &[u8] = b"-----BEGIN AGE";

/// `decrypt`.
#[derive(Debug, Clone, Copy)]
pub struct Decrypt;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecryptParams {
    /// Secret keys (`AGE-SECRET-KEY-1…`); the one that fits is used. With `identityFile` or without.
    #[serde(default)]
    pub identities: Vec<Secret>,
    /// A file with secret keys, one on a line, as `age-keygen` writes it.
    #[serde(default)]
    pub identity_file: Option<PathBuf>,
    /// The passphrase that it was encrypted with; excludes the other two.
    #[serde(default)]
    pub passphrase: Option<Secret>,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecryptOutputs {
    /// How many bytes it read.
    pub bytes_in: u64,
    /// How many bytes it wrote.
    pub bytes_out: u64,
}

impl Function for Decrypt {
    const NAME: &'static str = "decrypt";
    const SUMMARY: &'static str = "Decrypt an age stream with secret keys or a passphrase.";
    const REPEAT: &'static str = "Gives the same bytes again for the same input.";
    type Params = DecryptParams;
    type Ports = Transform;
    type Outputs = DecryptOutputs;

    fn streams(_: Option<&DecryptParams>) -> Streams {
        Streams { stdin: Accepts::Wrapped(vec!["age"]), stdout: Produces::TakesOff }
    }

    fn check(params: &DecryptParams) -> Result<(), ParamError> {
        let keys = !params.identities.is_empty() || params.identity_file.is_some();
        match (&params.passphrase, keys) {
            (None, false) => {
                return Err(ParamError::new("", "there is nothing to decrypt with")
                    .with_help("write `identities`, `identityFile` or `passphrase`"));
            }
            (Some(_), true) => {
                return Err(ParamError::new("passphrase", "`passphrase` excludes `identities` and `identityFile`")
                    .with_help("an age file is for recipients or for a passphrase: leave the other out"));
            }
            _ => {}
        }
        for (at, identity) in params.identities.iter().enumerate() {
            parse(identity.expose()).map_err(|reason| {
                ParamError::new(format!("identities.{at}"), reason).with_help(
                    "a secret key is `AGE-SECRET-KEY-1` and 58 more letters and digits, as `age-keygen` writes it",
                )
            })?;
        }
        Ok(())
    }

    async fn run(&self, params: DecryptParams, ports: Transform, call: &Call) -> Result<DecryptOutputs, Failure> {
        let runtime = Handle::current();
        let call = call.clone();
        blocking(move || {
            let identities = identities(&params, &call)?;
            let mut input = Input::new(ports.stdin.blocking(runtime.clone()));
            let mut output = Output::new(ports.stdout.blocking(runtime));
            let mut plain = open(&mut input, &identities)?;
            copy(&mut plain, &mut output, "decrypting")?;
            drop(plain);
            if !input.is_at_end()? {
                return Err(Failure::corrupt("bytes that are no age follow the encrypted stream"));
            }
            Ok(DecryptOutputs { bytes_in: input.taken(), bytes_out: output.end()? })
        })
        .await
    }
}

type Identities = Vec<Box<dyn age::Identity>>;

/// One secret key; the reason never repeats what was written.
fn parse(identity: &str) -> Result<age::x25519::Identity, String> {
    if identity.trim().starts_with("age1") {
        return Err("this is a public key, which only encrypts".to_owned());
    }
    identity.trim().parse().map_err(|reason| format!("this is no age X25519 secret key: {reason}"))
}

fn identities(params: &DecryptParams, call: &Call) -> Result<Identities, Failure> {
    let mut identities: Identities = Vec::new();
    if let Some(passphrase) = &params.passphrase {
        let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.expose().to_owned()));
        identity.set_max_work_factor(WORK_FACTOR_MAX);
        identities.push(Box::new(identity));
    }
    for identity in &params.identities {
        identities.push(Box::new(parse(identity.expose()).map_err(Failure::config)?));
    }
    if let Some(path) = &params.identity_file {
        let shown = path.display();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(IDENTITY_FILE_MAX).read_to_string(&mut text))
            .map_err(|error| Failure::from_io(error, format!("reading the identity file `{shown}`")))?;
        let lines = text.lines().map(str::trim).enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            call.hide(line);
            let identity = parse(line).map_err(|reason| {
                Failure::config(format!("line {} of the identity file `{shown}`: {reason}", at + 1))
            })?;
            identities.push(Box::new(identity));
        }
    }
    if identities.is_empty() {
        return Err(Failure::config("the identity file holds no secret key")
            .with_help("`age-keygen -o FILE` makes one; lines that begin with `#` are comments"));
    }
    Ok(identities)
}

/// Reads the header and finds the key.
fn open<'i>(input: &'i mut Input, identities: &Identities) -> Result<age::stream::StreamReader<Fenced<'i>>, Failure> {
    let head = input.peek(MAGIC.len())?;
    if head.starts_with(ARMOR) {
        return Err(Failure::corrupt("the stream is age in text form (armor), and binary age is read here")
            .with_help("turn it into binary age first, or encrypt without `--armor`"));
    }
    if head != MAGIC {
        return Err(Failure::corrupt("the stream is no age file"));
    }
    let fence = std::rc::Rc::new(Cell::new(HEADER_MAX));
    let fenced = Fenced { input, left: std::rc::Rc::clone(&fence) };
    let opened = age::Decryptor::new_buffered(fenced).map_err(refused)?;
    fence.set(u64::MAX);
    opened.decrypt(identities.iter().map(|identity| identity.as_ref() as &dyn age::Identity)).map_err(refused)
}

fn refused(error: age::DecryptError) -> Failure {
    use age::DecryptError as E;
    match error {
        E::Io(error) => damaged(error, "reading the age header"),
        E::NoMatchingKeys => Failure::unauthorized("none of the keys decrypts this stream")
            .with_help("it was encrypted for other recipients, or with a passphrase where keys were given (or the other way round)"),
        E::DecryptionFailed | E::KeyDecryptionFailed => Failure::unauthorized("the passphrase does not decrypt this stream"),
        E::ExcessiveWork { required, .. } => {
            Failure::rejected(format!("trying the passphrase needs a work factor of {required}, above {WORK_FACTOR_MAX}"))
                .with_help("decrypt it with `age -d`, if you trust where it comes from")
        }
        E::UnknownFormat => Failure::rejected("this version of the age format is not known"),
        error => Failure::corrupt(format!("the age header is damaged: {error}")),
    }
}

/// An input of which only so much may be read, as long as that is said: the header has no length of its own.
struct Fenced<'i> {
    input: &'i mut Input,
    left: std::rc::Rc<Cell<u64>>,
}

impl BufRead for Fenced<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header is longer than 64 KiB"));
        }
        let chunk = self.input.fill_buf()?;
        Ok(&chunk[..chunk.len().min(left)])
    }

    fn consume(&mut self, taken: usize) {
        self.left.set(self.left.get().saturating_sub(taken as u64));
        self.input.consume(taken);
    }
}

impl Read for Fenced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let taken = chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&chunk[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}
