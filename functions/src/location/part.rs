//! A file of a folder while it is written.
//!
//! Takes its bytes, and its name once it is whole. Always holds: until then it lies below [`PARTS`], where nobody takes it for the
//! file that it becomes; with its name it is durable, as is the name; one that is dropped is removed, and one that a killed program left
//! goes a day later, but never while somebody still writes it.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// Below a folder: where files are written before they get their names. On the same file system, so that the last step is a rename.
pub(crate) const PARTS: &str = ".aquifer-parts";

/// How old a half-written file is before nobody can be writing it any more.
pub(super) const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);

/// How many bytes of small pieces are written at once.
const TOGETHER: usize = 64 << 10;

/// A file that has no name yet.
#[derive(Debug)]
pub(crate) struct Part {
    folder: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Part {
    /// Begins one below a folder. For blocking threads, as all of it.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn begin(folder: &Path) -> std::io::Result<Self> {
        let parts = folder.join(PARTS);
        std::fs::create_dir_all(&parts)?;
        let file = tempfile::Builder::new().suffix(".part").tempfile_in(&parts)?;
        // Its bytes may come from a stream that stands still for days. Not every file system knows locks: there its age must do.
        _ = file.as_file().try_lock();
        Ok(Self { folder: folder.to_owned(), file: BufWriter::with_capacity(TOGETHER, file) })
    }

    /// Writes more of it.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes it durable, gives it its name below the folder, and makes that durable too.
    ///
    /// # Errors
    /// The file system refuses it; without `replace`, also where there is a file of that name. Then nothing of it is left.
    pub(crate) fn place(self, name: &str, replace: bool) -> std::io::Result<()> {
        let path = self.folder.join(name);
        let parent = path.parent().unwrap_or(&self.folder);
        if !parent.is_dir() {
            std::fs::create_dir_all(parent)?;
            if let Some(above) = parent.parent() {
                File::open(above)?.sync_all()?;
            }
        }
        let file = self.file.into_inner().map_err(IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        let placed = if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
        placed.map_err(|error| error.error)?;
        File::open(parent)?.sync_all()
    }
}

/// Removes what killed programs left half-written a day ago or earlier. What cannot be removed does no harm.
pub(super) fn sweep(folder: &Path) {
    let old = |about: std::fs::Metadata| {
        about.is_file() && about.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT_OVER)
    };
    let held = |path: &Path| {
        let locked = File::open(path).map(|file| file.try_lock());
        matches!(locked, Ok(Err(std::fs::TryLockError::WouldBlock)))
    };
    for entry in std::fs::read_dir(folder.join(PARTS)).into_iter().flatten().flatten() {
        if entry.metadata().is_ok_and(old) && !held(&entry.path()) {
            _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn parts(folder: &Path) -> usize {
        std::fs::read_dir(folder.join(PARTS)).expect("a folder").count()
    }

    fn age(part: &Part) {
        let old = SystemTime::now() - LEFT_OVER - Duration::from_secs(60);
        part.file.get_ref().as_file().set_modified(old).expect("set");
    }

    #[test]
    fn it_has_no_name_before_it_is_whole_and_leaves_nothing_where_it_never_is() {
        let place = tempfile::tempdir().expect("a folder");
        let mut part = Part::begin(place.path()).expect("begun");
        part.write(b"one ").expect("written");
        assert!(!place.path().join("data").exists());
        part.write(&[b'2'; 2 * TOGETHER]).expect("written");
        part.write(b" three").expect("written");
        part.place("data/ab/abcd", false).expect("placed");
        let whole = std::fs::read(place.path().join("data/ab/abcd")).expect("there");
        assert_eq!(whole, [b"one ", &[b'2'; 2 * TOGETHER][..], b" three"].concat());
        let mut other = Part::begin(place.path()).expect("begun");
        other.write(b"other").expect("written");
        other.place("data/ab/abcd", false).expect_err("there is one");
        assert_eq!(std::fs::read(place.path().join("data/ab/abcd")).expect("there"), whole);
        let mut dropped = Part::begin(place.path()).expect("begun");
        dropped.write(b"dropped").expect("written");
        assert_eq!(parts(place.path()), 1);
        drop(dropped);
        assert_eq!(parts(place.path()), 0);
    }

    #[test]
    fn what_is_still_written_is_not_swept_however_long_it_stands_still() {
        let place = tempfile::tempdir().expect("a folder");
        let (held, left) = (Part::begin(place.path()).expect("begun"), Part::begin(place.path()).expect("begun"));
        age(&held);
        age(&left);
        // As when its program was killed: the file stays, and nobody holds it.
        let left = left.file.into_inner().expect("empty").keep().expect("kept").1;
        sweep(place.path());
        assert!(!left.exists());
        assert_eq!(parts(place.path()), 1);
        held.place("whole", false).expect("still there");
    }
}
