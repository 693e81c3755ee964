//! What flows through a pipe: a base media type and the wraps around it (`application/vnd.redis.resp+zstd+age`).
//!
//! Takes what functions declare (`Accepts`, `Produces`) and what documents write (`stdout: text/csv`). Gives the answer
//! to one question, asked of every pipe when the plan is made and again when a stored object says what it is: does this
//! reader take that stream? Always holds: the outermost wrap is the last one, and `application/octet-stream` means
//! "bytes of an unknown kind", which every reader may try.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The base type of bytes about which nothing is known.
pub const UNKNOWN: &str = "application/octet-stream";

/// A media type with its wraps, innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct StreamType {
    base: String,
    wraps: Vec<String>,
}

impl StreamType {
    /// Bytes of an unknown kind.
    pub fn unknown() -> Self {
        Self { base: UNKNOWN.into(), wraps: Vec::new() }
    }

    /// The media type without its wraps.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The wraps, innermost first.
    pub fn wraps(&self) -> &[String] {
        &self.wraps
    }

    /// The wrap that has to be taken off first.
    pub fn outermost(&self) -> Option<&str> {
        self.wraps.last().map(String::as_str)
    }

    /// True where nothing at all is known: an unknown base without wraps.
    pub fn is_unknown(&self) -> bool {
        self.base == UNKNOWN && self.wraps.is_empty()
    }

    /// This type inside one more wrap.
    #[must_use]
    pub fn wrapped(mut self, wrap: &str) -> Self {
        self.wraps.push(wrap.to_owned());
        self
    }

    /// This type with its outermost wrap taken off; an unknown stream stays unknown.
    #[must_use]
    pub fn unwrapped(mut self) -> Self {
        self.wraps.pop();
        self
    }
}

impl fmt::Display for StreamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)?;
        self.wraps.iter().try_for_each(|wrap| write!(f, "+{wrap}"))
    }
}

/// A text that is no media type.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no media type: write it as `application/x-thing`, with what wraps it behind it, as in `text/csv+zstd`"
)]
pub struct BadStreamType(String);

impl FromStr for StreamType {
    type Err = BadStreamType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.".contains(&b))
        };
        let mut parts = text.split('+');
        let base = parts.next().unwrap_or_default();
        let sound = base.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
        let wraps: Vec<String> = parts.map(str::to_owned).collect();
        if !sound || !wraps.iter().all(|wrap| token(wrap)) {
            return Err(BadStreamType(text.to_owned()));
        }
        Ok(Self { base: base.to_owned(), wraps })
    }
}

impl TryFrom<String> for StreamType {
    type Error = BadStreamType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StreamType> for String {
    fn from(stream: StreamType) -> Self {
        stream.to_string()
    }
}

/// What a function reads from its stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// Any bytes.
    Any,
    /// Exactly this type, nothing around it.
    Only(StreamType),
    /// Anything whose outermost wrap is one of these.
    Wrapped(Vec<&'static str>),
}

/// What a function writes to its stdout, in terms of what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Produces {
    /// Always this type.
    Exactly(StreamType),
    /// What it reads, unchanged.
    Same,
    /// What it reads, with one more wrap.
    Adds(&'static str),
    /// What it reads, with the outermost wrap taken off.
    TakesOff,
    /// What was stored with the object: known when the run opens it, see [`Writer::declare`](crate::pipe::Writer::declare).
    Stored,
}

/// Both ends of a function. An end that its ports do not have is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// What stdin takes.
    pub stdin: Accepts,
    /// What stdout gives.
    pub stdout: Produces,
}

impl Streams {
    /// Takes any bytes and passes the same kind on.
    pub const ANY: Self = Self { stdin: Accepts::Any, stdout: Produces::Same };
}

/// Why a reader does not take a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reads {wanted}, and this stream is `{found}`")]
pub struct Mismatch {
    /// What the reader takes, in words.
    pub wanted: String,
    /// What the stream is.
    pub found: StreamType,
    /// The step that is missing between the two, where one is known to help.
    pub help: Option<String>,
}

