//! What an unquoted YAML value is: the core schema of YAML 1.2.2, section 10.3.2.

use serde_json::Number;

use super::node::Value;

/// The value; none for a number that has no exact place in JSON (`.inf`, `.nan`, integers beyond 64 bits).
pub(super) fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return None;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let radix = text.strip_prefix("0o").map(|rest| (rest, 8)).or(text.strip_prefix("0x").map(|rest| (rest, 16)));
    if let Some((rest, radix)) = radix
        && !rest.is_empty()
        && rest.chars().all(|c| c.is_digit(radix))
    {
        return u64::from_str_radix(rest, radix).ok().map(|number| Value::Number(number.into()));
    }
    if digits(unsigned) {
        let written = text.strip_prefix('+').unwrap_or(text);
        let number = written.parse::<i64>().map(Number::from).or_else(|_| written.parse::<u64>().map(Number::from));
        return number.ok().map(Value::Number);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = (digits(whole) && (part.is_empty() || digits(part))) || (whole.is_empty() && digits(part));
    if is_number && exponent.is_none_or(digits) {
        return text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    }
    Some(Value::Text(text.to_owned()))
}
