//! Reads a regular file.
//!
//! Takes a path; gives the file's bytes. Always holds: success means that the file had the same size and time of change
//! after the last byte as before the first; a folder, a device, a FIFO or a socket is refused, because reading one may
//! never end.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::pipe::BlockingWriter;
use aquifer_engine::ports::Source;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::codec::blocking;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// `file-read`.
#[derive(Debug, Clone, Copy)]
pub struct FileRead;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileReadParams {
    /// The file; a relative path starts from the folder in which the program runs.
    pub path: PathBuf,
    /// What the file holds, such as `application/vnd.redis.resp+zstd`; `application/octet-stream` (unknown, which every reader may
    /// try) unless said.
    #[serde(default = "StreamType::unknown")]
    pub r#type: StreamType,
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileReadOutputs {
    /// How many bytes the file has.
    pub bytes: u64,
}

impl Function for FileRead {
    const NAME: &'static str = "file-read";
    const SUMMARY: &'static str = "Read a file.";
    const REPEAT: &'static str = "Reads the file again, as it is then.";
    type Params = FileReadParams;
    type Ports = Source;
    type Outputs = FileReadOutputs;

    fn streams(params: Option<&FileReadParams>) -> Streams {
        let stream = params.map_or_else(StreamType::unknown, |params| params.r#type.clone());
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(stream) }
    }

    fn check(params: &FileReadParams) -> Result<(), ParamError> {
        if params.path.as_os_str().is_empty() { Err(ParamError::new("path", "the path is empty")) } else { Ok(()) }
    }

    async fn run(&self, params: FileReadParams, ports: Source, _: &Call) -> Result<FileReadOutputs, Failure> {
        let output = ports.stdout.blocking(Handle::current());
        blocking(move || read(&params.path, output).map(|bytes| FileReadOutputs { bytes })).await
    }
}

fn read(path: &Path, mut output: BlockingWriter) -> Result<u64, Failure> {
    let shown = path.display();
    let failed = |error| Failure::from_io(error, format!("reading `{shown}`"));
    // Asked before it is opened, because opening a FIFO waits for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::rejected(format!("`{shown}` is no regular file")).with_help(
            "to read a device, a FIFO or a folder, use `exec`: `command: [cat, PATH]`, `command: [tar, -c, PATH]`",
        ));
    }
    let mut file = File::open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    let mut bytes = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let count = file.by_ref().take(PIECE as u64).read_to_end(&mut piece).map_err(failed)?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        // The pipe counts bytes, not what was reserved for them.
        piece.shrink_to_fit();
        output.write_chunk(piece.into())?;
    }
    let after = file.metadata().map_err(failed)?;
    let same = |a: &Metadata, b: &Metadata| a.len() == b.len() && a.modified().ok() == b.modified().ok();
    if bytes != before.len() || !same(&before, &after) {
        return Err(Failure::corrupt(format!("`{shown}` was changed while it was read"))
            .with_help("read it when nothing writes to it, or from a snapshot of its file system"));
    }
    Ok(bytes)
}
