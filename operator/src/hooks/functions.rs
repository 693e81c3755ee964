//! The functions of templates that Stash's users know from sprig, as far as texts about a backup need them.
//!
//! Always holds: too few arguments, and arguments of another type, are errors.

use gtmpl::{Func, FuncError, Value};

type Made = Result<Value, FuncError>;

/// All of them by name, beside those of Go itself (`eq`, `printf`, `len` and so on). Texts come last, as in sprig, so that they can be piped in.
pub(super) const FUNCTIONS: &[(&str, Func)] = &[
    ("upper", upper),
    ("lower", lower),
    ("trim", trim),
    ("trimPrefix", trim_prefix),
    ("trimSuffix", trim_suffix),
    ("replace", replace),
    ("contains", contains),
    ("hasPrefix", has_prefix),
    ("hasSuffix", has_suffix),
    ("trunc", trunc),
    ("default", default),
    ("empty", empty),
    ("coalesce", coalesce),
    ("ternary", ternary),
    ("quote", quote),
    ("squote", squote),
    ("toJson", to_json),
    // In the place of Go's, which know no bounds.
    ("print", |all| bounded("print", all)),
    ("println", |all| bounded("println", all)),
    ("printf", printf),
    ("urlquery", |all| bounded("urlquery", all)),
];

/// How long the texts may be that a function is given together, in bytes: what it makes of them is a few times as long.
const MOST: usize = 16 << 10;

/// One of Go's own functions, of texts that are not too long.
fn bounded(name: &str, all: &[Value]) -> Made {
    let length = |value: &Value| if let Value::String(text) = value { text.len() } else { 0 };
    if all.iter().map(length).sum::<usize>() > MOST {
        return Err(too_long());
    }
    let found = gtmpl::funcs::BUILTINS.iter().find(|(own, _)| *own == name);
    found.map_or_else(|| Err(wrong("there is no such function")), |(_, function)| function(all))
}

fn too_long() -> FuncError {
    wrong(&format!("a function makes or is given more than {MOST} bytes"))
}

