//! Times and sizes in words, as Stash's statuses have them.

use std::time::Duration;

/// A time as Kubernetes' users write it, such as `1h30m`.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    let period: aquifer_functions::units::Period =
        serde_json::from_value(text.into()).map_err(|error| error.to_string())?;
    Ok(period.0)
}

/// A span of time as Stash writes it: `1m12s`, and `0.4s` below a second.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round();
    let (hours, minutes, seconds) = ((whole / 3600.0).floor(), (whole % 3600.0 / 60.0).floor(), whole % 60.0);
    match (hours, minutes) {
        (0.0, 0.0) => format!("{seconds}s"),
        (0.0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// An amount of bytes as Stash writes it: `1.234 MiB`.
pub(crate) fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or("B");
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{value} {unit}") } else { format!("{value:.3} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_in_stash() {
        let spans = [(0.42, "0.4s"), (9.94, "9.9s"), (12.0, "12s"), (72.3, "1m12s"), (3600.0, "1h0m0s")];
        spans.iter().for_each(|(seconds, text)| assert_eq!(span(*seconds), *text));
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.500 KiB"), (5 << 40, "5.000 TiB"), (3 << 30, "3.000 GiB")];
        sizes.iter().for_each(|(bytes, text)| assert_eq!(size(*bytes), *text));
    }
}
