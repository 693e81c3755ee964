//! Pushes a run's metrics to a Prometheus Pushgateway.
//!
//! Takes the run's report as it stands; gives nothing but a count. Always holds: metrics are sent by `POST`, which
//! replaces only families of the same name in the group, so a failed run replaces everything except the time of the last
//! success; the password is in no message.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::{Secret, SecretUrl};
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::http::{self, Tls};
use crate::metrics::{LABELS, exposition};
use crate::units::Period;

/// How an address is written.
const EXAMPLE: &str = "http://127.0.0.1:9091";

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
    let parsed = http::address(url, "a Pushgateway", EXAMPLE)?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        let why = format!("`{url}` is no address of a Pushgateway: there is something behind its path");
        return Err(ParamError::new("url", why).with_help(format!("write it as `{EXAMPLE}`")));
    }
    Ok(parsed)
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

/// Posts metrics in Prometheus' text form to the group that the params name.
///
/// # Errors
/// The gateway cannot be reached, or refuses them.
pub async fn push(params: &MetricsPushParams, text: String) -> Result<(), Failure> {
    let url = group(params).map_err(|error| Failure::config(error.to_string()))?;
    let gateway = format!("the Pushgateway at `{}`", params.url);
    let client = http::client(&params.tls, params.timeout.0, &url).await?;
    let mut request = client.post(url).header("content-type", "text/plain; version=0.0.4; charset=utf-8").body(text);
    if let Some(username) = &params.username {
        request = request.basic_auth(username, params.password.as_ref().map(Secret::expose));
    }
    let answer = request.send().await.map_err(|error| http::unanswered(&gateway, error))?;
    if answer.status().is_success() { Ok(()) } else { Err(http::refused(&gateway, answer).await) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
