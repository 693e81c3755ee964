//! Room 1: every text that was read, with the name under which a person knows it.
//!
//! Takes texts from files, from the program itself and from whoever embeds the engine. Gives [`SourceId`]s and, for the
//! rest of the way, [`Span`]s: the only thing that travels from here to the last room, so that it can point at the first.
//! Always holds: a span's offsets are bytes of its own source; a source is never changed or dropped once it is in.

use std::path::Path;
use std::sync::Arc;

/// The largest file that is read, in bytes. A Task of ten thousand steps is about a fifth of it.
pub const MAX_BYTES: u64 = 4 << 20;

/// A text's place in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(crate) u32);

/// A part of a text, from `start` to before `end`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Its first byte.
    pub start: u32,
    /// The byte behind its last.
    pub end: u32,
}

impl Span {
    /// A part of a text; offsets behind [`MAX_BYTES`] do not occur.
    pub fn new(source: SourceId, start: usize, end: usize) -> Self {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { source, start: clamp(start), end: clamp(end.max(start)) }
    }

    /// From the start of this one to the end of another in the same text.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { end: self.end.max(other.end), ..self }
    }
}

/// One text.
#[derive(Debug)]
pub struct Source {
    /// What users call it: a path as they gave it, or `built-in:NAME`.
    pub name: String,
    /// Its content.
    pub text: Arc<String>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// All texts that were read. Clones are cheap and share the texts.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Arc<Source>>);

/// Why a file could not become a source.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("`{name}` cannot be read: {error}")]
    Io {
        /// The file.
        name: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is larger than [`MAX_BYTES`].
    #[error("`{name}` is larger than {} MiB, which no definition is", MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        name: String,
    },
    /// It holds bytes that are no text.
    #[error("`{name}` is not UTF-8 text: the first bad byte is number {at}")]
    NotText {
        /// The file.
        name: String,
        /// The place of the first bad byte, from 1.
        at: usize,
    },
}

impl Sources {
    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.0.push(Arc::new(Source { name: name.into(), text: Arc::new(text), lines }));
        SourceId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// The text of this id.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0 as usize]
    }

    /// The part of the text that a span covers.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.source).text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Puts another text of the same length and lines in the place of one.
    pub(crate) fn rewrite(&mut self, id: SourceId, with: impl Fn(&str) -> String) {
        let old = self.get(id);
        let text = Arc::new(with(&old.text));
        debug_assert_eq!(text.len(), old.text.len());
        self.0[id.0 as usize] = Arc::new(Source { name: old.name.clone(), text, lines: old.lines.clone() });
    }

    /// Where a span begins.
    pub fn place(&self, span: Span) -> Place {
        let source = self.get(span.source);
        let at = (span.start as usize).min(source.text.len());
        let line = source.lines.partition_point(|start| *start <= at).max(1);
        let start = source.lines[line - 1];
        let column = source.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        Place { line, column }
    }

    /// `file:line:column`, as editors and terminals understand it.
    pub fn describe(&self, span: Span) -> String {
        let Place { line, column } = self.place(span);
        format!("{}:{line}:{column}", self.get(span.source).name)
    }
}

/// Reads a file, if it is small enough and text.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<String, ReadError> {
    use std::io::Read as _;
    let name = path.display().to_string();
    let io = |error| ReadError::Io { name: name.clone(), error };
    let mut bytes = Vec::new();
    // One byte more than allowed: a device or a pipe says nothing about its size beforehand.
    std::fs::File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge { name });
    }
    String::from_utf8(bytes).map_err(|error| ReadError::NotText { name, at: error.utf8_error().valid_up_to() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_found_by_line_and_character() {
        let mut sources = Sources::default();
        let id = sources.add("a.yaml", "a: 1\nü: x\n");
        let at = |start| sources.place(Span::new(id, start, start + 1));
        assert_eq!(at(0), Place { line: 1, column: 1 });
        assert_eq!(at(5), Place { line: 2, column: 1 });
        assert_eq!(at(9), Place { line: 2, column: 4 });
        assert_eq!(at(11), Place { line: 3, column: 1 });
        assert_eq!(at(500), Place { line: 3, column: 1 });
        assert_eq!(sources.describe(Span::new(id, 9, 10)), "a.yaml:2:4");
    }

    #[test]
    fn what_is_no_small_text_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        assert!(matches!(read(&file), Err(ReadError::Io { .. })));
        std::fs::write(&file, b"a: \xff").expect("it is written");
        assert!(matches!(read(&file), Err(ReadError::NotText { at: 4, .. })));
        std::fs::write(&file, vec![b'#'; MAX_BYTES as usize + 1]).expect("it is written");
        assert!(matches!(read(&file), Err(ReadError::TooLarge { .. })));
        std::fs::write(&file, vec![b'#'; MAX_BYTES as usize]).expect("it is written");
        assert!(read(&file).is_ok());
    }
}
