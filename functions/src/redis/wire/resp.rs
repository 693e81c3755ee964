//! RESP on the wire (<https://redis.io/docs/latest/develop/reference/protocol-spec/>): commands written, replies' heads read.
//!
//! Takes arguments of any bytes and what a server answered, in version 2 or 3 of the protocol. Gives bytes, and the heads of
//! replies one by one, so that a reader decides by itself whether it wants what follows whole or in pieces. Always holds: a
//! length is only a number here; nothing is allocated because of it; a map comes out as the flat array that version 2
//! has in its place, a set as an array, a double or big number as its text.

use bytes::{Buf, Bytes, BytesMut};

/// The longest line that a head may be; error replies are the longest there are.
const LONGEST_LINE: usize = 64 << 10;

/// The first line of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// `+OK`
    Simple(Bytes),
    /// `-ERR …`, without the dash.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$5`: so many bytes and a line end follow.
    Bulk(u64),
    /// `*2`: so many replies follow. `%1`, `~2`: a map's keys and values, a set's members.
    Array(u64),
    /// `$-1`, `*-1` or `_`.
    Nil,
    /// `=9`: a text behind four bytes that say what it is.
    Verbatim(u64),
    /// `!5`: an error's text follows as that of a [`Head::Bulk`] does.
    LongError(u64),
    /// `>2`, `|1`: so many replies follow, and belong to no request; or describe the reply behind them.
    Aside(u64),
}

/// Takes the first line of a reply off the buffer; `None` where it has not come whole yet.
///
/// # Errors
/// What stands there instead of a reply, as a clause.
pub(crate) fn head(input: &mut BytesMut) -> Result<Option<Head>, String> {
    let Some(end) = input.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        return if input.len() < LONGEST_LINE { Ok(None) } else { Err("a line of more than 64 KiB".to_owned()) };
    };
    let line = &input[..=end];
    let strange = || Err(format!("{}, which is no reply", show(line)));
    let [mark, rest @ .., b'\r', b'\n'] = line else { return strange() };
    let head = match (mark, number(rest)) {
        (b'+', _) => Head::Simple(word(rest)),
        (b'-', _) => Head::Error(String::from_utf8_lossy(rest).into_owned()),
        (b':', Some(value)) => Head::Integer(value),
        (b'$' | b'*', Some(-1)) => Head::Nil,
        (b'$', Some(length @ 0..)) => Head::Bulk(length.unsigned_abs()),
        (b'*' | b'~', Some(length @ 0..)) => Head::Array(length.unsigned_abs()),
        (b'%', Some(pairs @ 0..)) => Head::Array(pairs.unsigned_abs().saturating_mul(2)),
        (b'_', _) if rest.is_empty() => Head::Nil,
        (b'#', _) if rest == b"t" || rest == b"f" => Head::Integer(i64::from(rest == b"t")),
        (b',' | b'(', _) if !rest.is_empty() => Head::Simple(Bytes::copy_from_slice(rest)),
        (b'=', Some(length @ 4..)) => Head::Verbatim(length.unsigned_abs()),
        (b'!', Some(length @ 0..)) => Head::LongError(length.unsigned_abs()),
        (b'>', Some(length @ 0..)) => Head::Aside(length.unsigned_abs()),
        (b'|', Some(pairs @ 0..)) => Head::Aside(pairs.unsigned_abs().saturating_mul(2)),
        _ => return strange(),
    };
    input.advance(end + 1);
    Ok(Some(head))
}

/// A line's text. What servers answer a million times takes no memory.
fn word(text: &[u8]) -> Bytes {
    match text {
        b"QUEUED" => Bytes::from_static(b"QUEUED"),
        b"OK" => Bytes::from_static(b"OK"),
        b"string" => Bytes::from_static(b"string"),
        text => Bytes::copy_from_slice(text),
    }
}

/// A decimal number, with a minus sign where it has one; nothing else.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |value, digit| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let value = value.checked_mul(10)?;
        if negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    })
}

