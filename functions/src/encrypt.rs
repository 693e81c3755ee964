//! Encrypts a stream in the age format (age-encryption.org/v1).
//!
//! Takes any bytes, and X25519 recipients or a passphrase; gives one binary age file. Always holds: each piece of 64 KiB
//! is authenticated in its place and the last one is marked, so that whoever decrypts notices any change and any cut.

use std::io::Write;

use age::secrecy::SecretString;
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Transform;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::{Accepts, Produces, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::{Output, blocking};

/// What `age -p` uses: scrypt with N = 2^18, about a second and 256 MiB of memory.
const WORK_FACTOR: u8 = 18;

/// How many recipients there may be: `decrypt` reads no more than 64 KiB of header, of which each takes about 100 bytes.
const MOST_RECIPIENTS: usize = 500;

/// `encrypt`.
#[derive(Debug, Clone, Copy)]
pub struct Encrypt;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptParams {
    /// Who may decrypt it: age X25519 recipients (`age1…`), each of whom can by themselves. Either this or `passphrase`.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// A passphrase that decrypts it. Either this or `recipients`.
    #[serde(default)]
    pub passphrase: Option<Secret>,
    /// How costly it is to try a passphrase: scrypt with N = 2^workFactor, which takes 2^workFactor KiB of memory here and when
    /// decrypting. From 10 to 22; 18 unless said, as `age` has it. Only with `passphrase`.
    #[serde(default)]
    #[schemars(range(min = 10, max = 22))]
    pub work_factor: Option<u8>,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncryptOutputs {
    /// How many bytes it read.
    pub bytes_in: u64,
    /// How many bytes it wrote.
    pub bytes_out: u64,
}

impl Function for Encrypt {
    const NAME: &'static str = "encrypt";
    const SUMMARY: &'static str = "Encrypt a stream with age, for recipients or with a passphrase.";
    const REPEAT: &'static str =
        "Gives other bytes each time, since each run draws a new key; they decrypt to the same.";
    type Params = EncryptParams;
    type Ports = Transform;
    type Outputs = EncryptOutputs;

    fn streams(_: Option<&EncryptParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Adds("age") }
    }

    fn check(params: &EncryptParams) -> Result<(), ParamError> {
        match (&params.passphrase, params.recipients.is_empty()) {
            (None, true) => {
                return Err(ParamError::new(
                    "",
                    "nobody could decrypt this: there are neither `recipients` nor a `passphrase`",
                )
                .with_help("write `recipients: [age1…]`; `age-keygen` makes a pair of keys"));
            }
            (Some(_), false) => {
                return Err(ParamError::new("passphrase", "`passphrase` and `recipients` exclude each other")
                    .with_help("age encrypts for recipients or with a passphrase: leave one of them out"));
            }
            (Some(passphrase), true) if passphrase.expose().is_empty() => {
                return Err(ParamError::new("passphrase", "the passphrase is empty"));
            }
            _ => {}
        }
        if let Some(factor) = params.work_factor {
            if params.passphrase.is_none() {
                return Err(ParamError::new("workFactor", "`workFactor` only goes with `passphrase`"));
            }
            if !(10..=22).contains(&factor) {
                return Err(ParamError::new("workFactor", format!("`{factor}` is not from 10 to 22"))
                    .with_help("leave it out for 18, which is what `age` uses"));
            }
        }
        if params.recipients.len() > MOST_RECIPIENTS {
            let message =
                format!("there are {} recipients, and a header takes {MOST_RECIPIENTS}", params.recipients.len());
            return Err(ParamError::new("recipients", message)
                .with_help("encrypt for one key, and give that key to all who may decrypt"));
        }
        for (at, recipient) in params.recipients.iter().enumerate() {
            parse(at, recipient)?;
        }
        Ok(())
    }

    async fn run(&self, params: EncryptParams, ports: Transform, _: &Call) -> Result<EncryptOutputs, Failure> {
        let runtime = Handle::current();
        blocking(move || {
            let mut input = ports.stdin.blocking(runtime.clone());
            let mut output = Output::new(ports.stdout.blocking(runtime));
            let failed = |error| Failure::from_io(error, "encrypting");
            let mut sealed = encryptor(&params)?.wrap_output(&mut output).map_err(failed)?;
            let mut bytes_in = 0;
            while let Some(chunk) = input.read_chunk()? {
                sealed.write_all(&chunk).map_err(failed)?;
                bytes_in += chunk.len() as u64;
            }
            sealed.finish().map_err(failed)?;
            Ok(EncryptOutputs { bytes_in, bytes_out: output.end()? })
        })
        .await
    }
}

/// One recipient; what was written is not repeated, since a secret key is easily put here by mistake.
fn parse(at: usize, recipient: &str) -> Result<age::x25519::Recipient, ParamError> {
    recipient.trim().parse().map_err(|reason: &str| {
        let at = format!("recipients.{at}");
        if recipient.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            ParamError::new(at, "this is a secret key, which belongs to `decrypt`")
                .with_help("write its public key (`age-keygen -y KEYFILE` shows it), and treat this one as known to others")
        } else {
            ParamError::new(at, format!("this is no age X25519 recipient: {reason}"))
                .with_help("a recipient is `age1` and 58 more letters and digits; keys of other kinds (ssh, plugins) are not taken")
        }
    })
}

fn encryptor(params: &EncryptParams) -> Result<age::Encryptor, Failure> {
    let no_encryptor = |error: age::EncryptError| Failure::config(format!("cannot encrypt for these: {error}"));
    if let Some(passphrase) = &params.passphrase {
        let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.expose().to_owned()));
        recipient.set_work_factor(params.work_factor.unwrap_or(WORK_FACTOR));
        return age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            .map_err(no_encryptor);
    }
    let recipients = params
        .recipients
        .iter()
        .enumerate()
        .map(|(at, recipient)| parse(at, recipient))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::config(error.to_string()))?;
    age::Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn age::Recipient))
        .map_err(no_encryptor)
}
