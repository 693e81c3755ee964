//! Values that must never be shown, and the one place that takes them out of whatever is.
//!
//! Takes secret params and the passwords inside connection URLs. Gives typed values whose `Debug` and `Display` hide
//! them, and a [`Redactor`] through which the engine passes every event, failure and output on its way to whoever watches.
//! Always holds: a value that was handed to the redactor does not leave the engine in a text, however it got into that
//! text; what steps hand to one another is never masked, because a masked value is a wrong value.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

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

/// From this length on a line of a secret is looked for by itself.
const SHORTEST_LINE: usize = 8;

/// A line that is longer than this is also known by its beginning, since whoever prints it may cut it.
const LONG_LINE: usize = 256;

/// How much of a long line's beginning is looked for.
const BEGINNING: usize = 32;

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
pub struct Redactor(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// What is looked for, longest first, so that a secret that contains another is taken out whole.
    forms: Vec<String>,
    /// Long lines of secrets, which are found by their beginning.
    long: Vec<String>,
}

impl Known {
    fn add(&mut self, secret: &str) {
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
            if !form.is_empty() && !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
    }
}

/// A line as messages have it: what is no text is left out, and a tabulator is a space.
fn as_said(line: &str) -> String {
    let line: String = line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    line.trim().to_owned()
}

