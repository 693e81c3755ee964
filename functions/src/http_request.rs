//! Sends an HTTP request, such as a call to whoever wants to hear of a backup.
//!
//! Takes an address, and a body or a form where the method has one. Gives the answer's status. Always holds: an answer of 400 or above is a failure;
//! redirects are not followed; the values of headers and a password in the address are in no message.

use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::secret::{MaybeSecret, SecretUrl};
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::http::{self, Tls};
use crate::units::Period;

/// `http-request`.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRequestParams {
    /// The address, such as `https://chat.example.com/hooks/backup`.
    pub url: SecretUrl,
    /// The method; `GET` unless said.
    #[serde(default)]
    pub method: Method,
    /// Headers.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// The body.
    #[serde(default)]
    pub body: Option<MaybeSecret>,
    /// Fields of a form, in the place of a body.
    #[serde(default)]
    pub form: Vec<Field>,
    /// How to trust the server's certificate, with `https`.
    #[serde(default)]
    pub tls: Tls,
    /// How long the request may take in all.
    #[serde(default = "half_a_minute")]
    pub timeout: Period,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Asks.
    #[default]
    Get,
    /// Tells.
    Post,
    /// Puts.
    Put,
}

/// A header.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: MaybeSecret,
}

/// A field of a form.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: MaybeSecret,
}

fn half_a_minute() -> Period {
    Period(Duration::from_secs(30))
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestOutputs {
    /// The answer's status, such as 200.
    pub status: u16,
}

impl Function for HttpRequest {
    const NAME: &'static str = "http-request";
    const SUMMARY: &'static str = "Send an HTTP request.";
    const REPEAT: &'static str = "Sends it again.";
    type Params = HttpRequestParams;
    type Ports = Action;
    type Outputs = HttpRequestOutputs;

    fn streams(_: Option<&HttpRequestParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &HttpRequestParams) -> Result<(), ParamError> {
        http::address(&params.url, "a server", "http://127.0.0.1:8080/path")?;
        for (at, header) in params.headers.iter().enumerate() {
            pair(header).map_err(|why| ParamError::new(format!("headers[{at}]"), why))?;
        }
        let has_body = params.body.is_some() || !params.form.is_empty();
        if has_body && params.method == Method::Get {
            return Err(ParamError::new("method", "a `GET` has no body").with_help("write `method: POST`"));
        }
        if params.body.is_some() && !params.form.is_empty() {
            return Err(ParamError::new("form", "there is a `body` too").with_help("leave one of them out"));
        }
        Ok(())
    }

    async fn run(&self, params: HttpRequestParams, _: Action, call: &Call) -> Result<HttpRequestOutputs, Failure> {
        call.or_cancelled(send(&params)).await?
    }
}

/// A header as it is sent.
fn pair(header: &Header) -> Result<(HeaderName, HeaderValue), String> {
    let name: HeaderName = header.name.parse().map_err(|_| format!("`{}` is no name of a header", header.name))?;
    let mut value = HeaderValue::from_str(header.value.expose())
        .map_err(|_| format!("the value of `{}` has a character in it that headers cannot have", header.name))?;
    value.set_sensitive(true);
    Ok((name, value))
}

async fn send(params: &HttpRequestParams) -> Result<HttpRequestOutputs, Failure> {
    let config = |error: ParamError| Failure::config(error.to_string());
    let url = http::address(&params.url, "a server", "http://127.0.0.1:8080/path").map_err(config)?;
    let server = format!("the server at `{}`", params.url);
    let client = http::client(&params.tls, params.timeout.0, &url).await?;
    let method = match params.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    };
    let mut request = client.request(method, url);
    if let Some(body) = &params.body {
        request = request.body(body.expose().to_owned());
    }
    if !params.form.is_empty() {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params.form.iter().map(|field| (&field.name, field.value.expose())));
        request = request.header("content-type", "application/x-www-form-urlencoded").body(form.finish());
    }
    for header in &params.headers {
        let (name, value) = pair(header).map_err(Failure::config)?;
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|error| http::unanswered(&server, error))?;
    let status = answer.status();
    if status.is_client_error() || status.is_server_error() {
        return Err(http::refused(&server, answer).await);
    }
    Ok(HttpRequestOutputs { status: status.as_u16() })
}
