//! A span of the calendar, as restic's `--keep-within` has it: `1y5m7d2h`.
//!
//! Takes a text. Gives the moment that lies so long before another one. Always holds: years, months and days are those of the
//! calendar and hours are hours, taken off as restic takes them off; what the text says is shown again in restic's own form.

use std::borrow::Cow;
use std::fmt;

use rustic_core::jiff::civil::Date;
use rustic_core::jiff::tz::{Offset, TimeZone};
use rustic_core::jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The largest number in front of a unit: what is longer is "everything", and can be said so.
const MOST: i32 = 100_000;

/// Years, months, days and hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CalendarSpan {
    years: i32,
    months: i32,
    days: i32,
    hours: i32,
}

impl CalendarSpan {
    /// Reads `1y5m7d2h`, `2 weeks`, `1 year 6 months`; none where it is not of that form, or nothing.
    fn parse(text: &str) -> Option<Self> {
        let mut span = Self::default();
        let mut seen = [false; 5];
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            let number: i32 = rest[..digits].parse().ok().filter(|number| *number <= MOST)?;
            rest = rest[digits..].trim_start();
            let letters = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
            let (unit, field, times) = match &rest[..letters] {
                "y" | "year" | "years" => (0, &mut span.years, 1),
                "m" | "month" | "months" => (1, &mut span.months, 1),
                "w" | "week" | "weeks" => (2, &mut span.days, 7),
                "d" | "day" | "days" => (3, &mut span.days, 1),
                "h" | "hour" | "hours" => (4, &mut span.hours, 1),
                _ => return None,
            };
            if std::mem::replace(&mut seen[unit], true) {
                return None;
            }
            *field += number * times;
            rest = rest[letters..].trim_start();
        }
        Some(span).filter(|span| *span != Self::default())
    }

    /// The moment that lies so long before `time`; none where it is before all calendars. `local` is this machine's time zone.
    ///
    /// restic's arithmetic is that of Go: months that are too short go on into the next one, and a clock whose offset is this
    /// machine's at that moment is one of this machine's time zone, with its summer time; any other has its offset for ever.
    pub(crate) fn before(self, time: &Zoned, local: &TimeZone) -> Option<Timestamp> {
        // Go takes a `Z` for UTC wherever it is; it is what nearly all write whose offset is 0.
        let at_home = time.offset() != Offset::UTC && local.to_offset(time.timestamp()) == time.offset();
        let zone = if at_home { local.clone() } else { time.offset().to_time_zone() };
        let clock = time.datetime();
        let months = i64::from(clock.year()) * 12 + i64::from(clock.month())
            - 1
            - i64::from(self.years) * 12
            - i64::from(self.months);
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let days = i64::from(clock.day()) - 1 - i64::from(self.days);
        let date = Date::new(year, month, 1).ok()?.checked_add(0.days().try_days(days).ok()?).ok()?;
        // An hour that the clock shows twice, or never, is taken as Go takes it.
        let shown = date.to_datetime(clock.time()).to_zoned(TimeZone::UTC).ok()?.timestamp();
        let back = |offset: Offset| shown.checked_sub(SignedDuration::from_secs(offset.seconds().into()));
        let offset = match zone.to_offset(shown) {
            Offset::UTC => Offset::UTC,
            near => zone.to_offset(back(near).ok()?),
        };
        back(offset).ok()?.checked_sub(SignedDuration::from_hours(self.hours.into())).ok()
    }
}

impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts.into_iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl<'de> Deserialize<'de> for CalendarSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = CalendarSpan;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of the calendar, such as `14d`, `2w`, `1y6m` (`m` are months) or `36h`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CalendarSpan, E> {
                CalendarSpan::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for CalendarSpan {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CalendarSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["1y6m"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_in_restics_form_and_in_words() {
        for (text, shown) in [
            ("1y5m7d2h", "1y5m7d2h"),
            ("2h 7d", "7d2h"),
            ("2w", "14d"),
            ("1 week 1 day", "8d"),
            ("1 year 6 months", "1y6m"),
            ("0y36h", "36h"),
        ] {
            assert_eq!(CalendarSpan::parse(text).expect(text).to_string(), shown);
        }
        for wrong in ["", " ", "7", "d", "0d", "1d1d", "-1d", "30s", "5min", "1.5d", "100001h", "99999999999y", "1d,"] {
            assert_eq!(CalendarSpan::parse(wrong), None, "{wrong}");
            let told = serde_json::from_value::<CalendarSpan>(wrong.into()).expect_err("refused").to_string();
            assert!(told.contains("`1y6m`"), "{told}");
        }
        assert!(serde_json::from_value::<CalendarSpan>(7.into()).is_err());
    }

    #[test]
    fn it_goes_by_the_calendar_as_go_does() {
        let berlin = TimeZone::get("Europe/Berlin").expect("the system's time zones");
        for (span, time, local, expected) in [
            ("1m", "2025-03-31T10:00:00+00:00", &TimeZone::UTC, Some("2025-03-03T10:00:00Z")),
            ("1m", "2024-03-31T10:00:00+00:00", &TimeZone::UTC, Some("2024-03-02T10:00:00Z")),
            ("1y", "2024-02-29T10:00:00+00:00", &TimeZone::UTC, Some("2023-03-01T10:00:00Z")),
            ("1y13m1d1h", "2025-01-01T00:00:00+00:00", &TimeZone::UTC, Some("2022-11-29T23:00:00Z")),
            // In winter Berlin is at +1, and in summer at +2; elsewhere +2 is +2.
            ("6m", "2025-07-15T12:00:00+02:00", &berlin, Some("2025-01-15T11:00:00Z")),
            ("6m", "2025-07-15T12:00:00+02:00", &TimeZone::UTC, Some("2025-01-15T10:00:00Z")),
            ("6m", "2025-07-15T12:00:00+03:00", &berlin, Some("2025-01-15T09:00:00Z")),
            // 02:30 was not there on 2025-03-30, and twice on 2024-10-27.
            ("1d", "2025-03-31T02:30:00+02:00", &berlin, Some("2025-03-30T01:30:00Z")),
            ("1d", "2024-10-28T02:30:00+01:00", &berlin, Some("2024-10-27T01:30:00Z")),
            ("9999y", "2025-01-01T00:00:00+00:00", &TimeZone::UTC, Some("-007974-01-01T00:00:00Z")),
            ("100000y", "2025-01-01T00:00:00+00:00", &TimeZone::UTC, None),
        ] {
            let time = rustic_core::repofile::RusticTime::parse_utc(time).expect("a time");
            let before = CalendarSpan::parse(span).expect(span).before(&time, local);
            assert_eq!(before, expected.map(|text| text.parse().expect("a moment")), "{span} before {time}");
        }
    }
}
