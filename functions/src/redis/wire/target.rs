//! Which server a function talks to: the connection params that each Redis function has, checked and made into one value.
//!
//! Takes the fields as each function declares them. Gives a [`Target`], which [`Connection::open`] connects to. Always
//! holds: `username` and `password` given apart win over those in the url; TLS settings without TLS are refused.
//!
//! [`Connection::open`]: crate::redis::wire::connection::Connection::open

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::{Secret, SecretUrl};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::redis::wire::address::{self, Address, Found, Place};
use crate::redis::wire::outgoing::Names;
use crate::redis::wire::tls::Tls;
use crate::units::Period;

/// How long to wait for a connection unless told otherwise.
pub(crate) fn connect_timeout() -> Period {
    Period(Duration::from_secs(10))
}

/// How long to wait for an answer unless told otherwise: long enough for a server that forks or reads a value of 512 MB.
pub(crate) fn answer_timeout() -> Period {
    Period(Duration::from_secs(60))
}

/// The version of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// What every server speaks.
    #[default]
    Second,
    /// Asked for by `HELLO 3` (Redis 6).
    Third,
}

/// Which of a master and its replicas is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The master.
    Master,
    /// A replica.
    Replica,
}

/// How to sign in at sentinels.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SentinelLogin {
    /// Who connects, where the sentinels have users (ACL).
    pub username: Option<String>,
    /// The sentinels' password.
    pub password: Option<Secret>,
}

/// Declares the params of a function that talks to a server: those of the connection, then the function's own.
///
/// `serde` cannot both flatten one struct into another and refuse unknown fields, and the pages are made from the
/// structs, so the fields are written into each of them.
macro_rules! with_server {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(#[$url:meta])*
            url,
            $($own:tt)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $(#[$url])*
            pub url: aquifer_engine::secret::SecretUrl,
            /// Who connects, where the server has users (ACL); wins over the url's.
            #[serde(default)]
            pub username: Option<String>,
            /// The password; wins over the url's.
            #[serde(default)]
            pub password: Option<aquifer_engine::secret::Secret>,
            /// How TLS is spoken, with `rediss://`.
            #[serde(default)]
            pub tls: Option<$crate::redis::wire::tls::Tls>,
            /// How long to wait for a connection; `10s` unless said.
            #[serde(default = "crate::redis::wire::target::connect_timeout")]
            pub connect_timeout: $crate::units::Period,
            /// How long to wait for any answer; `60s` unless said. A server that is still loading its data answers so at once, and the
            /// step fails as `unavailable`, which another attempt may mend.
            #[serde(default = "crate::redis::wire::target::answer_timeout")]
            pub answer_timeout: $crate::units::Period,
            /// How to sign in at the sentinels, with `redis+sentinel://`; the user and password of the url are those of the servers.
            #[serde(default)]
            pub sentinel: Option<$crate::redis::wire::target::SentinelLogin>,
            /// Where nodes of a cluster, or servers that sentinels name, are reached from here, where they announce another address:
            /// `{"10.0.0.5:6379": "gateway:7005"}`. Where one announces 127.0.0.1 or nothing, it is looked for on the host that said so.
            #[serde(default)]
            pub nodes: std::collections::BTreeMap<String, String>,
            /// The commands that the server has under other names (`rename-command`): `{"SCAN": "xyz"}`.
            #[serde(default)]
            pub commands: std::collections::BTreeMap<String, String>,
            /// The version of the protocol: `2` (unless said), or `3` (Redis 6).
            #[serde(default)]
            pub protocol: Option<u8>,
            $($own)*
        }

        impl $name {
            fn server(&self) -> $crate::redis::wire::target::Written<'_> {
                $crate::redis::wire::target::Written {
                    url: &self.url,
                    username: self.username.as_deref(),
                    password: self.password.as_ref(),
                    tls: self.tls.as_ref(),
                    connect_timeout: self.connect_timeout,
                    answer_timeout: self.answer_timeout,
                    sentinel: self.sentinel.as_ref(),
                    nodes: &self.nodes,
                    commands: &self.commands,
                    protocol: self.protocol,
                }
            }
        }
    };
}
pub(crate) use with_server;

/// The connection params, as the functions declare them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'p> {
    pub(crate) url: &'p SecretUrl,
    pub(crate) username: Option<&'p str>,
    pub(crate) password: Option<&'p Secret>,
    pub(crate) tls: Option<&'p Tls>,
    pub(crate) connect_timeout: Period,
    pub(crate) answer_timeout: Period,
    pub(crate) sentinel: Option<&'p SentinelLogin>,
    pub(crate) nodes: &'p BTreeMap<String, String>,
    pub(crate) commands: &'p BTreeMap<String, String>,
    pub(crate) protocol: Option<u8>,
}

/// A server and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) sentinel: SentinelLogin,
    /// Announced addresses and those that are used instead.
    pub(crate) nodes: BTreeMap<String, (String, u16)>,
    pub(crate) names: Names,
    pub(crate) protocol: Protocol,
}

