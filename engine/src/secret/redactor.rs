//! Takes known secrets out of texts.
//!
//! Takes secrets as they become known, and any text; gives the text without them. Always holds: a secret is found in each
//! form in which it usually gets into a text (as it is, in a URL, in JSON, trimmed, line by line, cut short); a longer secret
//! is taken out before one that it contains.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::{MASK, url_password};

/// From this length on a line of a secret is looked for by itself.
const SHORTEST_LINE: usize = 8;

/// A line that is longer than this is also known by its beginning, since whoever prints it may cut it.
const LONG_LINE: usize = 256;

/// How much of a long line's beginning is looked for.
const BEGINNING: usize = 32;

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

    /// The text with every known secret replaced by as many stars as it has bytes. One of fewer than four bytes stands
    /// everywhere, and what is masked for it would show it.
    pub(crate) fn stars(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .forms
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
}
