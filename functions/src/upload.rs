//! Writes a stream to an object in a folder or another store, whole or not at all.
//!
//! Takes any bytes. Always holds: the object appears under its name only after the stream was finished, and its manifest
//! after it; a stream that fails, or a step that is stopped, leaves neither a new object nor parts of one, except for a whole
//! object that has already taken an older one's place. Only a killed program
//! leaves parts: a file in `.aquifer-parts` of a folder, a pending multipart upload in a bucket.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Sink;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::{Location, Purpose, Store};
use crate::objects::{self, Manifest, Parts};
use crate::units::Size;

/// `upload`.
#[derive(Debug, Clone, Copy)]
pub struct Upload;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UploadParams {
    /// The folder, bucket or other store. Credentials that are not given here come from the environment; see `docs/reference/stores.md`.
    pub location: Location,
    /// The object's name below the location; it may hold slashes.
    pub name: String,
    /// Whether it may take the place of an existing object.
    #[serde(default)]
    pub overwrite: bool,
    /// In all but folders: the size of the first parts, `5MiB` to `512MiB`. Parts grow to 16 MiB in the first 4 GiB, and from 100 GiB on
    /// have 1/800 of what was sent before (320 MiB at 250 GiB), since there may be only 10,000; none is smaller than this.
    #[serde(default = "part_size")]
    pub part_size: Size,
    /// In buckets and containers: how many parts are sent at once, 2 to 16. Memory: five more parts than this, of the size that they have grown to:
    /// 144 MiB up to 100 GiB unless said otherwise.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 2, max = 16))]
    pub concurrency: usize,
}

fn part_size() -> Size {
    Size(8 << 20)
}

fn concurrency() -> usize {
    4
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadOutputs {
    /// Where the object is, without credentials.
    pub object: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// What it holds, as `download` will say.
    pub r#type: String,
}

impl Function for Upload {
    const NAME: &'static str = "upload";
    const SUMMARY: &'static str =
        "Write a stream to an object in a folder, a bucket or another store, whole or not at all.";
    const REPEAT: &'static str = "Fails where the object exists, and replaces it with `overwrite: true`.";
    type Params = UploadParams;
    type Ports = Sink;
    type Outputs = UploadOutputs;

    fn streams(_: Option<&UploadParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &UploadParams) -> Result<(), ParamError> {
        params.location.check_objects("location")?;
        objects::check_name("name", &params.name)?;
        if !(5 << 20..=512 << 20).contains(&params.part_size.0) {
            return Err(ParamError::new("partSize", "a part has `5MiB` to `512MiB`"));
        }
        if !(2..=16).contains(&params.concurrency) {
            return Err(ParamError::new("concurrency", "it is 2 to 16"));
        }
        Ok(())
    }

    async fn run(&self, params: UploadParams, ports: Sink, call: &Call) -> Result<UploadOutputs, Failure> {
        let name = &params.name;
        let store = Store::open(&params.location, Purpose::Write, call)?;
        // Before anything is sent, and where nobody waits for it yet. An old manifest is read for the answer alone: that to
        // a GET says what is wrong with keys or bucket, that to a HEAD does not.
        let there = async {
            objects::manifest(&store, name).await.map(drop).or_else(objects::unless_damaged)?;
            objects::look(&store, name).await
        };
        if call.or_cancelled(there).await??.is_some() && !params.overwrite {
            return Err(objects::taken(&store.shown(name)));
        }
        let parts = Parts { first: params.part_size.0, concurrency: params.concurrency };
        let written = objects::write(&store, name, parts, params.overwrite, ports.stdin, call).await?;
        let manifest = Manifest::new(&written, &call.run.task, &call.run.id);
        objects::seal(&store, name, &manifest, written.replaced).await?;
        Ok(UploadOutputs {
            object: store.shown(name),
            bytes: written.bytes,
            sha256: written.sha256,
            r#type: manifest.r#type.to_string(),
        })
    }
}