/// How many of the first bytes are the same in both, in whole characters.
fn same_beginning(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Remembers one secret, as it is and as it looks inside a URL or a JSON or debug string; without white space around
    /// it; and where it has several lines, each that is long enough to be known again. Empty values are nothing to hide.
    pub fn hide(&self, secret: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.add(secret);
        known.add(secret.trim());
        let lines: Vec<&str> = secret.split(['\n', '\r']).collect();
        for line in &lines {
            let said = as_said(line);
            if lines.len() == 1 || said.len() >= SHORTEST_LINE {
                known.add(&said);
            }
            if said.len() > LONG_LINE && !known.long.contains(&said) {
                known.long.push(said);
            }
        }
        known.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// True where a text holds a secret that is too long to stand in it by chance.
    pub fn finds(&self, text: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.forms.iter().any(|form| form.len() >= SHORTEST_LINE && text.contains(form.as_str()))
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
        for secret in &known.forms {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
        for line in &known.long {
            let beginning = &line[..line.floor_char_boundary(BEGINNING)];
            while let Some(at) = text.find(beginning) {
                let end = at + same_beginning(&text[at..], line);
                text.to_mut().replace_range(at..end, MASK);
            }
        }
        text
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

/// Gives every secret inside a value to `found`, by the places that its schema marks with [`SCHEMA_KEY`]; of a [`MAYBE`]
/// place, what is long enough. The schema has its definitions inlined.
pub fn collect(schema: &serde_json::Value, value: &serde_json::Value, found: &mut impl FnMut(&str)) {
    use serde_json::Value;
    match (schema.get(SCHEMA_KEY), value) {
        (Some(Value::Bool(true)), Value::String(secret)) => found(secret),
        (Some(Value::String(mark)), Value::String(value)) if mark == MAYBE && value.len() >= SHORTEST_MAYBE => {
            found(value);
        }
        (Some(Value::String(mark)), Value::String(url)) if mark == IN_URL => {
            if let Some((start, end)) = url_password(url) {
                found(&url[start..end]);
            }
        }
        _ => {}
    }
    for choices in ["anyOf", "oneOf", "allOf"] {
        for choice in schema.get(choices).and_then(Value::as_array).into_iter().flatten() {
            collect(choice, value, found);
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let declared = schema.get("properties").and_then(|known| known.get(name));
                if let Some(schema) = declared.or_else(|| schema.get("additionalProperties")) {
                    collect(schema, field, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter().for_each(|item| collect(schema, item, found));
            }
        }
        _ => {}
    }
}

/// The first place of a value that is shown and holds one of these texts, by the schema of what takes it.
pub fn shown_place(schema: &serde_json::Value, value: &serde_json::Value, texts: &[String]) -> Option<String> {
    fn walk(schemas: &[&serde_json::Value], value: &serde_json::Value, texts: &[String]) -> Option<String> {
        use serde_json::Value;
        let mut all = schemas.to_vec();
        let mut at = 0;
        while let Some(schema) = all.get(at) {
            let choices = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
            let choices: Vec<&Value> = choices.collect();
            all.extend(choices);
            at += 1;
        }
        if all.iter().any(|schema| schema.get(SCHEMA_KEY).is_some_and(|mark| *mark != Value::Bool(false))) {
            return None;
        }
        match value {
            Value::String(text) => texts.iter().any(|secret| text.contains(secret.as_str())).then(String::new),
            Value::Array(items) => {
                let schemas: Vec<&Value> = all.iter().filter_map(|schema| schema.get("items")).collect();
                let mut places = items.iter().enumerate();
                places.find_map(|(at, item)| Some(format!("[{at}]{}", walk(&schemas, item, texts)?)))
            }
            Value::Object(fields) => fields.iter().find_map(|(name, field)| {
                let declared: Vec<&Value> =
                    all.iter().filter_map(|schema| schema.get("properties")?.get(name)).collect();
                let schemas = if declared.is_empty() {
                    all.iter().filter_map(|schema| schema.get("additionalProperties")).collect()
                } else {
                    declared
                };
                Some(format!(".{name}{}", walk(&schemas, field, texts)?))
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    let place = walk(&[schema], value, texts)?;
    Some(place.trim_start_matches('.').to_owned())
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
    fn a_secret_of_several_lines_is_known_by_its_lines_and_a_long_one_by_its_beginning() {
        let redactor = Redactor::default();
        let long = "0123456789".repeat(500);
        redactor.hide(&format!(" first line\t!\r\nthe\n{long}\n"));
        assert_eq!(redactor.redact("x first line ! y"), "x *** y");
        assert_eq!(redactor.redact("the rest"), "the rest");
        assert_eq!(redactor.redact(&format!("a {} […] and {} b", &long[..4000], &long[..300])), "a *** […] and *** b");
        assert_eq!(redactor.redact(&long[..20]), &long[..20]);
        let redactor = Redactor::default();
        redactor.hide("hunter2\n");
        assert_eq!(redactor.redact("it is hunter2"), "it is ***");
        assert!(!redactor.finds("hunter2"), "too short to be sure");
        redactor.hide("hunter2hunter2");
        assert!(redactor.finds("x hunter2hunter2 y"));
    }

    #[test]
    fn secrets_are_found_by_their_places_in_the_schema() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Params {
            url: Option<SecretUrl>,
            env: std::collections::BTreeMap<String, Secret>,
            keys: Vec<Secret>,
            perhaps: std::collections::BTreeMap<String, MaybeSecret>,
            shown: Option<Vec<String>>,
        }
        let mut settings = schemars::generate::SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<Params>();
        let value = serde_json::json!({"url": "x://u:a@h", "env": {"K": "b"}, "keys": ["c", "d"], "perhaps": {"F": "true", "G": "longer"}, "shown": ["e"]});
        let mut found = Vec::new();
        collect(schema.as_value(), &value, &mut |secret| found.push(secret.to_owned()));
        found.sort();
        assert_eq!(found, ["a", "b", "c", "d", "longer"]);
        let place = |text: &str| shown_place(schema.as_value(), &value, &[text.to_owned()]);
        assert_eq!(place("e").as_deref(), Some("shown[0]"));
        for hidden in ["b", "c", "longer", "no such text"] {
            assert_eq!(place(hidden), None, "{hidden}");
        }
    }

    #[test]
    fn a_secret_prints_and_serializes_as_the_mask() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(serde_json::json!(secret), serde_json::json!(MASK));
    }
}