impl Written<'_> {
    /// Checks the params and makes them one.
    ///
    /// # Errors
    /// The param that is wrong.
    pub(crate) fn target(&self) -> Result<Target, ParamError> {
        let mut address = address::parse(self.url)?;
        if let Some(name) = self.username {
            address.username = Some(name.to_owned());
        }
        if let Some(word) = self.password {
            if word.expose().is_empty() {
                return Err(ParamError::new("password", "the password is empty").with_help(
                    "the param or the variable that it comes from (`--set-env`) is empty: fill it, or leave it out for a server that asks for none",
                ));
            }
            address.password = Some(word.clone());
        }
        if address.username.is_some() && address.password.is_none() {
            return Err(ParamError::new("username", "a user needs a password").with_help(
                "give `password` (`redisPassword`, `fromPassword` or `toPassword` of the shipped tasks) too",
            ));
        }
        let tls = match (address.tls, self.tls) {
            (true, tls) => Some(tls.cloned().unwrap_or_default()),
            (false, None) => None,
            (false, Some(_)) => {
                return Err(ParamError::new("tls", "the url does not speak TLS")
                    .with_help("write `rediss://` instead of `redis://`"));
            }
        };
        if let Some(tls) = &tls {
            tls.check()?;
        }
        for (name, period) in [("connectTimeout", self.connect_timeout), ("answerTimeout", self.answer_timeout)] {
            if period.0.is_zero() {
                return Err(ParamError::new(name, "no time at all is too little"));
            }
        }
        let protocol = match self.protocol {
            None | Some(2) => Protocol::Second,
            Some(3) => Protocol::Third,
            Some(other) => {
                return Err(ParamError::new("protocol", format!("there is no version {other} of the protocol"))
                    .with_help("write 2 or 3, or leave it out"));
            }
        };
        Ok(Target {
            sentinel: self.sentinel_login(&address)?,
            nodes: self.mapped()?,
            names: Names::new(self.commands)?,
            protocol,
            address,
            tls,
            connect_timeout: self.connect_timeout.0,
            answer_timeout: self.answer_timeout.0,
        })
    }

    fn sentinel_login(&self, address: &Address) -> Result<SentinelLogin, ParamError> {
        let Some(login) = self.sentinel else { return Ok(SentinelLogin::default()) };
        if !matches!(address.found, Found::Sentinels(_)) {
            return Err(ParamError::new("sentinel", "the url does not name sentinels")
                .with_help("write `redis+sentinel://host:26379/NAME`, or leave `sentinel` out"));
        }
        if login.username.is_some() && login.password.is_none() {
            return Err(ParamError::new("sentinel.username", "a user needs a password")
                .with_help("give `sentinel.password` too"));
        }
        Ok(login.clone())
    }

    fn mapped(&self) -> Result<BTreeMap<String, (String, u16)>, ParamError> {
        let place = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!host.is_empty()).then_some((host.to_owned(), port.parse::<u16>().ok()?))
        };
        let one = |(from, to): (&String, &String)| match (place(from), place(to)) {
            (Some((host, port)), Some(to)) => Ok((shown(&host, port), to)),
            _ => Err(ParamError::new(format!("nodes.{from}"), "both sides have to be a host and a port")
                .with_help("write the announced address on the left: `10.0.0.5:6379: gateway:7005`")),
        };
        self.nodes.iter().map(one).collect()
    }

    /// The same, where the params were checked when the plan was made.
    ///
    /// # Errors
    /// As [`Written::target`].
    pub(crate) fn checked(&self) -> Result<Target, Failure> {
        Ok(self.target()?)
    }
}

impl Target {
    /// The server's name in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.address.place {
            Place::Tcp(host, port) => shown(host, *port),
            Place::Unix(path) => path.clone(),
        }
    }

    /// The same way of talking, to a server that is somewhere else.
    pub(crate) fn at(&self, place: Place) -> Self {
        let address = Address { place, others: Vec::new(), found: Found::Server, ..self.address.clone() };
        Self { address, ..self.clone() }
    }

    /// The places that the url names.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.address.place).chain(&self.address.others)
    }

    /// Where to go for an address that the server at `teller` announced.
    pub(crate) fn announced(&self, host: &str, port: u16, teller: &Place) -> Place {
        if let Some((host, port)) = self.nodes.get(&shown(host, port)) {
            return Place::Tcp(host.clone(), *port);
        }
        match teller {
            // Who says so knows itself by no better address; it can only be where it was found.
            Place::Tcp(found, _) if is_here(host) => Place::Tcp(found.clone(), port),
            _ if host.is_empty() => Place::Tcp("127.0.0.1".to_owned(), port),
            _ => Place::Tcp(host.to_owned(), port),
        }
    }
}

fn is_here(host: &str) -> bool {
    host.is_empty()
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// An address as it is written.
pub(crate) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_address_is_made_one_that_can_be_reached() {
        let (url, commands) = (SecretUrl::new("redis://h:1"), BTreeMap::new());
        let nodes = BTreeMap::from([("10.0.0.5:6379".to_owned(), "gateway:7005".to_owned())]);
        let (connect_timeout, answer_timeout) = (connect_timeout(), answer_timeout());
        let written = Written {
            url: &url,
            username: None,
            password: None,
            tls: None,
            connect_timeout,
            answer_timeout,
            sentinel: None,
            nodes: &nodes,
            commands: &commands,
            protocol: None,
        };
        let target = written.target().expect("sound");
        let teller = Place::Tcp("far".into(), 7000);
        let reached = |host, port| match target.announced(host, port, &teller) {
            Place::Tcp(host, port) => format!("{host} {port}"),
            Place::Unix(path) => path,
        };
        assert_eq!(reached("10.0.0.5", 6379), "gateway 7005");
        assert_eq!(reached("10.0.0.5", 6380), "10.0.0.5 6380");
        assert_eq!([reached("127.0.0.1", 7001), reached("", 7001), reached("::1", 7001)], ["far 7001"; 3]);
        assert!(Written { protocol: Some(4), ..written }.target().is_err());
        assert!(Written { sentinel: Some(&SentinelLogin::default()), ..written }.target().is_err());
        let nodes = BTreeMap::from([("10.0.0.5".to_owned(), "gateway:7005".to_owned())]);
        assert!(Written { nodes: &nodes, ..written }.target().is_err());
    }
}
