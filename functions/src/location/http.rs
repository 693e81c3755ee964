//! How servers that speak HTTP are reached: whom to trust, how many connections, how many bytes a second.
//!
//! Takes the `http` field that all such kinds of stores share. Gives a client and what paces it. Always holds: without
//! `insecure` every certificate is checked; nobody but the server that the location names is sent anything; a rate bounds all requests of one store together, both ways apart.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use reqwest::Certificate;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::units::Size;

/// The slowest rate: less would let servers give a connection up as dead.
pub(super) const LEAST_RATE: u64 = 64 << 10;

/// How long a server may take to answer at all: a request to a host that is not there is sent again and again.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long what was sent may stay unconfirmed: where the network is gone in the middle of a part, nothing else would tell.
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// How much of a pause may be caught up.
const BURST: Duration = Duration::from_millis(100);

/// The largest piece that is sent at once under a rate.
const PIECE: usize = 64 << 10;

/// How a server that speaks HTTP is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// A PEM file with the certificates that may have signed the server's; the system's are not used then.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether to take any certificate: whoever stands between can then read and change everything. Every run warns of it.
    #[serde(default)]
    pub insecure: bool,
    /// The most requests at once; unless said, only what the step itself does at once bounds them.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: Option<usize>,
    /// The most bytes per second that are sent, `64KiB` or more; no limit unless said.
    #[serde(default)]
    pub send_rate: Option<Size>,
    /// The most bytes per second that are received, `64KiB` or more; no limit unless said.
    #[serde(default)]
    pub receive_rate: Option<Size>,
}

/// Checks a rate.
///
/// # Errors
/// It is too low.
pub(super) fn check_rate(path: &str, rate: Option<Size>) -> Result<(), ParamError> {
    match rate {
        Some(rate) if rate.0 < LEAST_RATE => Err(ParamError::new(path, "a rate is `64KiB` a second or more")
            .with_help("leave it out for no limit; at less, servers take the connection for dead")),
        _ => Ok(()),
    }
}

impl Http {
    pub(super) fn check(&self) -> Result<(), ParamError> {
        if self.insecure && self.ca_file.is_some() {
            return Err(ParamError::new("http.insecure", "with `insecure`, nothing is checked against `caFile`")
                .with_help("leave one of the two out"));
        }
        if self.connections.is_some_and(|most| !(1..=1000).contains(&most)) {
            return Err(ParamError::new("http.connections", "it is 1 to 1000").with_help("leave it out for no limit"));
        }
        check_rate("http.sendRate", self.send_rate)?;
        check_rate("http.receiveRate", self.receive_rate)
    }

    /// A client of a store's own: a shared one would keep connections that belong to another runtime.
    ///
    /// # Errors
    /// The file with certificates cannot be read or holds none.
    pub(super) fn client(&self) -> Result<reqwest::Client, Failure> {
        let mut builder = reqwest::Client::builder()
            // The library would send a server's own secrets on to another, and make reads of writes.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECTING)
            .tcp_user_timeout(UNCONFIRMED)
            .user_agent(concat!("aquifer/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.ca_file {
            let shown = path.display();
            let none = || Failure::config(format!("`{shown}` holds no certificate in PEM"));
            let pem = std::fs::read(path)
                .map_err(|error| Failure::from_io(error, format!("reading the CA file `{shown}`")))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| none().caused_by(&error))?;
            if certificates.is_empty() {
                return Err(none());
            }
            builder = builder.tls_certs_only(certificates);
        }
        if self.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        builder.build().map_err(|error| Failure::config("the TLS client cannot be set up").caused_by(&error))
    }

    /// What must be added to a bound on time, since so many bytes take so long at the slower of the rates.
    pub(super) fn patience(&self, bytes: u64) -> Duration {
        let slowest = [self.send_rate, self.receive_rate].into_iter().flatten().map(|rate| rate.0).min();
        slowest.map_or(Duration::ZERO, |rate| Duration::from_secs(bytes / rate.max(1)))
    }
}

/// Keeps what passes below a rate.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    /// The moment up to which the rate is used up.
    due: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Size) -> Self {
        Self { rate: rate.0.max(1), due: Mutex::new(Instant::now()) }
    }

    /// Books bytes, and says when they may pass.
    pub(super) fn book(&self, bytes: usize) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earliest) = Instant::now().checked_sub(BURST) {
            *due = (*due).max(earliest);
        }
        let at = *due;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits of precision")]
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        *due += cost;
        at
    }

    /// The largest piece that should pass at once.
    pub(super) fn piece(&self) -> usize {
        usize::try_from(self.rate / 20).unwrap_or(PIECE).clamp(1, PIECE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (value, path) in [
            (json!({"caFile": "a", "insecure": true}), "http.insecure"),
            (json!({"connections": 0}), "http.connections"),
            (json!({"sendRate": "1KiB"}), "http.sendRate"),
            (json!({"receiveRate": 0}), "http.receiveRate"),
        ] {
            let http: Http = from_value(value.clone()).expect("sound in form");
            assert_eq!(http.check().expect_err("refused").path, path, "{value}");
        }
        from_value::<Http>(json!({"insecureTLS": true})).expect_err("an option that is not known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_time_and_lets_little_be_caught_up() {
        let pace = Pace::new(Size(1 << 20));
        tokio::time::advance(Duration::from_secs(5)).await;
        let begun = Instant::now();
        let mut last = begun;
        for _ in 0..160 {
            last = pace.book(64 << 10);
        }
        let took = last.duration_since(begun);
        assert!((9.7..10.0).contains(&took.as_secs_f64()), "10 MiB at 1 MiB/s took {took:?}");
    }
}