/// A number in decimal at the end of `text`; gives where it begins. No number is longer than 20 digits.
fn digits(text: &mut [u8], mut value: u64) -> usize {
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// Writes a number in decimal.
pub(crate) fn decimal(out: &mut BytesMut, value: u64) {
    let mut text = [0; 20];
    let at = digits(&mut text, value);
    out.extend_from_slice(&text[at..]);
}

/// Written at once, for there are several of these to each key.
fn line(out: &mut BytesMut, mark: u8, value: u64) {
    let mut text = *b".....................\r\n";
    let end = text.len() - 2;
    let at = digits(&mut text[..end], value) - 1;
    text[at] = mark;
    out.extend_from_slice(&text[at..]);
}

/// The head of a command of so many arguments, its name counted.
pub(crate) fn arguments(out: &mut BytesMut, count: u64) {
    line(out, b'*', count);
}

/// The head of an argument of so many bytes; a line end has to follow those.
pub(crate) fn length(out: &mut BytesMut, bytes: u64) {
    line(out, b'$', bytes);
}

/// One whole argument.
pub(crate) fn argument(out: &mut BytesMut, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Several whole arguments.
pub(crate) fn all(out: &mut BytesMut, args: &[&[u8]]) {
    args.iter().for_each(|arg| argument(out, arg));
}

/// One whole argument: a number in decimal.
pub(crate) fn number_argument(out: &mut BytesMut, value: u64) {
    let mut text = BytesMut::with_capacity(20);
    decimal(&mut text, value);
    argument(out, &text);
}

/// One whole command.
pub(crate) fn command(out: &mut BytesMut, args: &[&[u8]]) {
    arguments(out, args.len() as u64);
    args.iter().for_each(|arg| argument(out, arg));
}

/// Bytes in a form that can be printed on one line, in backticks; long ones are cut.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 100;
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("`{}`{more}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let all = b"+OK\r\n-ERR no\r\n:-42\r\n$5\r\n*0\r\n$-1\r\n*-1\r\n";
        let heads = [
            Head::Simple(Bytes::from_static(b"OK")),
            Head::Error("ERR no".into()),
            Head::Integer(-42),
            Head::Bulk(5),
            Head::Array(0),
            Head::Nil,
            Head::Nil,
        ];
        let (mut input, mut found) = (BytesMut::new(), Vec::new());
        for byte in all {
            input.put_u8(*byte);
            found.extend(head(&mut input).expect("sound"));
        }
        assert_eq!(found, heads);
        for wrong in
            ["HTTP/1.1 400\r\n", "$x\r\n", "$-2\r\n", ":\r\n", "+OK\n", "\r\n", "\n", ":99999999999999999999\r\n"]
        {
            assert!(head(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
        }
        assert!(head(&mut BytesMut::from(&vec![b'x'; LONGEST_LINE][..])).is_err());
    }

    #[test]
    fn the_third_version_comes_out_as_the_second() {
        for (line, expected) in [
            ("%2\r\n", Head::Array(4)),
            ("~3\r\n", Head::Array(3)),
            ("_\r\n", Head::Nil),
            ("#t\r\n", Head::Integer(1)),
            (",-inf\r\n", Head::Simple(Bytes::from_static(b"-inf"))),
            ("(12345678901234567890\r\n", Head::Simple(Bytes::from_static(b"12345678901234567890"))),
            ("=9\r\n", Head::Verbatim(9)),
            ("!5\r\n", Head::LongError(5)),
            (">2\r\n", Head::Aside(2)),
            ("|1\r\n", Head::Aside(2)),
        ] {
            assert_eq!(head(&mut BytesMut::from(line)).expect("sound"), Some(expected), "{line:?}");
        }
        for wrong in ["_1\r\n", "#x\r\n", "%-1\r\n", "=3\r\n", ">\r\n", ",\r\n"] {
            assert!(head(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_go_there_and_back() {
        for value in [0, 9, 10, 1_700_000_000_123, u64::MAX] {
            let mut out = BytesMut::new();
            decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
        assert_eq!(number(b"-9223372036854775808"), Some(i64::MIN));
        assert!([&b""[..], b"-", b"1 ", b"+1", b"0x1"].iter().all(|text| number(text).is_none()));
    }

    #[test]
    fn a_key_is_shown_on_one_line() {
        assert_eq!(show(b"user:\n\xff`"), "`user:\\n\\xff``");
        assert_eq!(show(&[b'a'; 200]).len(), 100 + 2 + "… (200 bytes)".len());
    }
}
