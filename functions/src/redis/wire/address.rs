//! Where a server is and who asks: a URL, taken apart.
//!
//! Takes `redis://`, `rediss://`, `redis+unix://` or the path of a socket; the same with `+sentinel` or `+cluster` and several
//! hosts. Gives an [`Address`]. Always holds: a part
//! of the URL that would not be used is refused, and no message has the password in it.

use aquifer_engine::function::ParamError;
use aquifer_engine::secret::{Secret, SecretUrl, url_password};
use percent_encoding::percent_decode_str;
use url::Url;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host's name or address, and its port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(String),
}

/// What is found at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A server; or, as it may turn out, a node of a cluster.
    Server,
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels, which know where the servers of this name are.
    Sentinels(String),
}

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// More of the same: of a cluster's nodes, or of sentinels.
    pub(crate) others: Vec<Place>,
    pub(crate) found: Found,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    /// The database named in the URL.
    pub(crate) database: Option<u32>,
}

const ENCODE: &str = "percent-encode it in the url (`/` is `%2F`, `@` is `%40`, `?` is `%3F`, `#` is `%23`), or give it apart, as `password` (`redisPassword`, `fromPassword` or `toPassword` of the shipped tasks)";

const FORMS: &str = "write `redis://host:6379`, `rediss://host:6379` for TLS, `redis+unix:///path/of/the.sock`, `redis+cluster://host:7000,host:7001`, or `redis+sentinel://host:26379,host:26379/NAME`";

fn wrong(message: impl Into<String>) -> ParamError {
    ParamError::new("url", message).with_help(FORMS)
}

fn decoded(text: &str) -> Result<String, ParamError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| wrong("a part of the url is not UTF-8 once it is decoded"))
}

fn database(text: &str) -> Result<u32, ParamError> {
    text.parse().map_err(|_| wrong(format!("`{text}` is no database's number")))
}

/// True where something behind `?` looks like a password. Nothing else looks at the URL before: only a password in front of
/// the host is hidden where a URL is shown.
fn holds_password(text: &str) -> bool {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name.to_ascii_lowercase().starts_with("pass"))
}

/// Refuses a password that was not percent-encoded, and so would be read as a host, a path or an option. No part of it is
/// said: the rest of a URL that was cut in the wrong place may be the rest of a password.
fn encoded(text: &str) -> Result<(), ParamError> {
    let begin = text.find("://").map_or(0, |at| at + 3);
    let authority = text[begin..].find(['/', '?', '#']).map_or(text.len(), |at| begin + at);
    if url_password(text).is_some_and(|(_, at)| at >= authority) {
        return Err(ParamError::new("url", "in front of its last `@` stands a character that ends a password there")
            .with_help(ENCODE));
    }
    // Without any `@` nobody can tell a password from a port.
    let (_, port) = text[begin..authority].rsplit_once(':').unwrap_or_default();
    if begin > 0 && !text.contains(['@', ',']) && !port.contains(']') && port.contains(|c: char| !c.is_ascii_digit()) {
        return Err(ParamError::new("url", "what stands behind the host's `:` is no port").with_help(
            "write the port's number; a password has an `@` and the host behind it: `redis://:word@host:6379`",
        ));
    }
    Ok(())
}

