//! Waits until a session is over.
//!
//! Always holds: it ends where nothing can come any more: the session is removed, nobody takes it up, or the API server stays away; an API server that is
//! away for a moment is asked again.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;

use super::connect::{Cluster, Problem, failed};
use crate::print::{self, plain};

/// How often it is looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an operator may take to take it up.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// How long the API server may stay away.
const AWAY: Duration = Duration::from_secs(120);

/// How far a session is.
pub(crate) enum Far<T> {
    /// Nobody has looked at it yet.
    New,
    /// It waits for this.
    Waits(String),
    /// It runs.
    Runs,
    /// It is over.
    Over(T),
}

/// Waits until one of this name is over.
pub(crate) async fn until_over<K, T>(cluster: &Cluster, name: &str, far: impl Fn(&K) -> Far<T>) -> Result<T, Problem>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let (api, what) = (cluster.api::<K>(), cluster.name::<K>(name));
    let begun = Instant::now();
    let (mut away, mut told): (Option<Instant>, Option<String>) = (None, None);
    loop {
        match api.get_opt(name).await {
            Ok(Some(one)) => {
                away = None;
                match far(&one) {
                    Far::Over(end) => return Ok(end),
                    Far::New if begun.elapsed() > TAKEN_UP => {
                        return Err(Problem::Failed(format!(
                            "{what} is there, and nothing has taken it up: see that the operator runs (`kubectl get deployment -A -l app.kubernetes.io/name=aquifer`); then it is done"
                        )));
                    }
                    Far::Waits(why) if told.as_ref() != Some(&why) => {
                        print::note(&format!("it waits: {}", plain(&why)));
                        told = Some(why);
                    }
                    Far::New | Far::Waits(_) | Far::Runs => {}
                }
            }
            Ok(None) => {
                return Err(Problem::Failed(format!("{what} was removed before it was over: make another one")));
            }
            Err(error) => {
                let is_final = matches!(&error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
                if is_final || away.get_or_insert_with(Instant::now).elapsed() > AWAY {
                    return Err(failed(&what, &error));
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
