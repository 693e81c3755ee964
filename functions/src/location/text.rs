//! The short form of a location: a path or a URL.
//!
//! Takes `/path`, `file:///path`, `local:/path`, `s3://bucket/prefix`, `s3:https://host/bucket/prefix` or restic's
//! `s3:host/bucket/prefix`. Always holds: what has another scheme in front is refused rather than taken for a path.

use aquifer_engine::secret::SecretUrl;
use url::Url;

use super::{FORMS, Location, S3};

/// Reads the short form.
///
/// # Errors
/// What is wrong with it, and the forms that there are.
pub(super) fn parse(text: &str) -> Result<Location, String> {
    if let Some(path) = text.strip_prefix("file://") {
        return match path.starts_with('/') {
            true => Ok(Location::Folder(path.into())),
            false => Err(format!("`{text}` names a folder on another host; write `file:///path`")),
        };
    }
    if let Some(path) = text.strip_prefix("local:") {
        return Ok(Location::Folder(path.into()));
    }
    if let Some(rest) = text.strip_prefix("s3://") {
        return bucket(text, None, rest);
    }
    if let Some(rest) = text.strip_prefix("s3:") {
        let with_scheme = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
        let mut url = Url::parse(&with_scheme)
            .map_err(|error| format!("`{}` is no URL: {error}; {FORMS}", SecretUrl::new(rest)))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("credentials and options have no place in the text form of a bucket; {FORMS}"));
        }
        let path = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
        url.set_path("");
        return bucket(text, Some(url.as_str().trim_end_matches('/').to_owned()), path.trim_start_matches('/'));
    }
    match scheme(text) {
        Some(scheme) => Err(format!("there is no store `{scheme}`; {FORMS}")),
        None => Ok(Location::Folder(text.into())),
    }
}

fn bucket(text: &str, endpoint: Option<String>, rest: &str) -> Result<Location, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(format!("`{text}` names no bucket; {FORMS}"));
    }
    Ok(Location::S3(S3 { endpoint, prefix: prefix.to_owned(), ..S3::new(bucket) }))
}

/// A scheme in front of a text: `gs` in `gs://bucket`, `rest` in restic's `rest:http://…`. Paths seldom have a colon behind
/// their first word; one that does can be written with `./` in front.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    sound.then_some(scheme)
}
