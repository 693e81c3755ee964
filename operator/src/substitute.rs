//! `${VARIABLE:=default}` in what a Function says.
//!
//! Takes a text and what variables stand for. Always holds, as in Stash: a variable that is there stands for its value, also an empty
//! one; else its default does, in which there may be variables again; one without either is an error. What the shell knows
//! beyond that (`${x^^}`, `${x/a/b}`) is an error too.

use std::collections::BTreeMap;

/// What variables stand for.
pub(crate) type Variables = BTreeMap<String, String>;

/// The text with its variables replaced.
///
/// # Errors
/// A variable stands for nothing, or the text has something else between `${` and `}`. Said for people.
pub(crate) fn substitute(text: &str, variables: &Variables) -> Result<String, String> {
    within(text, variables, DEEPEST)
}

/// The names of all variables in a text, also those in defaults.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|inner| &inner[..end_of_name(inner)])
}

fn end_of_name(inner: &str) -> usize {
    inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len())
}

/// How many defaults may stand in one another.
const DEEPEST: usize = 20;

fn within(text: &str, variables: &Variables, left: usize) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        done.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = closing(inner).ok_or_else(|| format!("`{text}` has a `${{` without its `}}`"))?;
        done.push_str(&one(&inner[..end], variables, left)?);
        rest = &inner[end + 1..];
    }
    done.push_str(rest);
    Ok(done)
}

/// Where the `}` is that ends what begins here.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = inner.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn one(inner: &str, variables: &Variables, left: usize) -> Result<String, String> {
    let (name, behind) = inner.split_at(end_of_name(inner));
    let default = [":=", ":-", "=", "-"].iter().find_map(|operator| behind.strip_prefix(operator));
    if name.is_empty() || (default.is_none() && !behind.is_empty()) {
        return Err(format!("`${{{inner}}}` is none of `${{NAME}}` and `${{NAME:=default}}`"));
    }
    match (variables.get(name), default) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(_)) if left == 0 => Err(format!("more than {DEEPEST} defaults stand in one another")),
        (None, Some(default)) => within(default, variables, left - 1),
        (None, None) => Err(format!("nothing says what `${{{name}}}` stands for, and it has no default")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_defaults_and_what_is_neither() {
        let variables = Variables::from([("A".into(), "one".into()), ("EMPTY".into(), String::new())]);
        let text = |text: &str| substitute(text, &variables);
        assert_eq!(text("--x=${A}, $A"), Ok("--x=one, $A".into()));
        assert_eq!(text("${B:=two}${B=}${B:-${A}}"), Ok("twoone".into()));
        assert_eq!(text("[${EMPTY:=default}]"), Ok("[]".into()), "an empty value is one");
        assert_eq!(text("${B:=${C:=x}}}"), Ok("x}".into()));
        for wrong in ["${B}", "${A", "${}", "${A^^}", "${A:1:2}", "${B:=${C}}"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(names("--x=${A} ${B:=${C_1:-}} $D").collect::<Vec<_>>(), ["A", "B", "C_1"]);
        let deep = |levels: usize| format!("{}x{}", "${B:=".repeat(levels), "}".repeat(levels));
        assert_eq!(text(&deep(20)), Ok("x".into()));
        assert!(text(&deep(100_000)).expect_err("too deep").contains("stand in one another"));
    }
}
