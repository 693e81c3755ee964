//! How to sign in at Swift: its own way (version 1), or Keystone's (version 3).
//!
//! Takes what the location or the environment says. Gives the request that asks for a token, and reads its answer. Always holds: what is
//! missing is told by its name before anything is sent.

use std::fmt;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::secret::Secret;
use http::{Request, Response, header};
use opendal::raw::parse_header_to_str;
use opendal::{Buffer, Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Swift;
use crate::location::credentials::variable;
use crate::location::kind::Door;
use crate::location::spoken::request;

/// What signs in.
pub(super) enum Login {
    /// Swift's own way.
    Own { url: String, user: String, key: Secret },
    /// Keystone's.
    Keystone { url: String, identity: Secret, region: Option<String> },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { url, .. } | Self::Keystone { url, .. } => f.debug_tuple("Login").field(url).finish(),
        }
    }
}

/// What signing in gave.
#[derive(Debug)]
pub(super) struct Session {
    /// The account's address, without a slash at its end.
    pub(super) storage: String,
    pub(super) token: Secret,
    /// How long the token is good for, where the server says so.
    pub(super) lasts: Option<Duration>,
}

/// Whether this is the address of Swift's own way.
pub(super) fn is_version_1(url: &str) -> bool {
    let url = url.trim_end_matches('/');
    url.ends_with("/v1") || url.ends_with("/v1.0")
}

/// Keystone's address with its version.
fn versioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") }
}

fn domain(name: Option<String>, id: Option<String>) -> Value {
    match (name, id) {
        (_, Some(id)) => json!({"id": id}),
        (name, None) => json!({"name": name.as_deref().unwrap_or("Default")}),
    }
}

fn of_application(id: &str, secret: &Secret) -> Secret {
    let credential = json!({"id": id, "secret": secret.expose()});
    let identity = json!({"methods": ["application_credential"], "application_credential": credential});
    Secret::new(json!({"auth": {"identity": identity}}).to_string())
}

fn of_user(mut user: Value, password: &Secret, project: Value) -> Secret {
    user["password"] = json!(password.expose());
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    Secret::new(json!({"auth": {"identity": identity, "scope": {"project": project}}}).to_string())
}

/// From a location that was checked.
///
/// # Errors
/// A file cannot be read.
pub(super) fn of_location(given: &Swift, url: &str, door: &Door<'_>) -> std::result::Result<Login, Failure> {
    let incomplete = || Failure::internal("the location says less than was checked");
    if let Some(id) = &given.application_credential_id {
        let secret = (&given.application_credential_secret, &given.application_credential_secret_file);
        let secret = door.secret(secret, &[])?.ok_or_else(incomplete)?;
        let (url, identity) = (versioned(url), of_application(id, &secret));
        return Ok(Login::Keystone { url, identity, region: given.region.clone() });
    }
    let key = door.secret((&given.password, &given.password_file), &[])?.ok_or_else(incomplete)?;
    let user = given.username.clone().ok_or_else(incomplete)?;
    if is_version_1(url) {
        return Ok(Login::Own { url: url.to_owned(), user, key });
    }
    let user = json!({"name": user, "domain": domain(given.user_domain.clone(), None)});
    let project = json!({"name": given.project, "domain": domain(given.project_domain.clone(), None)});
    Ok(Login::Keystone { url: versioned(url), identity: of_user(user, &key, project), region: given.region.clone() })
}

