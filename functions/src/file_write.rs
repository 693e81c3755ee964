//! Writes a stream to a regular file, whole or not at all.
//!
//! Takes any bytes. Always holds: the file appears under its name only after the stream was finished and its bytes are on
//! the disk (a temporary file beside it, `fsync`, rename, `fsync` of the folder); a failed or stopped step leaves what was
//! there before, and no temporary file. Only a killed program leaves one, called `.NAME.….part`. Without `overwrite` an
//! existing file stays even where it appears at the last moment. What is no regular file (a folder, a device such as
//! `/dev/stdout`, a FIFO, a symbolic link) is refused as a target, since a rename would replace it.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::pipe::BlockingReader;
use aquifer_engine::ports::Sink;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use nix::errno::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::codec::blocking;

/// `file-write`.
#[derive(Debug, Clone, Copy)]
pub struct FileWrite;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileWriteParams {
    /// The file; a relative path starts from the folder in which the program runs. Its folder must exist. Where this program is
    /// killed (`kill -9`, the power) a half-written `.NAME.….part` stays beside it, which may be removed.
    pub path: PathBuf,
    /// Whether it may take the place of an existing file.
    #[serde(default)]
    pub overwrite: bool,
    /// The file's permissions, in octal digits as a text.
    #[serde(default = "private")]
    #[schemars(regex(pattern = r"^[0-7]{3,4}$"))]
    pub mode: String,
}

fn private() -> String {
    "0600".to_owned()
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileWriteOutputs {
    /// The file, as an absolute path.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

impl Function for FileWrite {
    const NAME: &'static str = "file-write";
    const SUMMARY: &'static str = "Write a stream to a file, whole or not at all.";
    const REPEAT: &'static str = "Fails where the file exists, and replaces it with `overwrite: true`.";
    type Params = FileWriteParams;
    type Ports = Sink;
    type Outputs = FileWriteOutputs;

    fn streams(_: Option<&FileWriteParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &FileWriteParams) -> Result<(), ParamError> {
        if params.path.file_name().is_none() {
            return Err(ParamError::new("path", format!("`{}` names no file", params.path.display())));
        }
        mode(&params.mode).map(drop).ok_or_else(|| {
            ParamError::new("mode", format!("`{}` is no mode", params.mode))
                .with_help("write three or four octal digits, such as `\"0640\"`")
        })
    }

    async fn run(&self, params: FileWriteParams, ports: Sink, call: &Call) -> Result<FileWriteOutputs, Failure> {
        let input = ports.stdin.blocking(Handle::current());
        let call = call.clone();
        blocking(move || write(&params, input, &call)).await
    }
}

fn mode(text: &str) -> Option<u32> {
    let sound = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(text, 8).ok().filter(|_| sound)
}

fn write(params: &FileWriteParams, mut input: BlockingReader, call: &Call) -> Result<FileWriteOutputs, Failure> {
    let path = std::path::absolute(&params.path)
        .map_err(|error| Failure::from_io(error, format!("finding `{}`", params.path.display())))?;
    let failed = |error| Failure::from_io(error, format!("writing `{}`", path.display()));
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::config(format!("`{}` names no file", path.display())));
    };
    refuse_taken(&path, params.overwrite)?;
    if !folder.is_dir() {
        return Err(Failure::not_found(format!("the folder `{}` does not exist", folder.display()))
            .with_help("create it first, or correct `path`"));
    }
    // Before anything is written: what cannot be opened must not be found out after the file has its name.
    let opened = File::open(folder).map_err(failed)?;
    let mut part = tempfile::Builder::new()
        .prefix(&format!(".{}.", name.to_string_lossy()))
        .suffix(".part")
        .tempfile_in(folder)
        .map_err(failed)?;

    let (mut digest, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = input.read_chunk()? {
        part.write_all(&chunk).map_err(failed)?;
        digest.update(&chunk);
        bytes += chunk.len() as u64;
    }

    let permissions = Permissions::from_mode(mode(&params.mode).unwrap_or(0o600));
    part.as_file().set_permissions(permissions).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    call.check_cancelled()?;
    let placed = if params.overwrite {
        refuse_taken(&path, true)?;
        part.persist(&path)
    } else {
        part.persist_noclobber(&path)
    };
    placed.map_err(|error| failed(error.error))?;
    if let Err(error) = opened.sync_all() {
        // Some file systems know no fsync of a folder; what they keep after a power cut is theirs to say.
        let unsupported = error.raw_os_error().map(Errno::from_raw);
        if !matches!(unsupported, Some(Errno::EINVAL | Errno::ENOTSUP)) {
            return Err(Failure::from_io(
                error,
                format!("`{}` is written, but its folder could not be synced", path.display()),
            )
            .with_help("the file may be gone after a power cut: look at the disk, and write it again"));
        }
    }
    Ok(FileWriteOutputs { path: path.display().to_string(), bytes, sha256: hex::encode(digest.finalize()) })
}

/// Says why the name cannot be taken, if so. The rename itself decides for good.
fn refuse_taken(path: &Path, overwrite: bool) -> Result<(), Failure> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::from_io(error, format!("looking at `{shown}`"))),
        Ok(found) if !found.is_file() => Err(Failure::rejected(format!("`{shown}` exists and is no regular file"))
            .with_help(
                "for a symbolic link, name the file that it points to; to write to a device or a FIFO, use `exec`",
            )),
        Ok(_) if !overwrite => Err(Failure::rejected(format!("`{shown}` exists"))
            .with_help("write `overwrite: true` to replace it, or put `{{ run.id }}` into its name")),
        Ok(_) => Ok(()),
    }
}
