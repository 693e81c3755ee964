//! Pushes a run's metrics to a Prometheus Pushgateway.
//!
//! Takes the run's report as it stands; gives nothing but a count. Always holds: metrics are sent by `POST`, which
//! replaces only families of the same name in the group, so a failed run replaces everything except the time of the last
//! success; the password is in no message.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::{Secret, SecretUrl, url_password};
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::Timestamp;
use reqwest::{Certificate, Client, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::metrics::{LABELS, exposition};
use crate::units::Period;

/// `metrics-push`.
#[derive(Debug, Clone, Copy)]
pub struct MetricsPush;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsPushParams {
    /// The Pushgateway, such as `http://127.0.0.1:9091`, with the path in front of `/metrics` if there is one.
    pub url: SecretUrl,
    /// The job: the first part of the group that the metrics replace. Usually the task's name.
    #[schemars(length(min = 1))]
    pub job: String,
    /// More labels of the group. A different value makes another group, whose metrics stay beside these: keep run ids out.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The user, where the gateway asks for one (HTTP basic authentication).
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How to trust the gateway's certificate, with `https`.
    #[serde(default)]
    pub tls: Tls,
    /// How long the push may take in all.
    #[serde(default = "ten_seconds")]
    pub timeout: Period,
}

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

fn ten_seconds() -> Period {
    Period(Duration::from_secs(10))
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricsPushOutputs {
    /// How many samples were pushed.
    pub samples: u64,
}

impl Function for MetricsPush {
    const NAME: &'static str = "metrics-push";
    const SUMMARY: &'static str = "Push metrics of this run to a Prometheus Pushgateway.";
    const REPEAT: &'static str =
        "Replaces what the group holds, except for the time of the last success after a run that failed.";
    type Params = MetricsPushParams;
    type Ports = Action;
    type Outputs = MetricsPushOutputs;

    fn streams(_: Option<&MetricsPushParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &MetricsPushParams) -> Result<(), ParamError> {
        let url = base(&params.url)?;
        if params.username.is_some() && !url.username().is_empty() {
            return Err(ParamError::new("username", "there is a user in `url` too").with_help("leave one of them out"));
        }
        if params.password.is_some() && params.username.is_none() {
            return Err(ParamError::new("password", "there is a `password` and no `username`")
                .with_help("write `username` as well"));
        }
        if params.job.is_empty() {
            return Err(ParamError::new("job", "the job is empty").with_help("write `job: \"{{ task.name }}\"`"));
        }
        for label in params.labels.keys() {
            let mut bytes = label.bytes();
            let sound = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !label.starts_with("__");
            let at = format!("labels.{label}");
            if !sound {
                return Err(ParamError::new(at, format!("`{label}` is no label name")).with_help(
                    "a label name is made of letters, digits and `_`, and begins with no digit and no `__`",
                ));
            }
            if label == "job" || LABELS.contains(&label.as_str()) {
                return Err(ParamError::new(at, format!("the label `{label}` is taken by the metrics themselves"))
                    .with_help("choose another name"));
            }
        }
        Ok(())
    }

    async fn run(&self, params: MetricsPushParams, _: Action, call: &Call) -> Result<MetricsPushOutputs, Failure> {
        let metrics = exposition(&call.so_far(), Timestamp::now());
        let push = push(&params, metrics.text);
        call.or_cancelled(push).await??;
        Ok(MetricsPushOutputs { samples: metrics.samples })
    }
}

fn base(url: &SecretUrl) -> Result<Url, ParamError> {
    let no_url = |why: String| {
        ParamError::new("url", format!("`{url}` is no address of a Pushgateway: {why}"))
            .with_help("write it as `http://127.0.0.1:9091`")
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
        "http" | "https" if parsed.query().is_none() && parsed.fragment().is_none() => Ok(parsed),
        "http" | "https" => Err(no_url("there is something behind its path".to_owned())),
        scheme => Err(no_url(format!("`{scheme}` is neither `http` nor `https`"))),
    }
}

/// The group's address: `/metrics/job/JOB/LABEL/VALUE…`, see "URL" in the Pushgateway's README.
fn group(params: &MetricsPushParams) -> Result<Url, ParamError> {
    let mut url = base(&params.url)?;
    let taken = "the address takes no path".to_owned();
    {
        let mut path = url.path_segments_mut().map_err(|()| ParamError::new("url", taken))?;
        path.pop_if_empty().push("metrics");
        let labels = params.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        for (label, value) in std::iter::once(("job", params.job.as_str())).chain(labels) {
            // What a server or proxy between might take for a part of the path's shape goes as base64.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if !value.is_empty() && value.bytes().all(plain) {
                path.push(label).push(value);
            } else if value.is_empty() {
                path.push(&format!("{label}@base64")).push("=");
            } else {
                path.push(&format!("{label}@base64")).push(&URL_SAFE.encode(value));
            }
        }
    }
    Ok(url)
}

async fn client(params: &MetricsPushParams, url: &Url) -> Result<Client, Failure> {
    let mut builder = Client::builder()
        .timeout(params.timeout.0)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("aquifer/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        // Without TLS no certificates are needed, and a container often has none.
        builder = builder.tls_certs_only([]);
    }
    if let Some(path) = &params.tls.ca_file {
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
    if params.tls.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| Failure::config("cannot set up the connection").caused_by(&error))
}

async fn push(params: &MetricsPushParams, text: String) -> Result<(), Failure> {
    let url = group(params).map_err(|error| Failure::config(error.to_string()))?;
    let shown = &params.url;
    let client = client(params, &url).await?;
    let mut request = client.post(url).header("content-type", "text/plain; version=0.0.4; charset=utf-8").body(text);
    if let Some(username) = &params.username {
        request = request.basic_auth(username, params.password.as_ref().map(Secret::expose));
    }
    let answer = request.send().await.map_err(|error| {
        let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        // The address in the error would show a password that stands in it.
        Failure::unavailable(format!("the Pushgateway at `{shown}` {what}")).caused_by(&error.without_url())
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
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
    Err(Failure::new(kind, format!("the Pushgateway at `{shown}` answered {status}{said}")))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_said() {
        for text in ["http://me:Sup@er/Secret99@h:9091", "http://me:Super/Secret99@h", "http://me:Su?Secret99@h/x"] {
            let error = base(&SecretUrl::new(text)).expect_err(text);
            let help = error.help.clone().unwrap_or_default();
            assert!(!format!("{error:?}").contains("Secret99") && help.contains("%2F"), "{error:?}");
        }
        base(&SecretUrl::new("http://me:p%2Fss@h:9091/x")).expect("sound");
    }

    #[test]
    fn a_group_is_addressed_by_the_gateways_rules() {
        let params = |value: serde_json::Value| serde_json::from_value::<MetricsPushParams>(value).expect("sound");
        let path = |value| group(&params(value)).expect("sound").path().to_owned();
        assert_eq!(path(json!({"url": "http://h", "job": "nightly_1"})), "/metrics/job/nightly_1");
        assert_eq!(path(json!({"url": "http://h/", "job": "a"})), "/metrics/job/a");
        assert_eq!(
            path(json!({"url": "https://h/push/", "job": "a/b", "labels": {"x": "", "y": "..", "z": "ü"}})),
            "/push/metrics/job@base64/YS9i/x@base64/=/y@base64/Li4=/z@base64/w7w="
        );
    }
}