/// From the environment.
///
/// # Errors
/// A variable is missing.
pub(super) fn of_environment(shown: &str, door: &Door<'_>) -> std::result::Result<Login, Failure> {
    let get = |name: &'static str| variable(&[name]).map(|(_, value)| value);
    let missing = |has: &str, lacks: &str| {
        Failure::config(format!("`{has}` is set for `{shown}`, and not `{lacks}`"))
            .with_help("set what is missing, or write `authUrl` and what belongs to it into the location")
    };
    let need = |has: &'static str, name: &'static str| get(name).ok_or_else(|| missing(has, name));
    let secret =
        |has: &'static str, name: &'static str| door.secret((&None, &None), &[name])?.ok_or_else(|| missing(has, name));
    if let Some(url) = get("ST_AUTH") {
        return Ok(Login::Own { url, user: need("ST_AUTH", "ST_USER")?, key: secret("ST_AUTH", "ST_KEY")? });
    }
    let Some(url) = get("OS_AUTH_URL") else {
        return Err(Failure::config(format!("it is not known where to sign in for `{shown}`")).with_help(
            "set `ST_AUTH`, `ST_USER` and `ST_KEY`, or `OS_AUTH_URL` and what belongs to it, or write `authUrl` into the location",
        ));
    };
    let identity = match get("OS_APPLICATION_CREDENTIAL_ID") {
        Some(id) => of_application(&id, &secret("OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET")?),
        None => {
            let user = match get("OS_USER_ID") {
                Some(id) => json!({"id": id}),
                None => {
                    let of = domain(get("OS_USER_DOMAIN_NAME"), get("OS_USER_DOMAIN_ID"));
                    let others = "OS_USERNAME`, `OS_USER_ID` or `OS_APPLICATION_CREDENTIAL_ID";
                    let name = get("OS_USERNAME").ok_or_else(|| missing("OS_AUTH_URL", others))?;
                    json!({"name": name, "domain": of})
                }
            };
            let project = match get("OS_PROJECT_ID") {
                Some(id) => json!({"id": id}),
                None => {
                    let of = domain(get("OS_PROJECT_DOMAIN_NAME"), get("OS_PROJECT_DOMAIN_ID"));
                    let name = get("OS_PROJECT_NAME")
                        .ok_or_else(|| missing("OS_AUTH_URL", "OS_PROJECT_NAME` or `OS_PROJECT_ID"))?;
                    json!({"name": name, "domain": of})
                }
            };
            of_user(user, &secret("OS_AUTH_URL", "OS_PASSWORD")?, project)
        }
    };
    Ok(Login::Keystone { url: versioned(&url), identity, region: get("OS_REGION_NAME") })
}

#[derive(Deserialize)]
struct Issued {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    expires_at: Option<jiff::Timestamp>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    r#type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    url: String,
}

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, what)
}

