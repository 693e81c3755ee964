//! Values that must never be shown, and the one place that takes them out of whatever is.
//!
//! Takes secret params and the passwords inside connection URLs. Gives typed values whose `Debug` and `Display` hide
//! them, and a [`Redactor`] through which the engine passes every event, failure and output. Always holds: a value that
//! was handed to the redactor does not leave the engine in a text, however it got into that text.

mod place;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

pub use place::{Place, collect};

/// The schema keyword that marks a field as secret: `true` (all of it) or `"userinfo"` (the password in a URL).
pub const SCHEMA_KEY: &str = "x-secret";

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
        json_schema!({"type": "string", "format": "uri", SCHEMA_KEY: "userinfo"})
    }
}

/// Where the password stands in a URL: between the first `:` of its userinfo and the last `@` of its authority.
pub fn url_password(url: &str) -> Option<(usize, usize)> {
    let authority = url.find("://")? + 3;
    // A password may itself hold `/` or `?` when it was not percent-encoded, so the whole rest is searched for the `@`
    // first and the authority's end only bounds it where there is none before it.
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let at = url[authority..end]
        .rfind('@')
        .map(|at| authority + at)
        .or_else(|| url.rfind('@').filter(|at| *at >= authority))?;
    let colon = authority + url[authority..at].find(':')?;
    (colon + 1 < at).then_some((colon + 1, at))
}

/// Takes known secrets out of texts. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Vec<String>>>);

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Remembers one secret, as it is and as it looks inside a URL or a JSON or debug string. Empty values are nothing to hide.
    pub fn hide(&self, secret: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let encoded: String = secret
            .bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
                _ => format!("%{b:02X}"),
            })
            .collect();
        let escaped = serde_json::Value::from(secret).to_string();
        let escaped = escaped.trim_matches('"').to_owned();
        for form in [secret.to_owned(), encoded, escaped] {
            if !form.is_empty() && !known.contains(&form) {
                known.push(form);
            }
        }
        // Longest first, so that a secret that contains another is taken out whole.
        known.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// Remembers the password inside a URL, if it has one.
    pub fn hide_url(&self, url: &str) {
        if let Some((start, end)) = url_password(url) {
            self.hide(&url[start..end]);
        }
    }

    /// The text with every known secret masked.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = Cow::Borrowed(text);
        for secret in known.iter() {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
        text
    }

    /// The text with every known secret replaced by as many stars as it has bytes. One of fewer than four bytes stands
    /// everywhere, and what is masked for it would show it.
    pub(crate) fn stars(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter(|secret| secret.len() >= 4)
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), &"*".repeat(secret.len())))
    }

    /// Masks known secrets in every string of a value, keys included.
    pub fn redact_value(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.redact(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(map) => {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, mut value)| {
                        self.redact_value(&mut value);
                        (self.redact(&key).into_owned(), value)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
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
            ("redis://me@h", "redis://me@h"),
            ("redis://h:6379", "redis://h:6379"),
            ("/run/redis.sock", "/run/redis.sock"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", SecretUrl::new(url)), shown);
        }
    }

    #[test]
    fn the_redactor_knows_a_secret_in_each_of_its_forms() {
        let redactor = Redactor::default();
        redactor.hide("p\"w d/");
        redactor.hide("");
        assert_eq!(redactor.redact("a p\"w d/ b"), "a *** b");
        assert_eq!(redactor.redact("x://:p%22w%20d%2F@h"), "x://:***@h");
        assert_eq!(redactor.redact(r#"{"k":"p\"w d/"}"#), r#"{"k":"***"}"#);
        redactor.hide("p\"w d/longer");
        assert_eq!(redactor.redact("p\"w d/longer"), "***");
        let mut value = serde_json::json!({"a": ["p\"w d/"], "p\"w d/": 1});
        redactor.redact_value(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["***"], "***": 1}));
    }

    #[test]
    fn secrets_are_found_by_their_places_in_the_schema() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Params {
            url: Option<SecretUrl>,
            env: std::collections::BTreeMap<String, Secret>,
            keys: Vec<Secret>,
            shown: String,
        }
        let mut settings = schemars::generate::SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<Params>();
        let value = serde_json::json!({"url": "x://u:a@h", "env": {"K": "b"}, "keys": ["c", "d"], "shown": "e"});
        let mut found = Vec::new();
        collect(&Place::of(schema.as_value()), &value, &mut |secret| found.push(secret.to_owned()));
        found.sort();
        assert_eq!(found, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_secret_prints_and_serializes_as_the_mask() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(serde_json::json!(secret), serde_json::json!(MASK));
    }
}
