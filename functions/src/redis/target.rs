//! Which server a function talks to: the connection params that each Redis function has, checked and made into one value.
//!
//! Takes the fields as each function declares them. Gives a [`Target`], which [`Connection::open`] connects to. Always
//! holds: `username` and `password` given apart win over those in the url; TLS settings without TLS are refused.
//!
//! [`Connection::open`]: super::connection::Connection::open

use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use aquifer_engine::secret::{Secret, SecretUrl};

use super::address::{self, Address, Place};
use super::tls::Tls;
use crate::units::Period;

/// How long to wait for a connection unless told otherwise.
pub(crate) fn connect_timeout() -> Period {
    Period(Duration::from_secs(10))
}

/// How long to wait for an answer unless told otherwise: long enough for a server that forks or reads a value of 512 MB.
pub(crate) fn answer_timeout() -> Period {
    Period(Duration::from_secs(60))
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
            pub tls: Option<$crate::redis::tls::Tls>,
            /// How long to wait for a connection; `10s` unless said.
            #[serde(default = "crate::redis::target::connect_timeout")]
            pub connect_timeout: $crate::units::Period,
            /// How long to wait for any answer; `60s` unless said. A server that is still loading its data answers so at once, and the
            /// step fails as `unavailable`, which another attempt may mend.
            #[serde(default = "crate::redis::target::answer_timeout")]
            pub answer_timeout: $crate::units::Period,
            $($own)*
        }

        impl $name {
            fn server(&self) -> $crate::redis::target::Written<'_> {
                $crate::redis::target::Written {
                    url: &self.url,
                    username: self.username.as_deref(),
                    password: self.password.as_ref(),
                    tls: self.tls.as_ref(),
                    connect_timeout: self.connect_timeout,
                    answer_timeout: self.answer_timeout,
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
}

/// A server and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
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
            address.password = Some(word.clone());
        }
        if address.username.is_some() && address.password.is_none() {
            return Err(ParamError::new("username", "a user needs a password").with_help("give `password` too"));
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
        Ok(Target { address, tls, connect_timeout: self.connect_timeout.0, answer_timeout: self.answer_timeout.0 })
    }

    /// The same, where the params were checked when the plan was made.
    ///
    /// # Errors
    /// As [`Written::target`].
    pub(crate) fn checked(&self) -> Result<Target, Failure> {
        self.target().map_err(|error| {
            let failure = Failure::config(format!("`{}`: {}", error.path, error.message));
            match error.help {
                Some(help) => failure.with_help(help),
                None => failure,
            }
        })
    }
}

impl Target {
    /// The server's name in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.address.place {
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(path) => path.clone(),
        }
    }
}