impl Login {
    /// The request for a token.
    ///
    /// # Errors
    /// It cannot be made of this.
    pub(super) fn request(&self) -> Result<Request<Buffer>> {
        match self {
            Self::Own { url, user, key } => {
                let head = Request::get(url).header("X-Auth-User", user).header("X-Auth-Key", key.expose());
                request(head, Buffer::new())
            }
            Self::Keystone { url, identity, .. } => {
                let body = Buffer::from(identity.expose().to_owned());
                let head = Request::post(format!("{url}/auth/tokens"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(header::CONTENT_LENGTH, body.len());
                request(head, body)
            }
        }
    }

    /// Reads the answer, which says yes.
    ///
    /// # Errors
    /// It holds no token or no address, the catalog names no one store, or what is signed in to with TLS leads to a store without.
    pub(super) fn session(&self, answer: &Response<Buffer>) -> Result<Session> {
        let get = |name: &'static str| parse_header_to_str(answer.headers(), name);
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let secure = |url: &str| url.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"));
        let session = match self {
            Self::Own { .. } => {
                let (Some(token), Some(storage)) = (get("x-auth-token")?, get("x-storage-url")?) else {
                    return Err(wrong("the address to sign in at answers with no token: it may not be Swift's"));
                };
                let lasts = get("x-auth-token-expires")?.and_then(|text| text.parse().ok()).map(Duration::from_secs);
                Session { storage: bare(storage), token: Secret::new(token.to_owned()), lasts }
            }
            Self::Keystone { region, .. } => {
                let not_keystone = "the address to sign in at answers with no token: it may not be Keystone's";
                let token = get("x-subject-token")?.ok_or_else(|| wrong(not_keystone))?;
                let issued: Issued = serde_json::from_slice(&answer.body().to_bytes())
                    .map_err(|error| wrong(not_keystone).set_source(error))?;
                let stores = issued.token.catalog.into_iter().filter(|service| service.r#type == "object-store");
                let public = stores.flat_map(|service| service.endpoints).filter(|end| end.interface == "public");
                let mut found = public.filter(|end| region.is_none() || end.region == *region).map(|end| end.url);
                let storage = match (found.next(), found.next()) {
                    (Some(url), None) => bare(&url),
                    (Some(_), Some(_)) => {
                        return Err(wrong(
                            "the catalog has object stores in several regions: name one (`region`, `OS_REGION_NAME`)",
                        ));
                    }
                    (None, _) => return Err(wrong("the catalog has no public object store, or none in this region")),
                };
                let lasts = issued.token.expires_at.map(|at| at.duration_since(jiff::Timestamp::now()));
                let lasts = lasts.map(|lasts| Duration::try_from(lasts).unwrap_or_default());
                Session { storage, token: Secret::new(token.to_owned()), lasts }
            }
        };
        let (Self::Own { url, .. } | Self::Keystone { url, .. }) = self;
        if secure(url) && !secure(&session.storage) {
            return Err(wrong(
                "signing in is by `https`, and leads to a store without it, where everybody on the way could read the token: \
                 correct the store's address in the server's configuration",
            ));
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(body: Value, region: Option<&str>) -> Result<Session> {
        session_at("", body, region)
    }

    fn session_at(url: &str, body: Value, region: Option<&str>) -> Result<Session> {
        let (url, identity) = (url.to_owned(), Secret::new(String::new()));
        let login = Login::Keystone { url, identity, region: region.map(str::to_owned) };
        let answer = Response::builder().header("X-Subject-Token", "t").body(Buffer::from(body.to_string()));
        login.session(&answer.expect("sound"))
    }

    #[test]
    fn the_catalog_must_name_one_store() {
        let end =
            |interface: &str, region: &str, url: &str| json!({"interface": interface, "region": region, "url": url});
        let of = |endpoints: Value| {
            let store = json!({"type": "object-store", "endpoints": endpoints});
            let other = json!({"type": "compute", "endpoints": [end("public", "a", "http://compute")]});
            json!({"token": {"expires_at": "2100-01-01T00:00:00.000000Z", "catalog": [other, store]}})
        };
        let two = of(json!([
            end("admin", "a", "http://admin"),
            end("public", "a", "http://a/"),
            end("public", "b", "http://b")
        ]));
        assert_eq!(session(two.clone(), Some("a")).expect("one").storage, "http://a");
        assert!(session(two.clone(), Some("a")).expect("one").lasts > Some(Duration::from_secs(1 << 30)));
        assert_eq!(session(two.clone(), Some("b")).expect("one").storage, "http://b");
        for (body, region) in [(two.clone(), None), (two, Some("c")), (of(json!([])), None), (json!({}), None)] {
            assert_eq!(session(body.clone(), region).expect_err("refused").kind(), ErrorKind::ConfigInvalid, "{body}");
        }
    }

    #[test]
    fn a_token_that_came_by_tls_is_not_sent_without() {
        let own = |url: &str, storage: &str| {
            let login = Login::Own { url: url.to_owned(), user: String::new(), key: Secret::new(String::new()) };
            let answer = Response::builder().header("X-Auth-Token", "t").header("X-Storage-Url", storage);
            login.session(&answer.body(Buffer::new()).expect("sound"))
        };
        let keystone = |url: &str, storage: &str| {
            let end = json!({"interface": "public", "url": storage});
            let catalog = json!([{"type": "object-store", "endpoints": [end]}]);
            session_at(url, json!({"token": {"catalog": catalog}}), None)
        };
        for (url, storage, fine) in [
            ("https://h", "http://h/v1", false),
            ("HTTPS://h", "http://h/v1", false),
            ("https://h", "HTTPS://h/v1", true),
            ("http://h", "http://h/v1", true),
            ("http://h", "https://h/v1", true),
        ] {
            for session in [own(url, storage), keystone(url, storage)] {
                assert_eq!(session.is_ok(), fine, "{url} {storage}: {session:?}");
            }
        }
    }

    #[test]
    fn the_address_tells_the_way() {
        assert!(
            is_version_1("https://h/auth/v1.0/") && is_version_1("https://h/auth/v1") && !is_version_1("https://h/v3")
        );
        assert_eq!(
            ["https://h/", "https://h/v3/", "https://h/identity"].map(versioned),
            ["https://h/v3", "https://h/v3", "https://h/identity/v3"]
        );
    }
}