impl Accepts {
    /// Checks one stream against this reader.
    ///
    /// # Errors
    /// A [`Mismatch`] that names the missing step where one wrap too many, or one too few, is the reason.
    pub fn check(&self, found: &StreamType) -> Result<(), Mismatch> {
        if found.is_unknown() {
            return Ok(());
        }
        let mismatch = |wanted: String, help: Option<String>| Err(Mismatch { wanted, found: found.clone(), help });
        match self {
            Self::Any => Ok(()),
            Self::Only(wanted) if wanted == found => Ok(()),
            Self::Only(wanted) => {
                let help = found.outermost().filter(|_| wanted.wraps.len() < found.wraps.len()).map(missing_step);
                mismatch(format!("`{wanted}`"), help)
            }
            Self::Wrapped(wraps) if found.outermost().is_some_and(|outer| wraps.contains(&outer)) => Ok(()),
            Self::Wrapped(wraps) => {
                let wanted = wraps.iter().map(|wrap| format!("`+{wrap}`")).collect::<Vec<_>>().join(" or ");
                let help = found
                    .outermost()
                    .map(missing_step)
                    .or_else(|| Some("nothing is wrapped around this stream: leave this step out".to_owned()));
                mismatch(format!("a stream wrapped in {wanted}"), help)
            }
        }
    }
}

/// Names the function that takes a wrap off; the two families that exist are a convention of the language.
fn missing_step(wrap: &str) -> String {
    let function = if wrap == "age" { "decrypt" } else { "decompress" };
    format!("put a `{function}` step between the two: it takes `+{wrap}` off")
}

impl Produces {
    /// The type written, given the type read (`None` for a function that reads nothing).
    pub fn resolve(&self, stdin: Option<&StreamType>) -> StreamType {
        let read = || stdin.cloned().unwrap_or_else(StreamType::unknown);
        match self {
            Self::Exactly(stream) => stream.clone(),
            Self::Same => read(),
            Self::Adds(wrap) => read().wrapped(wrap),
            Self::TakesOff => read().unwrapped(),
            Self::Stored => StreamType::unknown(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str) -> StreamType {
        text.parse().expect("a sound media type")
    }

    #[test]
    fn a_type_is_written_as_it_was_read() {
        for text in ["text/csv", "application/vnd.redis.resp+zstd+age"] {
            assert_eq!(stream(text).to_string(), text);
        }
        for text in ["", "csv", "text/", "text/csv+", "text/c sv", "/x", "text/a/b"] {
            assert!(text.parse::<StreamType>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrapped_stream_is_refused_with_the_missing_step() {
        let reader = Accepts::Only(stream("application/vnd.redis.resp"));
        assert!(reader.check(&stream("application/vnd.redis.resp")).is_ok());
        assert!(reader.check(&StreamType::unknown()).is_ok());
        let refused = reader.check(&stream("application/vnd.redis.resp+zstd")).expect_err("still wrapped");
        assert!(refused.help.is_some_and(|help| help.contains("`decompress`")));
        let refused = Accepts::Wrapped(vec!["zstd"]).check(&stream("text/csv+zstd+age")).expect_err("still encrypted");
        assert!(refused.help.is_some_and(|help| help.contains("`decrypt`")));
    }

    #[test]
    fn wraps_go_on_and_come_off_in_order() {
        let sealed = Produces::Adds("age").resolve(Some(&Produces::Adds("zstd").resolve(Some(&stream("text/csv")))));
        assert_eq!(sealed.to_string(), "text/csv+zstd+age");
        assert_eq!(Produces::TakesOff.resolve(Some(&sealed)).to_string(), "text/csv+zstd");
        assert!(Produces::TakesOff.resolve(Some(&StreamType::unknown())).is_unknown());
    }
}