/// Takes a URL apart.
///
/// # Errors
/// The URL has another form, or a part that would not be used.
pub(crate) fn parse(url: &SecretUrl) -> Result<Address, ParamError> {
    let text = url.expose();
    if text.starts_with('/') {
        let place = Place::Unix(text.to_owned());
        let (others, found) = (Vec::new(), Found::Server);
        return Ok(Address { place, others, found, tls: false, username: None, password: None, database: None });
    }
    encoded(text)?;
    if holds_password(text) {
        return Err(ParamError::new("url", "a password behind `?` would be shown with the url")
            .with_help("give `password`, or write it in front of the host: `redis://:word@host`"));
    }
    match text.split_once("://") {
        Some((scheme @ ("redis+cluster" | "rediss+cluster"), rest)) => return cluster(url, scheme, rest),
        Some((scheme @ ("redis+sentinel" | "rediss+sentinel"), rest)) => return sentinels(url, scheme, rest),
        _ => {}
    }
    let parsed = Url::parse(text).map_err(|error| wrong(format!("`{url}` is no url: {error}")))?;
    if parsed.fragment().is_some() {
        return Err(wrong("the part behind `#` would not be used").with_help("how TLS is done is said in `tls`"));
    }
    let mut username = Some(decoded(parsed.username())?).filter(|name| !name.is_empty());
    let password = parsed.password().map(decoded).transpose()?.filter(|word| !word.is_empty()).map(Secret::new);
    let (place, tls, mut number) = match parsed.scheme() {
        scheme @ ("redis" | "rediss") => {
            let host = match parsed.host() {
                Some(url::Host::Ipv6(address)) => address.to_string(),
                Some(host) => decoded(&host.to_string())?,
                None => return Err(wrong(format!("`{url}` names no host"))),
            };
            let path = parsed.path().trim_start_matches('/');
            let number = if path.is_empty() { None } else { Some(database(path)?) };
            (Place::Tcp(host, parsed.port().unwrap_or(6379)), scheme == "rediss", number)
        }
        "redis+unix" | "unix" => {
            if parsed.host_str().is_some_and(|host| !host.is_empty()) {
                return Err(wrong(format!("`{url}` has a host in front of the socket's path")));
            }
            (Place::Unix(decoded(parsed.path())?), false, None)
        }
        scheme => return Err(wrong(format!("`{scheme}` is no scheme that is known here"))),
    };
    for (name, value) in parsed.query_pairs() {
        match (name.as_ref(), &place) {
            ("db", Place::Unix(_)) => number = Some(database(&value)?),
            ("user", Place::Unix(_)) => username = Some(value.into_owned()),
            _ => return Err(wrong(format!("`{name}` behind `?` would not be used"))),
        }
    }
    Ok(Address { place, others: Vec::new(), found: Found::Server, tls, username, password, database: number })
}

/// Several hosts between a user and a path; the path as it stands.
fn several<'t>(url: &SecretUrl, scheme: &str, rest: &'t str, port: u16) -> Result<(Address, &'t str), ParamError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let single = if scheme.starts_with("rediss") { "rediss" } else { "redis" };
    let mut found: Option<Address> = None;
    for host in hosts.split(',').map(str::trim) {
        // A port stands behind the last colon, and behind the bracket of an address that has colons itself.
        let ported = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let host = if ported || host.is_empty() { host.to_owned() } else { format!("{host}:{port}") };
        let one = parse(&SecretUrl::new(format!("{single}://{user}@{host}")))
            .map_err(|_| wrong(format!("`{url}` has a part between its commas that is no host with a port")))?;
        match &mut found {
            None => found = Some(one),
            Some(address) if address.place == one.place || address.others.contains(&one.place) => {
                return Err(wrong(format!("`{url}` names a host twice")));
            }
            Some(address) => address.others.push(one.place),
        }
    }
    if path.contains(['?', '#']) {
        return Err(wrong(format!("`{url}`: what stands behind `?` or `#` would not be used")));
    }
    found.map(|address| (address, path)).ok_or_else(|| wrong(format!("`{url}` names no host")))
}

fn cluster(url: &SecretUrl, scheme: &str, rest: &str) -> Result<Address, ParamError> {
    let (address, path) = several(url, scheme, rest, 6379)?;
    match path {
        "" | "/" | "/0" => Ok(Address { found: Found::Cluster, ..address }),
        _ => Err(wrong("a cluster has no database but 0")),
    }
}

