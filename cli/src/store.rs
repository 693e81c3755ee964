//! Where `--report` goes. Takes the path before the run, so that what is wrong with it is said then; gives the report to it
//! after the run.
//!
//! Always holds: a regular file holds the whole report or what it held before; what is no regular file (`/dev/stdout`, a
//! FIFO, a link) is written to and never replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aquifer_engine::report::Report;
use tempfile::NamedTempFile;

use crate::exit::Exit;
use crate::print;

/// A place for a report.
pub(crate) enum Store {
    /// stdout.
    Stdout,
    /// A file that appears, or is replaced, as a whole, and its folder.
    Whole(PathBuf, PathBuf),
    /// Something that is written to as it is.
    Plain(File),
}

impl Store {
    /// Opens it, or sees that it can be written, before anything runs.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!("the report cannot be written to `{}`: {error}; nothing was run", path.display())
        };
        // A report and the words for people would make one text that is neither.
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self::Stdout);
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => OpenOptions::new().write(true).open(path).map(Self::Plain).map_err(failed),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            Ok(_) | Err(_) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                // Only to see that it can be; it is not to lie there while the run may be storing this very folder.
                drop(NamedTempFile::new_in(folder).map_err(failed)?);
                Ok(Self::Whole(path.to_owned(), folder.to_owned()))
            }
        }
    }

    /// Whether the report takes the place of what is printed for people.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Writes the report.
    pub(crate) fn write(self, report: &Report) -> io::Result<Exit> {
        let text = serde_json::to_string_pretty(report)?;
        match self {
            Self::Stdout => return Ok(print::result(&text)),
            Self::Plain(mut file) => {
                // A symbolic link may lead to a longer file; a device or a FIFO has no length to set.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                writeln!(file, "{text}")?;
            }
            Self::Whole(path, folder) => {
                let mut file = NamedTempFile::new_in(folder)?;
                writeln!(file, "{text}")?;
                file.as_file().sync_all()?;
                file.persist(path).map_err(|error| error.error)?;
            }
        }
        Ok(Exit::Success)
    }
}
