//! The manifest: what an object holds, in a small JSON object beside it.
//!
//! Takes what `upload` knows once the object is complete. Gives the text, and the same back from a text. Always holds: a
//! text that is not whole is told apart from one that a newer version wrote; what is not known is passed over.

use aquifer_engine::failure::Failure;
use aquifer_engine::stream::StreamType;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Written;

/// What a manifest's name has behind its object's.
pub(super) const ENDING: &str = ".manifest.json";

/// The version that is written, and the newest that is read.
const VERSION: u64 = 1;

/// Far more than a manifest ever has.
const LARGEST: usize = 64 << 10;

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    /// The form's version.
    aquifer_object: u64,
    /// How many bytes the object has.
    pub(crate) bytes: u64,
    /// Their SHA-256, in lower-case hexadecimal.
    pub(crate) sha256: String,
    /// What they are.
    pub(crate) r#type: StreamType,
    /// When the object was complete.
    created: Timestamp,
    /// The task that wrote it, and its run.
    task: String,
    run: String,
}

/// The name of an object's manifest.
pub(super) fn name_of(object: &str) -> String {
    format!("{object}{ENDING}")
}

impl Manifest {
    /// Of an object that has just been completed.
    pub(crate) fn new(written: &Written, task: &str, run: &str) -> Self {
        Self {
            aquifer_object: VERSION,
            bytes: written.bytes,
            sha256: written.sha256.clone(),
            r#type: written.stream.clone(),
            created: Timestamp::now(),
            task: task.to_owned(),
            run: run.to_owned(),
        }
    }

    /// The text that is stored.
    pub(super) fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.unwrap_or_else(|_| unreachable!("texts and numbers are always JSON")) + "\n"
    }

    /// Reads a text; `shown` is its place.
    ///
    /// # Errors
    /// It is damaged, or of a newer version.
    pub(super) fn parse(text: &[u8], shown: &str) -> Result<Self, Failure> {
        let damaged = |why: &str| Failure::corrupt(format!("the manifest `{shown}` is damaged: {why}"));
        if text.len() > LARGEST {
            return Err(damaged("it is too large"));
        }
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| damaged(&format!("it is no JSON ({error})")))?;
        match value["aquiferObject"].as_u64() {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => {
                return Err(Failure::rejected(format!("the manifest `{shown}` is of version {newer}"))
                    .with_help("it was written by a newer version of Aquifer: read it with that"));
            }
            _ => return Err(damaged("it has no `aquiferObject`, the version of its form")),
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| damaged(&error.to_string()))?;
        let digest = &manifest.sha256;
        if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(damaged("its `sha256` is no SHA-256"));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use aquifer_engine::failure::FailureKind;

    use super::*;

    fn sample() -> Manifest {
        let stream = "text/csv+zstd".parse().expect("a type");
        Manifest::new(&Written { bytes: 7, sha256: "ab".repeat(32), stream, replaced: false }, "backup", "r1")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = sample().to_text();
        assert_eq!(Manifest::parse(text.as_bytes(), "m").expect("sound"), sample_at(&text));
        let more = text.replacen('{', "{\"later\": 1,", 1);
        assert_eq!(Manifest::parse(more.as_bytes(), "m").expect("sound").bytes, 7);
    }

    fn sample_at(text: &str) -> Manifest {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        Manifest { created: value["created"].as_str().expect("a text").parse().expect("a time"), ..sample() }
    }

    #[test]
    fn a_damaged_text_is_told_from_a_newer_one() {
        let text = sample().to_text();
        for (damaged, kind) in [
            (text[..text.len() - 5].to_owned(), FailureKind::Corrupt),
            (text.replace("\"bytes\": 7", "\"bytes\": -7"), FailureKind::Corrupt),
            (text.replace("abab", "ab"), FailureKind::Corrupt),
            (text.replace("abab", "ABAB"), FailureKind::Corrupt),
            (text.replace("text/csv", "text csv"), FailureKind::Corrupt),
            (text.replace("aquiferObject", "object"), FailureKind::Corrupt),
            (text.replace("\"aquiferObject\": 1", "\"aquiferObject\": 2"), FailureKind::Rejected),
            (" ".repeat(LARGEST + 1), FailureKind::Corrupt),
            (String::new(), FailureKind::Corrupt),
            ("[]".to_owned(), FailureKind::Corrupt),
        ] {
            assert_ne!(damaged, text, "the case changes nothing");
            assert_eq!(Manifest::parse(damaged.as_bytes(), "m").expect_err("refused").kind, kind, "{damaged}");
        }
    }
}
