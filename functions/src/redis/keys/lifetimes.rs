//! What becomes of expiries on their way into a server: kept, dropped, or moved in time.
//!
//! Takes [`ExpiryRule`], the param as users write it, and the server's clock. Gives [`Lifetimes`], which is asked for each
//! expiry of a key or of a hash's field. Always holds: all expiries of a run are moved by the same span; none is moved out
//! of what a server takes, so one that would lie before 1970 is one that has passed.

use std::fmt;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The farthest that expiries are moved.
const FARTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How far ahead of the server's clock `asOf` may lie: clocks differ.
const AHEAD: i64 = 60_000;

/// What becomes of expiries, as it is written in params: `keep`, `drop`, `dropFields`, `{shift: 2h}` or
/// `{asOf: 2026-11-23T02:00:00Z}`; as one text, for a task's param, `shift:2h` and `asOf:2026-11-23T02:00:00Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExpiryRule {
    /// Each stays at its moment.
    #[default]
    Keep,
    /// There are none.
    Drop,
    /// Those of keys stay, those of hashes' fields go.
    DropFields,
    /// Each is later by so many milliseconds, or earlier where it is negative.
    Shift(i64),
    /// Each is as far from now as it was from then.
    AsOf(Timestamp),
}

const EXPECTED: &str =
    "`keep`, `drop`, `dropFields`, `{shift: 2h}` (or `{shift: -2h}`) or `{asOf: \"2026-11-23T02:00:00Z\"}`";

impl<'de> Deserialize<'de> for ExpiryRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rule;
        impl<'de> Visitor<'de> for Rule {
            type Value = ExpiryRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ExpiryRule, E> {
                let rule = match text.split_once(':') {
                    None if text == "keep" => Some(ExpiryRule::Keep),
                    None if text == "drop" => Some(ExpiryRule::Drop),
                    None if text == "dropFields" => Some(ExpiryRule::DropFields),
                    Some(("shift", span)) => shift(span).map(ExpiryRule::Shift),
                    Some(("asOf", then)) => then.parse().ok().map(ExpiryRule::AsOf),
                    _ => None,
                };
                rule.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExpiryRule, A::Error> {
                let wrong = |text: &str| A::Error::invalid_value(Unexpected::Str(text), &self);
                let Some((name, text)) = map.next_entry::<String, String>()? else {
                    return Err(A::Error::custom(format_args!("an empty map, expected {EXPECTED}")));
                };
                let rule = match name.as_str() {
                    "shift" => ExpiryRule::Shift(shift(&text).ok_or_else(|| wrong(&text))?),
                    "asOf" => ExpiryRule::AsOf(text.parse().map_err(|_| wrong(&text))?),
                    _ => return Err(A::Error::unknown_field(&name, &["shift", "asOf"])),
                };
                match map.next_key::<String>()? {
                    None => Ok(rule),
                    Some(_) => Err(A::Error::custom("`shift` and `asOf` exclude each other")),
                }
            }
        }
        deserializer.deserialize_any(Rule)
    }
}