fn sentinels(url: &SecretUrl, scheme: &str, rest: &str) -> Result<Address, ParamError> {
    let (address, path) = several(url, scheme, rest, 26379)?;
    let (name, number) = match path.trim_start_matches('/').split_once('/') {
        Some((name, number)) => (name, Some(database(number)?)),
        None => (path.trim_start_matches('/'), None),
    };
    let name = decoded(name)?;
    if name.is_empty() {
        return Err(wrong(format!("`{url}` does not say which master is meant")).with_help(
            "sentinels watch masters under names, often `mymaster`: `redis+sentinel://host:26379/mymaster`",
        ));
    }
    Ok(Address { found: Found::Sentinels(name), database: number, ..address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, ParamError> {
        parse(&SecretUrl::new(text))
    }

    #[test]
    fn every_form_is_read() {
        let address = read("rediss://me:p%40ss@[::1]:7000/3").expect("sound");
        assert_eq!(address.place, Place::Tcp("::1".into(), 7000));
        assert_eq!((address.tls, address.username.as_deref(), address.database), (true, Some("me"), Some(3)));
        assert_eq!(address.password.map(|word| word.expose().to_owned()).as_deref(), Some("p@ss"));
        let address = read("redis://:word@host").expect("sound");
        assert_eq!((address.place, address.username), (Place::Tcp("host".into(), 6379), None));
        let socket = Place::Unix("/run/my redis.sock".into());
        for text in ["redis+unix:///run/my%20redis.sock?db=2", "unix:///run/my%20redis.sock?db=2"] {
            let address = read(text).expect("sound");
            assert_eq!((address.place, address.database), (socket.clone(), Some(2)), "{text}");
        }
        assert_eq!(read("/run/my redis.sock").expect("sound").place, socket);
    }

    #[test]
    fn several_hosts_are_read() {
        let tcp = |host: &str, port| Place::Tcp(host.into(), port);
        let address = read("rediss+sentinel://me:p%40ss@one,two:5000,[::1]/my%20master/3").expect("sound");
        assert_eq!(address.place, tcp("one", 26379));
        assert_eq!(address.others, [tcp("two", 5000), tcp("::1", 26379)]);
        assert_eq!((address.found, address.database), (Found::Sentinels("my master".into()), Some(3)));
        assert_eq!((address.tls, address.password.map(|word| word.expose().to_owned())), (true, Some("p@ss".into())));
        let address = read("redis+cluster://one:7000,two:7001").expect("sound");
        assert_eq!((address.place, address.others), (tcp("one", 7000), vec![tcp("two", 7001)]));
        assert_eq!((address.found, address.tls, address.username), (Found::Cluster, false, None));
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_said() {
        for scheme in ["redis", "rediss", "redis+cluster", "redis+sentinel", "redis+unix"] {
            for user in ["", "me"] {
                for password in [
                    "Sup@er/Secret99",
                    "p@er/Secret99",
                    "Super/Secret99",
                    "Su#Secret99",
                    "Su?Secret99",
                    "p@Su?x=Secret99",
                    "1/Secret99",
                    "p@1/0?Secret99",
                ] {
                    let text = format!("{scheme}://{user}:{password}@h:6379/0");
                    let error = read(&text).expect_err(&text);
                    let told = format!("{error:?}{}", SecretUrl::new(text.as_str()));
                    assert!(!told.contains("Secret99") && !told.contains("Su"), "{told}");
                    assert!(
                        error
                            .help
                            .as_deref()
                            .is_some_and(|help| help.contains("%2F") && help.contains("redisPassword")),
                        "{error:?}"
                    );
                }
            }
        }
        for text in [
            "redis://:Secret99",
            "redis://me:Secret99",
            "redis://me:Secret99/0",
            "redis://:Secret99/x?y",
            ":Secret99@h:1",
            "redis:/:Secret99@h",
            "redis://Sec/Secret99@h",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.help.is_some() && !format!("{error:?}").contains("Secret99"), "{error:?}");
        }
        let address = read("redis+unix:///run/a.sock?user=a@b").expect("a user's name may have an `@`");
        assert_eq!(address.username.as_deref(), Some("a@b"));
        read("redis+unix:///run/a@b.sock").expect("a path may have an `@`");
        read("redis://:p@ss@h").expect("an `@` alone ends nothing");
    }

    #[test]
    fn what_would_not_be_used_is_refused_without_the_password() {
        for text in [
            "redis+cluster://:hunter2@a,b/1",
            "redis+cluster://:hunter2@a,,b",
            "redis+cluster://:hunter2@a:x,b",
            "redis+cluster://:hunter2@a,a",
            "redis+cluster://:hunter2@a?db=1",
            "redis+cluster://",
            "redis+sentinel://:hunter2@a,b",
            "redis+sentinel://:hunter2@a/",
            "redis+sentinel://:hunter2@a/name/x",
            "redis+sentinel://:hunter2@a/name#x",
            "redis+sentinel://a/name?password=hunter2",
            "host:6379",
            "http://me:hunter2@host",
            "redis://",
            "redis://me:hunter2@host/x",
            "redis://me:hunter2@host/1/2",
            "redis://me:hunter2@host?timeout=3",
            "rediss://me:hunter2@host#insecure",
            "redis+unix://host/run/redis.sock",
            "redis://me:hunter2@host:99999",
            "redis+unix:///x.sock?pass=hunter2",
            "redis+unix:///x.sock?db=1&p%61ss=hunter2",
            "redis+unix://host/x.sock?pass=hunter2",
            "redis://host:99999?password=hunter2",
            "redis://host?PASS=hunter2",
            "",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.help.is_some() && !format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
