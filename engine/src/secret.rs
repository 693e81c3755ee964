//! Values that must never be shown, and the one place that takes them out of whatever is.
//!
//! Takes secret params and the passwords inside connection URLs. Gives typed values whose `Debug` and `Display` hide
//! them, and a [`Redactor`] through which the engine passes every event, failure and output on its way to whoever watches.
//! Always holds: a value that was handed to the redactor does not leave the engine in a text, however it got into that
//! text; what steps hand to one another is never masked, because a masked value is a wrong value.

mod place;
mod redactor;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

pub use place::{Place, collect, shown_place};
pub use redactor::Redactor;

/// The schema keyword that marks a field as secret: `true` (all of it), [`IN_URL`] or [`MAYBE`].
pub const SCHEMA_KEY: &str = "x-secret";

/// The mark of a place where only the password in a URL is secret.
pub const IN_URL: &str = "userinfo";

/// The mark of a place that is never shown, and of whose values only those of [`SHORTEST_MAYBE`] bytes and more are
/// looked for elsewhere.
pub const MAYBE: &str = "maybe";

/// From this length on a value of a [`MAYBE`] place is masked wherever it turns up. What is shorter is a switch or a name
/// (`1`, `true`, `utf8`) far more often than a secret, and masking it would make every digest and every count unreadable.
pub const SHORTEST_MAYBE: usize = 6;

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// A param that is never shown. Read it with [`Secret::expose`], as late as possible.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: to be passed on to what needs it and to nothing that prints.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true, SCHEMA_KEY: true})
    }
}

/// A param that may be a secret or not, as an environment variable may: never shown where it stands, and masked elsewhere
/// if it is not too short to mean anything.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct MaybeSecret(String);

impl MaybeSecret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: to be passed on to what needs it and to nothing that prints.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MaybeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for MaybeSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl JsonSchema for MaybeSecret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaybeSecret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true, SCHEMA_KEY: MAYBE})
    }
}

/// A URL that may carry a password (`scheme://user:password@host`); shown with the password masked.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL as written.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL with its password: for the client that connects, never for a text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match url_password(&self.0) {
            Some((start, end)) => write!(f, "{}{MASK}{}", &self.0[..start], &self.0[end..]),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SecretUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecretUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "uri", SCHEMA_KEY: IN_URL})
    }
}

/// Where the password stands in a URL: between the first `:` of its userinfo and the last `@` of the whole text. A password
/// may itself hold `@`, `/`, `?` or `#` where nobody percent-encoded it, so everything up to that `@` counts as secret.
pub fn url_password(url: &str) -> Option<(usize, usize)> {
    // A text without a scheme may be a URL whose scheme was forgotten; one that begins with `/` is a path.
    let begin = url.find("://").map(|at| at + 3).or_else(|| (!url.starts_with('/')).then_some(0))?;
    let at = url.rfind('@').filter(|at| *at >= begin)?;
    let user = &url[begin..at];
    let start = match user.find(':') {
        Some(colon) => begin + colon + 1,
        // No user's name has these, so it is a password in the wrong place. Where a path begins at once, there is no user.
        None if user.contains(['/', '?', '#']) && !user.starts_with('/') => begin,
        None => return None,
    };
    (start < at).then_some((start, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        for (url, shown) in [
            ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
            ("rediss://me:p@ss@h", "rediss://me:***@h"),
            ("redis://me:p/a?s@h/1", "redis://me:***@h/1"),
            ("redis://me:p@a/s@h/1", "redis://me:***@h/1"),
            ("redis://me:p@a/s@x?y@h/1", "redis://me:***@h/1"),
            ("redis://me:p@a/b/1?db=@h", "redis://me:***@h"),
            ("redis://p/ass@h/1", "redis://***@h/1"),
            (":hunter2@h:1", ":***@h:1"),
            ("redis:/me:hunter2@h:1", "redis:***@h:1"),
            ("redis+unix:///run/a@b.sock", "redis+unix:///run/a@b.sock"),
            ("http://me:p@a/s@gateway:9091/x", "http://me:***@gateway:9091/x"),
            ("redis://me@h", "redis://me@h"),
            ("redis://h:6379", "redis://h:6379"),
            ("/run/redis.sock", "/run/redis.sock"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", SecretUrl::new(url)), shown);
        }
    }

    #[test]
    fn a_secret_prints_and_serializes_as_the_mask() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(serde_json::json!(secret), serde_json::json!(MASK));
    }
}