/// A span of time with a sign, in milliseconds.
fn shift(text: &str) -> Option<i64> {
    let (negative, span) = match text.strip_prefix('-') {
        Some(span) => (true, span),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let span = humantime::parse_duration(span).ok().filter(|span| *span <= FARTHEST)?;
    let span = i64::try_from(span.as_millis()).ok()?;
    Some(if negative { -span } else { span })
}

impl JsonSchema for ExpiryRule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpiryRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |name: &str, what: &str, example: &str| {
            json_schema!({
                "type": "object",
                "properties": {name: {"type": "string", "description": what, "examples": [example]}},
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({"anyOf": [
            {"type": "string", "examples": ["keep", "drop", "dropFields", "shift:-2h", "asOf:2026-11-23T02:00:00Z"]},
            one("shift", "How much later they are to be; earlier with a minus sign in front.", "-2h"),
            one("asOf", "Each is to be as far from now as it was from this moment.", "2026-11-23T02:00:00Z"),
        ]})
    }
}

impl ExpiryRule {
    /// What it means at `now`, in milliseconds of the server's clock.
    ///
    /// # Errors
    /// `asOf` lies in the future.
    pub(crate) fn at(self, now: u64) -> Result<Lifetimes, Failure> {
        Ok(match self {
            Self::Keep => Lifetimes::Keep,
            Self::Drop => Lifetimes::Drop,
            Self::DropFields => Lifetimes::DropFields,
            Self::Shift(by) => Lifetimes::Shift { by, now: Some(now) },
            Self::AsOf(then) => {
                let by = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(then.as_millisecond());
                if by < -AHEAD {
                    return Err(Failure::config(format!("`expiry.asOf`: {then} lies ahead of the server's clock"))
                        .with_help("it is the moment of the dump; to bring expiries forward, say `{shift: -2h}`"));
                }
                Lifetimes::Shift { by, now: None }
            }
        })
    }

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// `asOf` lies so far away that no dump can be that old.
    pub(crate) fn check(self) -> Result<(), ParamError> {
        match self {
            Self::AsOf(then) if then < Timestamp::UNIX_EPOCH => {
                Err(ParamError::new("expiry", "`asOf` lies before 1970"))
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of expiries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lifetimes {
    /// Each stays.
    #[default]
    Keep,
    /// There are none.
    Drop,
    /// Those of keys stay, those of hashes' fields go.
    DropFields,
    /// Each is later by so many milliseconds. One that is told by the time that is left is counted from `now`; without
    /// `now` it stays as it is.
    Shift { by: i64, now: Option<u64> },
}

/// An expiry as it is told, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A moment of Unix time.
    At(u64),
    /// The time that is left.
    Left(u64),
}

/// As [`ExpiryRule`] reads it again.
impl fmt::Display for Lifetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Drop => f.write_str("drop"),
            Self::DropFields => f.write_str("dropFields"),
            Self::Shift { by, .. } => write!(f, "shift:{by}ms"),
        }
    }
}

impl Lifetimes {
    /// True where nothing is changed.
    pub(crate) fn keeps(self) -> bool {
        self == Self::Keep
    }

    /// True where expiries of keys are dropped.
    pub(crate) fn drops(self) -> bool {
        self == Self::Drop
    }

    /// The same for the expiries of hashes' fields.
    pub(crate) fn of_fields(self) -> Self {
        if self == Self::DropFields { Self::Drop } else { self }
    }

    /// What a moment becomes, in milliseconds of Unix time.
    pub(crate) fn moment(self, at: u64) -> Option<u64> {
        match self {
            Self::Keep | Self::DropFields => Some(at),
            Self::Drop => None,
            // A server takes no expiry of 0 or below.
            Self::Shift { by, .. } => Some(at.saturating_add_signed(by).clamp(1, i64::MAX.unsigned_abs())),
        }
    }

    /// What an expiry becomes; `None` where it is dropped.
    pub(crate) fn when(self, when: When) -> Option<When> {
        match (self, when) {
            (Self::Drop, _) => None,
            (Self::Keep | Self::DropFields, when) | (Self::Shift { now: None, .. }, when @ When::Left(_)) => Some(when),
            (Self::Shift { .. }, When::At(at)) => self.moment(at).map(When::At),
            (Self::Shift { now: Some(now), .. }, When::Left(left)) => {
                self.moment(now.saturating_add(left)).map(When::At)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_rule_is_read_or_refused_with_what_is_expected() {
        for (written, rule) in [
            (json!("keep"), ExpiryRule::Keep),
            (json!("drop"), ExpiryRule::Drop),
            (json!("dropFields"), ExpiryRule::DropFields),
            (json!("shift:-2h"), ExpiryRule::Shift(-7_200_000)),
            (json!("asOf:1970-01-01T00:00:01Z"), ExpiryRule::AsOf(Timestamp::constant(1, 0))),
            (json!({"shift": "2h"}), ExpiryRule::Shift(7_200_000)),
            (json!({"shift": "-1m 30s"}), ExpiryRule::Shift(-90_000)),
            (json!({"asOf": "1970-01-01T00:00:01+00:00"}), ExpiryRule::AsOf(Timestamp::constant(1, 0))),
        ] {
            assert_eq!(from_value::<ExpiryRule>(written.clone()).expect("sound"), rule, "{written}");
        }
        for wrong in [
            json!("forever"),
            json!("shift:"),
            json!("drop:2h"),
            json!({}),
            json!({"shift": "2"}),
            json!({"shift": "--2h"}),
            json!({"shift": "200years"}),
            json!({"asOf": "yesterday"}),
            json!({"until": "2h"}),
            json!({"shift": "2h", "asOf": "2026-11-23T02:00:00Z"}),
            json!(5),
        ] {
            assert!(from_value::<ExpiryRule>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_move_and_stay_what_a_server_takes() {
        let shifted = ExpiryRule::Shift(-5000).at(100_000).expect("sound");
        assert_eq!((shifted.moment(7000), shifted.moment(3000)), (Some(2000), Some(1)));
        assert_eq!(shifted.when(When::Left(6000)), Some(When::At(101_000)));
        let then = ExpiryRule::AsOf(Timestamp::constant(40, 0)).at(100_000).expect("sound");
        assert_eq!((then.moment(41_000), then.when(When::Left(5))), (Some(101_000), Some(When::Left(5))));
        assert!(ExpiryRule::AsOf(Timestamp::constant(400, 0)).at(100_000).is_err());
        let fields = ExpiryRule::DropFields.at(0).expect("sound");
        assert_eq!((fields.moment(7), fields.of_fields().moment(7)), (Some(7), None));
        assert_eq!(ExpiryRule::Drop.at(0).expect("sound").when(When::Left(9)), None);
        assert_eq!(Lifetimes::Shift { by: i64::MAX, now: None }.moment(u64::MAX), Some(i64::MAX.unsigned_abs()));
    }
}
