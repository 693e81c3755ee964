//! Credentials: from the location itself, from a file, or from the environment, in this order.
//!
//! Always holds: what was read is hidden in all that is shown; two sources of one credential in one location are refused
//! when the plan is made, and so is half of a pair.

use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::Secret;
use opendal::raw::format_authorization_by_basic;

use super::kind::Door;

/// A credential as a location may name it: the value, or the file that holds it.
pub(super) type Given<'a> = (&'a Option<Secret>, &'a Option<PathBuf>);

/// Checks that there is one source and that it is not empty; gives whether there is any. `field` is the value's name.
///
/// # Errors
/// There are two, or the value is empty.
pub(super) fn check(field: &str, (value, file): Given<'_>) -> Result<bool, ParamError> {
    match (value, file) {
        (Some(_), Some(_)) => {
            Err(ParamError::new(format!("{field}File"), format!("there are a `{field}` and a `{field}File`"))
                .with_help("leave one of them out"))
        }
        (Some(value), None) if value.expose().is_empty() => {
            Err(ParamError::new(field, format!("`{field}` is empty")).with_help("leave it out, or set it"))
        }
        (None, None) => Ok(false),
        _ => Ok(true),
    }
}

/// Refuses half of a pair.
///
/// # Errors
/// One is there and the other is not.
pub(super) fn pair(one: (&str, bool), other: (&str, bool), elsewhere: &str) -> Result<(), ParamError> {
    let missing = |has: &str, lacks: &str| {
        Err(ParamError::new(lacks, format!("there is `{has}` without `{lacks}`"))
            .with_help(format!("write `{lacks}` as well, or leave both to {elsewhere}")))
    };
    match (one, other) {
        ((has, true), (lacks, false)) | ((lacks, false), (has, true)) => missing(has, lacks),
        _ => Ok(()),
    }
}

/// The first of these environment variables that is set, and its name.
#[expect(
    clippy::disallowed_methods,
    reason = "where the providers' own tools look for credentials; which names count is known only to the kind of store"
)]
pub(super) fn variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| Some((*name, std::env::var(name).ok().filter(|value| !value.is_empty())?)))
}

impl Door<'_> {
    /// A credential, from the location, a file, or else one of these environment variables.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub(super) fn secret(&self, (value, file): Given<'_>, names: &[&'static str]) -> Result<Option<Secret>, Failure> {
        let read = match (value, file) {
            (Some(value), _) => return Ok(Some(value.clone())),
            (None, Some(path)) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::from_io(error, format!("reading the credential in `{shown}`")))?;
                let text = text.trim();
                if text.is_empty() {
                    return Err(Failure::config(format!("the file `{shown}` is empty")).with_help(
                        "it must hold the credential and nothing else; white space around it does not count",
                    ));
                }
                text.to_owned()
            }
            (None, None) => match variable(names) {
                Some((_, value)) => value,
                None => return Ok(None),
            },
        };
        self.call.hide(&read);
        Ok(Some(Secret::new(read)))
    }

    /// The header for a user and a password, from the location or else from these two environment variables; none where there are
    /// neither.
    ///
    /// # Errors
    /// There is one without the other, or the password cannot be read.
    pub(super) fn basic(
        &self,
        shown: &str,
        (username, password): (&Option<String>, Given<'_>),
        names: [&'static str; 2],
    ) -> Result<Option<String>, Failure> {
        let password = self.secret(password, &names[1..])?;
        let username = username.clone().or_else(|| variable(&names[..1]).map(|(_, name)| name));
        match (username, password) {
            (Some(username), Some(password)) => {
                let basic = format_authorization_by_basic(&username, password.expose())
                    .map_err(|error| Failure::config(format!("the user of `{shown}`: {}", error.message())))?;
                // The header holds the password in another form.
                if let Some((_, coded)) = basic.split_once(' ') {
                    self.call.hide(coded);
                }
                Ok(Some(basic))
            }
            (None, None) => Ok(None),
            (username, _) => {
                let missing = if username.is_some() { "password" } else { "user" };
                Err(Failure::config(format!("there is no {missing} for `{shown}`")).with_help(format!(
                    "`{}` and `{}`, or `username` and `password`, belong together",
                    names[0], names[1]
                )))
            }
        }
    }
}
