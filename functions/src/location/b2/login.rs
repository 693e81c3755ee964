//! The login at B2, and the S3 service that it leads to.
//!
//! Takes a key. Gives the account's own server. Always holds: a key that cannot work on the place is told with the reason before anything
//! is asked of that place; what passes by itself is marked so; neither the key nor the answer's token is in any message.

use std::fmt;

use aquifer_engine::secret::Secret;
use http::{Request, Response, StatusCode, header};
use opendal::raw::Servicer;
use opendal::services::S3;
use opendal::{Buffer, Error, ErrorKind, HttpTransporter, Operator, Result};
use serde::Deserialize;
use url::Url;

use crate::location::spoken::{refusal, request};

/// What logs in, and for which place.
pub(super) struct Account {
    /// Without a slash at its end.
    pub(super) login: String,
    pub(super) id: String,
    pub(super) key: Secret,
    /// Both, as the login's header has them.
    pub(super) basic: Option<Secret>,
    pub(super) bucket: String,
    /// Without slashes around it.
    pub(super) prefix: String,
    pub(super) transport: HttpTransporter,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("login", &self.login).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    account_id: String,
    api_info: Suites,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suites {
    storage_api: Option<Storage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Storage {
    s3_api_url: String,
    /// What the key is bound to, where it is.
    bucket_name: Option<String>,
    name_prefix: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
    #[serde(default)]
    message: String,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, what)
}

/// What a key is not good for.
fn unfit(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::PermissionDenied, what)
}

/// What B2 says to a login that it refuses.
fn refused(answer: Response<Buffer>) -> Error {
    let (head, body) = answer.into_parts();
    // Something else than B2 may stand there, and answer with a page.
    let told = serde_json::from_slice::<Refused>(&body.to_bytes()).ok();
    if let Some(told) = told.as_ref().filter(|told| told.code.ends_with("cap_exceeded")) {
        return Error::new(
            ErrorKind::RateLimited,
            format!(
                "the account has reached a cap that was set for it (`{}`): raise it in Backblaze's page `Caps & Alerts`, or wait until \
                 midnight UTC",
                told.code
            ),
        );
    }
    let said = told.map_or_else(String::new, |told| format!("{} (`{}`)", told.message, told.code).trim().to_owned());
    if head.status == StatusCode::UNAUTHORIZED {
        return unfit(format!("B2 does not know the application key: {said}").trim_end_matches([':', ' ']).to_owned());
    }
    if head.status == StatusCode::BAD_REQUEST {
        return wrong(format!("B2 does not understand the login: {said}").trim_end_matches([':', ' ']).to_owned());
    }
    refusal("the login", &Response::from_parts(head, Buffer::from(said)))
}

/// The region that a host of B2's S3 names: `us-west-004` of `s3.us-west-004.backblazeb2.com`.
fn region(host: &str) -> Option<&str> {
    host.strip_prefix("s3.")?.split_once('.').map(|(region, _)| region)
}

impl Account {
    /// The S3 service at an address.
    ///
    /// # Errors
    /// The library cannot be set up with it.
    pub(super) fn service_at(&self, address: &str, region: &str) -> Result<Servicer> {
        let builder = S3::default()
            .bucket(&self.bucket)
            .root(&format!("/{}", self.prefix))
            .endpoint(address)
            .region(region)
            .access_key_id(&self.id)
            .secret_access_key(self.key.expose())
            .disable_config_load()
            .disable_ec2_metadata();
        Ok(Operator::new(builder)?.into_parts().1)
    }

    /// Logs in.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the key, or answers something else; the key is not one for this place.
    pub(super) async fn enter(&self) -> Result<Servicer> {
        let mut head = Request::get(format!("{}/b2api/v3/b2_authorize_account", self.login));
        if let Some(basic) = &self.basic {
            head = head.header(header::AUTHORIZATION, basic.expose());
        }
        let answer = self.transport.send(request(head, Buffer::new())?).await?;
        if !answer.status().is_success() {
            return Err(refused(answer));
        }
        let (address, region) = self.place(&answer.body().to_bytes())?;
        self.service_at(&address, &region)
    }

    /// The address and region of the account's S3.
    fn place(&self, answer: &[u8]) -> Result<(String, String)> {
        // The parser's own words may hold a piece of the answer, which has a token in it.
        let answer: Answer = serde_json::from_slice(answer).map_err(|_| {
            wrong(format!("`{}` answers the login with something else than B2: it may not be B2's", self.login))
        })?;
        if answer.account_id == self.id {
            return Err(unfit(
                "this is the account's master key, which B2's S3 protocol does not take: make an application key for the bucket in \
                 Backblaze's page `Application Keys`, and use that",
            ));
        }
        let storage = answer.api_info.storage_api.ok_or_else(|| {
            unfit("the key is not for B2's storage: make an application key for the bucket in Backblaze's page `Application Keys`")
        })?;
        if let Some(bucket) = storage.bucket_name.filter(|bucket| *bucket != self.bucket) {
            return Err(unfit(format!("the application key is for the bucket `{bucket}` alone")));
        }
        if let Some(prefix) = storage.name_prefix.filter(|prefix| !format!("{}/", self.prefix).starts_with(prefix)) {
            return Err(unfit(format!("the application key is for names alone that begin with `{prefix}`")));
        }
        let nowhere =
            || wrong(format!("`{}` answers the login with an address that is none: it may not be B2's", self.login));
        let url = Url::parse(&storage.s3_api_url).map_err(|_| nowhere())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(nowhere)?;
        if url.scheme() == "http" && self.login.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
            return Err(wrong(format!(
                "the login is by `https`, and leads to `{host}` without it, where everybody on the way could read and change everything"
            )));
        }
        let region = region(host).unwrap_or("us-east-1").to_owned();
        Ok((url.origin().ascii_serialization(), region))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_login_with_tls_leads_to_no_place_without() {
        for (login, address, place) in [
            ("https://h", "https://s3.us-west-004.backblazeb2.com", Some("us-west-004")),
            ("https://h", "http://s3.us-west-004.backblazeb2.com", None),
            ("HTTPS://h", "HTTP://s3.us-west-004.backblazeb2.com", None),
            ("http://h", "http://127.0.0.1:9/", Some("us-east-1")),
        ] {
            let account = Account {
                login: login.to_owned(),
                id: String::new(),
                key: Secret::new(String::new()),
                basic: None,
                bucket: "b".to_owned(),
                prefix: String::new(),
                transport: HttpTransporter::default(),
            };
            let answer = json!({"accountId": "a", "apiInfo": {"storageApi": {"s3ApiUrl": address}}}).to_string();
            let found = account.place(answer.as_bytes());
            assert_eq!(found.as_ref().ok().map(|(_, region)| region.as_str()), place, "{login} {address}: {found:?}");
        }
    }

    #[test]
    fn the_host_tells_the_region() {
        assert_eq!(region("s3.us-west-004.backblazeb2.com"), Some("us-west-004"));
        assert_eq!(region("s3.eu-central-003.backblazeb2.com"), Some("eu-central-003"));
        assert_eq!([region("127.0.0.1"), region("s3")], [None, None]);
    }
}
