//! Which keys are wanted: by pattern and by type.
//!
//! Takes [`Keep`], the params as users write them. Gives a [`KeyFilter`] that is asked for each key. Always holds: patterns
//! mean what they mean to the server's `KEYS` (`stringmatchlen` of Redis), over bytes; a filter without any says yes to all.

use aquifer_engine::function::ParamError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::keys::tally::Kind;
use crate::redis::wire::facts::Facts;

/// The most patterns that one filter has.
const MOST_PATTERNS: usize = 1000;

/// Which keys to take. All of them unless said; a key has to satisfy each of the fields that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Keep {
    /// Patterns as those of `KEYS` (`user:*`, `h?llo`, `[a-z]*`, `\*`): only keys that fit at least one of them.
    #[serde(rename = "match")]
    pub matching: Vec<String>,
    /// Patterns: none of the keys that fit one of them.
    pub exclude: Vec<String>,
    /// Only values of these types; `other` are the values of modules.
    pub types: Vec<TypeName>,
}

/// A value's type, as it is written in params.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum TypeName {
    String,
    List,
    Hash,
    Set,
    Zset,
    Stream,
    Other,
}

impl From<TypeName> for Kind {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::String => Self::String,
            TypeName::List => Self::List,
            TypeName::Hash => Self::Hash,
            TypeName::Set => Self::Set,
            TypeName::Zset => Self::SortedSet,
            TypeName::Stream => Self::Stream,
            TypeName::Other => Self::Other,
        }
    }
}

impl Keep {
    /// Checks the params.
    ///
    /// # Errors
    /// The param that is wrong, below `at` (`filter`).
    pub(crate) fn filter(&self, at: &str) -> Result<KeyFilter, ParamError> {
        for (name, patterns) in [("match", &self.matching), ("exclude", &self.exclude)] {
            if patterns.len() > MOST_PATTERNS {
                return Err(ParamError::new(format!("{at}.{name}"), format!("more than {MOST_PATTERNS} patterns")));
            }
        }
        let bytes = |patterns: &[String]| patterns.iter().map(|pattern| pattern.clone().into_bytes()).collect();
        Ok(KeyFilter {
            matching: bytes(&self.matching),
            exclude: bytes(&self.exclude),
            kinds: self.types.iter().map(|name| Kind::from(*name)).collect(),
        })
    }
}

/// What a server filters by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByServer<'f> {
    pub(crate) pattern: Option<&'f [u8]>,
    pub(crate) kind: Option<&'static [u8]>,
}

/// A filter that is asked for each key.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyFilter {
    matching: Vec<Vec<u8>>,
    exclude: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
}

impl KeyFilter {
    /// True where every key is wanted.
    pub(crate) fn takes_all(&self) -> bool {
        self.matching.is_empty() && self.exclude.is_empty() && self.kinds.is_empty()
    }

    /// True where a key of this name may be wanted.
    pub(crate) fn name(&self, key: &[u8]) -> bool {
        let fits = |patterns: &[Vec<u8>]| patterns.iter().any(|pattern| glob(pattern, key));
        (self.matching.is_empty() || fits(&self.matching)) && !fits(&self.exclude)
    }

    /// True where it depends on a key's type whether it is wanted.
    pub(crate) fn by_kind(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// True where a value of this type may be wanted.
    pub(crate) fn kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// The one pattern, where there is just one and it can be left to the server (`SCAN … MATCH`).
    pub(crate) fn only_pattern(&self) -> Option<&[u8]> {
        match &self.matching[..] {
            [pattern] => Some(pattern),
            _ => None,
        }
    }

    /// What can be left to this server: the one pattern (`SCAN … MATCH`), and from 6.0 on the one type (`TYPE`).
    pub(crate) fn by_server(&self, facts: &Facts) -> Option<ByServer<'_>> {
        let kind = match self.kinds[..] {
            [kind] if facts.at_least((6, 0)) => kind.name(),
            _ => None,
        };
        let pattern = self.only_pattern();
        (kind.is_some() || pattern.is_some()).then_some(ByServer { pattern, kind })
    }
}

/// True where a text fits a pattern. In the worst case the time is their lengths multiplied: there is no recursion, only the
/// last `*` is ever taken up again.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        let next = if t < text.len() && p < pattern.len() { one(pattern, p, text[t]) } else { None };
        match (next, star) {
            (Some(after), _) => (p, t) = (after, t + 1),
            (None, Some((after, from))) if from < text.len() => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Where a pattern goes on behind the part at `p`, if that part fits the byte.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

/// As the server does it: a class without its `]` ends with the pattern.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let not = pattern.get(p) == Some(&b'^');
    p += usize::from(not);
    let mut found = false;
    while p < pattern.len() && pattern[p] != b']' {
        if pattern[p] == b'\\' && p + 1 < pattern.len() {
            p += 1;
            found |= pattern[p] == byte;
        } else if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() {
            let (a, b) = (pattern[p], pattern[p + 2]);
            found |= (a.min(b)..=a.max(b)).contains(&byte);
            p += 2;
        } else {
            found |= pattern[p] == byte;
        }
        p += 1;
    }
    (found != not).then_some((p + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_the_server() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("user:*", "user:1", true),
            ("user:*", "users", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("[a", "a", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("***a", "a", true),
            ("a\\", "a\\", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
        // Once a classic of exponential time.
        assert!(!glob(&b"*a".repeat(30), &[&b"a".repeat(20_000)[..], b"b"].concat()));
    }

    #[test]
    fn a_filter_takes_what_satisfies_all_of_it() {
        let keep = |text: &str| serde_json::from_str::<Keep>(text).expect("sound").filter("filter").expect("sound");
        let filter = keep(r#"{"match": ["a*", "b*"], "exclude": ["*9"], "types": ["zset"]}"#);
        assert!(filter.name(b"a1") && filter.name(b"b") && !filter.name(b"a9") && !filter.name(b"c"));
        assert!(filter.kind(Kind::SortedSet) && !filter.kind(Kind::Set) && !filter.takes_all());
        assert!(keep("{}").takes_all() && keep("{}").name(b"x") && keep("{}").kind(Kind::Other));
        assert_eq!(keep(r#"{"match": ["a*"]}"#).only_pattern(), Some(&b"a*"[..]));
    }
}
