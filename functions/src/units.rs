//! Params that carry a unit: spans of time (`30s`) and amounts of bytes (`10MiB`).
//!
//! Takes what a document writes. Gives typed values. Always holds: a number without its unit is refused where the unit
//! would be a guess, and what is refused is told how to write it; no span of time is so long that adding it to a clock fails.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A span of time, written as `500ms`, `30s`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time with its unit and below ten years, such as `500ms`, `30s` or `1h 30m`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                let period = humantime::parse_duration(text).ok().filter(|period| *period <= LONGEST);
                period.map(Period).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["30s"]})
    }
}

/// An amount of bytes, written as `10MiB` (1024 x 1024) or `10MB` (1000 x 1000), or as a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of bytes, such as `10MiB`, `10MB` or `10485760`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse::<bytesize::ByteSize>()
                    .map(|size| Size(size.as_u64()))
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

/// What may be left over: a share of the whole (`5%`), an amount of bytes (`2GiB`), or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Leftover {
    /// So many hundredths of the whole, below 100.
    Percent(f32),
    /// These bytes.
    Bytes(u64),
    /// As much as there is.
    Unlimited,
}

impl<'de> Deserialize<'de> for Leftover {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Leftover;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as `5%`, an amount of bytes such as `2GiB`, or `unlimited`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Leftover, E> {
                let read = match text.strip_suffix('%') {
                    _ if text == "unlimited" => Some(Leftover::Unlimited),
                    Some(share) => {
                        let share = share.trim().parse::<f32>().ok().filter(|share| (0.0..100.0).contains(share));
                        share.map(Leftover::Percent)
                    }
                    None => text.parse::<bytesize::ByteSize>().ok().map(|size| Leftover::Bytes(size.as_u64())),
                };
                read.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Leftover, E> {
                Ok(Leftover::Bytes(bytes))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

impl JsonSchema for Leftover {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Leftover".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0, "examples": ["5%"]})
    }
}

/// As a document would have it: in the largest unit that divides it.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => serializer.collect_str(&format_args!("{}{name}", self.0 / unit)),
            None => serializer.serialize_u64(self.0),
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0, "examples": ["10MiB"]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_span_of_time_needs_its_unit() {
        assert_eq!(from_value::<Period>(json!("1m 30s")).expect("sound"), Period(Duration::from_secs(90)));
        for wrong in [json!(30), json!("30"), json!("-1s"), json!("soon"), json!("300000000000years"), json!(null)] {
            let error = from_value::<Period>(wrong.clone()).expect_err("refused").to_string();
            assert!(error.contains("`30s`"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_may_be_left_is_a_share_or_an_amount() {
        for (text, leftover) in [
            (json!("5%"), Leftover::Percent(5.0)),
            (json!("0.5 %"), Leftover::Percent(0.5)),
            (json!("2KiB"), Leftover::Bytes(2048)),
            (json!(0), Leftover::Bytes(0)),
            (json!("unlimited"), Leftover::Unlimited),
        ] {
            assert_eq!(from_value::<Leftover>(text).expect("sound"), leftover);
        }
        for wrong in [json!("100%"), json!("-1%"), json!("NaN%"), json!("much"), json!(-1), json!(0.5)] {
            let error = from_value::<Leftover>(wrong.clone()).expect_err("refused").to_string();
            assert!(error.contains("`5%`"), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_amount_of_bytes_is_read_in_both_counts() {
        for (text, bytes) in [(json!("10MiB"), 10 << 20), (json!("10MB"), 10_000_000), (json!(7), 7), (json!("7"), 7)] {
            assert_eq!(from_value::<Size>(text).expect("sound"), Size(bytes));
        }
        for size in [json!("8MiB"), json!("3KiB"), json!(1025), json!(0)] {
            assert_eq!(json!(from_value::<Size>(size.clone()).expect("sound")), size);
        }
        for wrong in [json!(-1), json!("ten"), json!("10 parsecs"), json!(1.5), json!(true)] {
            let error = from_value::<Size>(wrong.clone()).expect_err("refused").to_string();
            assert!(error.contains("`10MiB`"), "{wrong}: {error}");
        }
    }
}
