//! What functions that speak HTTP share: addresses, trust, and what an answer means.
//!
//! Always holds: a password that stands in an address is in no message, and no request goes to a host that is a part of one; redirects are not followed.

use std::path::PathBuf;
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::{SecretUrl, url_password};
use reqwest::{Certificate, Client, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// How to trust a server's certificate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificates that may have signed the server's; the system's are not used then.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Take any certificate. Whoever sits between can then read and change everything.
    #[serde(default)]
    pub insecure: bool,
}

/// The address in a param named `url`, of `what` (such as `a server`), with an example.
///
/// # Errors
/// It is no address of HTTP, or one whose password is not encoded.
pub(crate) fn address(url: &SecretUrl, what: &str, example: &str) -> Result<Url, ParamError> {
    let no_url = |why: String| {
        ParamError::new("url", format!("`{url}` is no address of {what}: {why}"))
            .with_help(format!("write it as `{example}`"))
    };
    let text = url.expose();
    let begin = text.find("://").map_or(0, |at| at + 3);
    let authority = text[begin..].find(['/', '?', '#']).map_or(text.len(), |at| begin + at);
    if url_password(text).is_some_and(|(_, at)| at >= authority) {
        // A request would go to a host that is a part of the password, and messages would name it.
        return Err(no_url("in front of its last `@` stands a character that ends a password there".to_owned()).with_help(
            "percent-encode it in the url (`/` is `%2F`, `@` is `%40`), or give it apart, as `username` and `password`",
        ));
    }
    let parsed = Url::parse(text).map_err(|error| no_url(error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        scheme => Err(no_url(format!("`{scheme}` is neither `http` nor `https`"))),
    }
}

/// What requests to an address are made with.
///
/// # Errors
/// The CA file cannot be read, or holds none.
pub(crate) async fn client(tls: &Tls, timeout: Duration, url: &Url) -> Result<Client, Failure> {
    let mut builder = Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("aquifer/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        // Without TLS no certificates are needed, and a container often has none.
        builder = builder.tls_certs_only([]);
    }
    if let Some(path) = &tls.ca_file {
        let shown = path.display();
        let pem = tokio::fs::read(path)
            .await
            .map_err(|error| Failure::from_io(error, format!("reading the CA file `{shown}`")))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| Failure::config(format!("`{shown}` holds no PEM certificates")).caused_by(&error))?;
        if certificates.is_empty() {
            return Err(Failure::config(format!("`{shown}` holds no PEM certificates")));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if tls.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| Failure::config("cannot set up the connection").caused_by(&error))
}

/// Why there is no answer of `whom`.
pub(crate) fn unanswered(whom: &str, error: reqwest::Error) -> Failure {
    let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
    // The address in the error would show a password that stands in it.
    Failure::unavailable(format!("{whom} {what}")).caused_by(&error.without_url())
}

/// What it means that `whom` answered this, and not with success.
pub(crate) async fn refused(whom: &str, answer: reqwest::Response) -> Failure {
    let status = answer.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            FailureKind::Unauthorized
        }
        StatusCode::NOT_FOUND => FailureKind::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => FailureKind::Unavailable,
        status if status.is_server_error() => FailureKind::Unavailable,
        _ => FailureKind::Rejected,
    };
    let body = first_line(answer).await;
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    Failure::new(kind, format!("{whom} answered {status}{said}"))
}

/// The first line of an answer, of which no more than a few KiB are read.
async fn first_line(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < 4096 && !body.contains(&b'\n') {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_said() {
        let address = |text| address(&SecretUrl::new(text), "a server", "http://127.0.0.1");
        for text in ["http://me:Sup@er/Secret99@h:9091", "http://me:Super/Secret99@h", "http://me:Su?Secret99@h/x"] {
            let error = address(text).expect_err(text);
            let help = error.help.clone().unwrap_or_default();
            assert!(!format!("{error:?}").contains("Secret99") && help.contains("%2F"), "{error:?}");
        }
        address("http://me:p%2Fss@h:9091/x").expect("sound");
    }
}
