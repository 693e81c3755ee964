//! The short form of a location: a path or a URL.
//!
//! Takes `/path`, `s3://bucket/prefix`, restic's `s3:host/bucket/prefix` and what else the kinds know. Always holds: what has
//! another scheme in front is refused rather than taken for a path; credentials in a text are refused.

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Folder, Location, forms};

/// Reads the short form.
///
/// # Errors
/// What is wrong with it, and the forms that there are.
pub(super) fn parse(text: &str) -> Result<Location, String> {
    if let Some(read) = Location::of_text(text) {
        return read.map_err(|why| format!("{why}; {}", forms()));
    }
    match scheme(text) {
        Some(scheme) => Err(format!("there is no store `{scheme}`; {}", forms())),
        None if text.trim_start().starts_with('{') => {
            Err(format!("it is a text that looks like a map: a param that is a text takes no map; {}", forms()))
        }
        None if text == "~" || text.starts_with("~/") => Err(
            "`~` was not replaced by the shell, which does so only at the beginning of a word: write `$HOME` instead"
                .to_owned(),
        ),
        None => Ok(Location::Folder(Folder(text.into()))),
    }
}

/// `container/prefix` or, as restic writes it, `container:/prefix`.
///
/// # Errors
/// There is no container.
pub(super) fn container<'t>(text: &str, rest: &'t str, what: &str) -> Result<(&'t str, &'t str), String> {
    let cut = rest.split_once(':').filter(|(name, _)| !name.contains('/')).or_else(|| rest.split_once('/'));
    let (name, prefix) = cut.unwrap_or((rest, ""));
    if name.is_empty() { Err(format!("`{text}` names no {what}")) } else { Ok((name, prefix)) }
}

/// A URL of a text form, `https` unless it says otherwise, and its path in plain letters.
///
/// # Errors
/// It is no URL, or holds credentials or options.
pub(super) fn address(rest: &str) -> Result<(Url, String), String> {
    let with_scheme = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
    // What is wrong with it may be that it holds a password, so it is not shown.
    let mut url = Url::parse(&with_scheme).map_err(|error| format!("the address is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the address is neither `http` nor `https`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("credentials and options have no place in the text form".to_owned());
    }
    let path = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
    url.set_path("");
    Ok((url, path))
}

/// A scheme in front of a text: `gs` in `gs://bucket`, `rest` in restic's `rest:http://…`. Paths seldom have a colon behind
/// their first word; one that does can be written with `./` in front.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    sound.then_some(scheme)
}
