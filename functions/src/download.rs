//! Reads an object from a folder or another store, and checks that it is what was written.
//!
//! Takes what `upload` wrote. Gives its bytes, and says what they are before the first one. Always holds: success means that
//! size and SHA-256 are those of the manifest; an object without one is refused unless it is called for.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Source;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use futures::TryStreamExt;
use opendal::{ErrorKind, Metadata};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::location::{Location, Purpose, Store};
use crate::objects::{self, Manifest};

/// How much is asked for at once, and how many such pieces are under way or waiting.
const PIECE: usize = 8 << 20;
const AHEAD: usize = 3;

/// `download`.
#[derive(Debug, Clone, Copy)]
pub struct Download;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DownloadParams {
    /// The folder, bucket or other store. Credentials that are not given here come from the environment; see `docs/reference/stores.md`.
    pub location: Location,
    /// The object's name below the location.
    pub name: String,
    /// Whether to read an object without its manifest, such as one that something else wrote. What was damaged or cut off is
    /// then not found out.
    #[serde(default)]
    pub unverified: bool,
    /// With `unverified`: what the object holds, such as `application/vnd.redis.resp+zstd`; unknown, which every reader may try,
    /// unless said.
    #[serde(default)]
    pub r#type: Option<StreamType>,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadOutputs {
    /// Where the object is, without credentials.
    pub object: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// What it holds.
    pub r#type: String,
}

impl Function for Download {
    const NAME: &'static str = "download";
    const SUMMARY: &'static str =
        "Read an object from a folder, a bucket or another store, and check that it is whole.";
    const REPEAT: &'static str = "Reads the object again, as it is then.";
    type Params = DownloadParams;
    type Ports = Source;
    type Outputs = DownloadOutputs;

    fn streams(params: Option<&DownloadParams>) -> Streams {
        let stdout = match params.and_then(|params| params.r#type.clone()) {
            Some(stream) => Produces::Exactly(stream),
            None => Produces::Stored,
        };
        Streams { stdin: Accepts::Any, stdout }
    }

    fn check(params: &DownloadParams) -> Result<(), ParamError> {
        params.location.check_objects("location")?;
        objects::check_name("name", &params.name)?;
        if params.r#type.is_some() && !params.unverified {
            return Err(ParamError::new("type", "the type is that of the manifest")
                .with_help("leave it out, or read the object without its manifest: `unverified: true`"));
        }
        Ok(())
    }

    async fn run(&self, params: DownloadParams, mut ports: Source, call: &Call) -> Result<DownloadOutputs, Failure> {
        let store = Store::open(&params.location, Purpose::Read, call)?;
        let shown = store.shown(&params.name);
        let (manifest, found) = call.or_cancelled(looked_up(&store, &params)).await??;
        let stream = match &manifest {
            Some(manifest) => {
                agree(&shown, manifest, found.content_length())?;
                manifest.r#type.clone()
            }
            None => params.r#type.unwrap_or_else(StreamType::unknown),
        };
        ports.stdout.declare(stream.clone())?;

        let failed = |error: opendal::Error| match error.kind() {
            ErrorKind::ConditionNotMatch => Failure::corrupt(format!("`{shown}` was replaced while it was read")),
            _ => store.failed(&error, &format!("reading `{shown}`")),
        };
        let mut reading = store.operator().reader_with(&params.name).chunk(PIECE).concurrent(AHEAD);
        // Pieces of two objects must not be put together. A file's handle sees to that by itself.
        if let (None, Some(etag)) = (store.folder(), found.etag()) {
            reading = reading.if_match(etag);
        }
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        if found.content_length() > 0 {
            let reader = reading.await.map_err(failed)?;
            let mut pieces = reader.into_bytes_stream(0..found.content_length()).await.map_err(failed)?;
            while let Some(piece) = call
                .or_cancelled(pieces.try_next())
                .await?
                .map_err(|error| Failure::from_io(error, format!("reading `{shown}`")))?
            {
                digest.update(&piece);
                bytes += piece.len() as u64;
                ports.stdout.write(piece).await?;
            }
        }
        let sha256 = hex::encode(digest.finalize());
        if let Some(manifest) = &manifest {
            agree(&shown, manifest, bytes)?;
            if sha256 != manifest.sha256 {
                return Err(Failure::corrupt(format!(
                    "`{shown}` was altered: its SHA-256 is `{sha256}`, and its manifest says `{}`",
                    manifest.sha256
                ))
                .with_help(WHY_NOT));
            }
        }
        Ok(DownloadOutputs { object: shown.clone(), bytes, sha256, r#type: stream.to_string() })
    }
}

const WHY_NOT: &str =
    "the object was damaged or replaced, or an upload that was to overwrite it was ended before its last step";

/// The manifest, where one is asked for, and what is known of the object.
async fn looked_up(store: &Store, params: &DownloadParams) -> Result<(Option<Manifest>, Metadata), Failure> {
    let (name, shown) = (&params.name, store.shown(&params.name));
    let manifest = if params.unverified { None } else { objects::manifest(store, name).await? };
    let Some(found) = objects::look(store, name).await? else {
        return Err(Failure::not_found(format!("`{shown}` does not exist")));
    };
    if manifest.is_none() && !params.unverified {
        return Err(Failure::not_found(format!("`{shown}` has no manifest, so it is no complete backup")).with_help(
            "its upload was ended before its last step, or something else wrote it; \
             to read it without a check that it is whole, write `unverified: true`",
        ));
    }
    Ok((manifest, found))
}

fn agree(shown: &str, manifest: &Manifest, bytes: u64) -> Result<(), Failure> {
    if bytes == manifest.bytes {
        return Ok(());
    }
    let what = format!("`{shown}` has {bytes} bytes, and its manifest says {}", manifest.bytes);
    Err(Failure::corrupt(what).with_help(WHY_NOT))
}