/// Without widths and precisions: they would make any length, and the library does not know them all.
fn printf(all: &[Value]) -> Made {
    let format = text(all, 0)?;
    let mut rest = format.as_str();
    while let Some((_, behind)) = rest.split_once('%') {
        let behind = behind.trim_start_matches(['-', '+', '#', ' ', '0']);
        if behind.starts_with(|next: char| next.is_ascii_digit() || matches!(next, '*' | '.' | '[')) {
            return Err(wrong("`printf` has no widths here"));
        }
        rest = behind.get(behind.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
    }
    bounded("printf", all)
}

fn wrong(what: &str) -> FuncError {
    FuncError::Generic(what.to_owned())
}

fn given(all: &[Value], at: usize) -> Result<&Value, FuncError> {
    all.get(at).ok_or_else(|| wrong("a function has too few arguments"))
}

fn text(all: &[Value], at: usize) -> Result<String, FuncError> {
    match given(all, at)? {
        Value::String(text) if text.len() > MOST => Err(too_long()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(all[at].to_string()),
        _ => Err(wrong("a function needs a text")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(is) => !is,
        Value::Number(_) => value.to_string() == "0",
        Value::Array(all) => all.is_empty(),
        Value::Object(all) | Value::Map(all) => all.is_empty(),
        Value::Function(_) => false,
    }
}

fn upper(all: &[Value]) -> Made {
    Ok(text(all, 0)?.to_uppercase().into())
}

fn lower(all: &[Value]) -> Made {
    Ok(text(all, 0)?.to_lowercase().into())
}

fn trim(all: &[Value]) -> Made {
    Ok(text(all, 0)?.trim().into())
}

fn trim_prefix(all: &[Value]) -> Made {
    let (prefix, text) = (text(all, 0)?, text(all, 1)?);
    Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
}

fn trim_suffix(all: &[Value]) -> Made {
    let (suffix, text) = (text(all, 0)?, text(all, 1)?);
    Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
}

fn replace(all: &[Value]) -> Made {
    let (from, to, whole) = (text(all, 0)?, text(all, 1)?, text(all, 2)?);
    if whole.matches(&from).count().saturating_mul(to.len()) > MOST {
        return Err(too_long());
    }
    Ok(whole.replace(&from, &to).into())
}

fn contains(all: &[Value]) -> Made {
    let part = text(all, 0)?;
    Ok(text(all, 1)?.contains(&part).into())
}

fn has_prefix(all: &[Value]) -> Made {
    let prefix = text(all, 0)?;
    Ok(text(all, 1)?.starts_with(&prefix).into())
}

fn has_suffix(all: &[Value]) -> Made {
    let suffix = text(all, 0)?;
    Ok(text(all, 1)?.ends_with(&suffix).into())
}

/// The first characters, or the last ones where the number is negative.
fn trunc(all: &[Value]) -> Made {
    let count: i64 = given(all, 0)?.to_string().parse().map_err(|_| wrong("`trunc` needs a number"))?;
    let text = text(all, 1)?;
    let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let length = text.chars().count();
    let cut: String = if count < 0 {
        text.chars().skip(length.saturating_sub(most)).collect()
    } else {
        text.chars().take(most).collect()
    };
    Ok(cut.into())
}

fn default(all: &[Value]) -> Made {
    let (other, value) = (given(all, 0)?, given(all, 1)?);
    Ok(if is_empty(value) { other } else { value }.clone())
}

fn empty(all: &[Value]) -> Made {
    Ok(is_empty(given(all, 0)?).into())
}

fn coalesce(all: &[Value]) -> Made {
    Ok(all.iter().find(|value| !is_empty(value)).cloned().unwrap_or_else(|| "".into()))
}

fn ternary(all: &[Value]) -> Made {
    let (yes, no) = (given(all, 0)?, given(all, 1)?);
    Ok(if is_empty(given(all, 2)?) { no } else { yes }.clone())
}

fn quote(all: &[Value]) -> Made {
    to_json(&[text(all, 0)?.into()])
}

fn squote(all: &[Value]) -> Made {
    Ok(format!("'{}'", text(all, 0)?).into())
}

/// As JSON.
fn to_json(all: &[Value]) -> Made {
    Ok(json(given(all, 0)?).to_string().into())
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::NoValue | Value::Nil | Value::Function(_) => serde_json::Value::Null,
        Value::Bool(is) => (*is).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(_) => {
            value.to_string().parse::<serde_json::Number>().map_or_else(|_| value.to_string().into(), Into::into)
        }
        Value::Array(all) => all.iter().map(json).collect(),
        Value::Object(all) | Value::Map(all) => all.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_do_as_in_sprig() {
        let of = |name: &str, args: &[&str]| {
            let args: Vec<Value> = args.iter().map(|arg| Value::from(*arg)).collect();
            let function = FUNCTIONS.iter().find(|known| known.0 == name).expect("known").1;
            function(&args).map(|made| made.to_string()).map_err(|_| ())
        };
        for (name, args, made) in [
            ("trimPrefix", &["a-", "a-b"][..], "b"),
            ("trimSuffix", &["-b", "a-b"], "a"),
            ("replace", &["a", "b", "aXa"], "bXb"),
            ("contains", &["b", "abc"], "true"),
            ("hasPrefix", &["b", "abc"], "false"),
            ("hasSuffix", &["c", "abc"], "true"),
            ("trunc", &["-2", "abc"], "bc"),
            ("coalesce", &["", "x"], "x"),
            ("ternary", &["yes", "no", ""], "no"),
            ("empty", &[""], "true"),
            ("squote", &["a"], "'a'"),
            ("toJson", &["a\nb"], "\"a\\nb\""),
        ] {
            assert_eq!(of(name, args).as_deref(), Ok(made), "{name}");
        }
        for (name, _) in FUNCTIONS.iter().filter(|known| !["coalesce", "print", "println"].contains(&known.0)) {
            assert_eq!(of(name, &[]), Err(()), "{name}");
        }
    }
}
