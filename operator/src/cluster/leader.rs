//! Who leads, by a Lease.
//!
//! Always holds: who leads has renewed the lease in the time that it counts for, by its own clock since it asked; who wants to lead waits until a
//! lease has stood unchanged for that time, by its own clock since it saw it. So clocks that differ do no harm.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Stored, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::Settings;

/// The lease's name.
const NAME: &str = "aquifer-operator";

/// How long it counts.
const COUNTS: Duration = Duration::from_secs(15);

/// How often it is renewed, and how long an answer may take.
const RENEW: Duration = Duration::from_secs(4);

/// How long before another one may take it this one ends: what it has under way ends in that time.
const MARGIN: Duration = Duration::from_secs(3);

/// How often it is asked for.
const ASK: Duration = Duration::from_secs(2);

/// The lease, as one that wants it sees it.
#[derive(Debug)]
pub(super) struct Lease {
    api: Api<Stored>,
    identity: String,
    /// The state that was last seen, and since when.
    seen: Mutex<Option<(Option<String>, Instant)>>,
}

impl Lease {
    pub(super) fn new(client: &Client, settings: &Settings) -> Self {
        let api = Api::namespaced(client.clone(), &settings.namespace);
        Self { api, identity: settings.identity.clone(), seen: Mutex::default() }
    }

    /// Waits until it is ours; gives the moment from which on it counts.
    pub(super) async fn take(&self) -> Instant {
        loop {
            let asked = Instant::now();
            match timeout(RENEW, self.try_take()).await {
                Ok(Ok(true)) => return asked,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!("the lease: {error}"),
                Err(_) => tracing::warn!("the lease: the API server does not answer"),
            }
            sleep(ASK).await;
        }
    }

    /// Renews it; ends when another one has it, or may soon.
    pub(super) async fn lost(&self, mut since: Instant) {
        let left = |since: Instant| (COUNTS - MARGIN).saturating_sub(since.elapsed());
        while !left(since).is_zero() {
            sleep(RENEW.min(left(since))).await;
            let asked = Instant::now();
            match timeout(RENEW.min(left(since)), self.try_take()).await {
                Ok(Ok(true)) => since = asked,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!("the lease is not renewed: {error}"),
                Err(_) => tracing::warn!("the lease is not renewed: the API server does not answer"),
            }
        }
    }

    /// Lets another one have it at once.
    pub(super) async fn give_back(&self) {
        let give = async {
            let mut stored = self.api.get(NAME).await?;
            if let Some(spec) =
                stored.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                self.api.replace(NAME, &PostParams::default(), &stored).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if !matches!(timeout(RENEW, give).await, Ok(Ok(()))) {
            tracing::warn!("the lease could not be given back: another one leads in {} s", COUNTS.as_secs());
        }
    }

    /// Takes or renews it where that is ours to do.
    async fn try_take(&self) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let seconds = i32::try_from(COUNTS.as_secs()).ok();
        let Some(mut stored) = self.api.get_opt(NAME).await? else {
            let spec = LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: seconds,
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            };
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            return conflict_is_no(
                self.api.create(&PostParams::default(), &Stored { metadata, spec: Some(spec) }).await,
            );
        };
        let spec = stored.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
        if holder.as_ref() != Some(&self.identity) {
            if holder.is_some() && !self.is_stale(stored.metadata.resource_version.as_deref()) {
                return Ok(false);
            }
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = seconds;
        spec.renew_time = Some(now);
        // Only over what was read: of two that take it, one does.
        conflict_is_no(self.api.replace(NAME, &PostParams::default(), &stored).await)
    }

    /// Whether another's lease has not changed for as long as it counts.
    fn is_stale(&self, version: Option<&str>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.as_ref().filter(|(known, _)| known.as_deref() == version) {
            Some((_, since)) => since.elapsed() >= COUNTS,
            None => {
                *seen = Some((version.map(str::to_owned), Instant::now()));
                false
            }
        }
    }
}

fn conflict_is_no<T>(result: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_it_ends_before_another_may_take_it() {
        // An API server that takes every question and answers none.
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
        });
        let api = Api::namespaced(Client::new(silent, "default"), "default");
        let lease = Lease { api, identity: "one".to_owned(), seen: Mutex::default() };
        let begun = Instant::now();
        lease.lost(begun).await;
        assert!(begun.elapsed() < COUNTS && begun.elapsed() >= RENEW, "{:?}", begun.elapsed());
    }
}
