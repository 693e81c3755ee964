//! What all that works on a cluster has, and what it remembers of it.
//!
//! Always holds: what is remembered is bounded, and is nothing that the cluster does not know: without it, things only take longer.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};

use super::Settings;
use super::counts::Counts;
use super::exec::Commands;
use super::turn::Turns;
use super::world::World;

/// What all that works on a cluster has.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) world: World,
    pub(super) settings: Arc<Settings>,
    pub(super) recorder: Recorder,
    pub(super) counts: Arc<Counts>,
    pub(super) failures: Arc<Mutex<HashMap<String, u32>>>,
    pub(super) seen: Arc<Mutex<HashMap<(Since, String), Instant>>>,
    /// The commands of hooks that were begun here.
    pub(super) commands: Commands,
    /// Who begins, and where.
    pub(super) turns: Turns,
}

/// Since when something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Since {
    /// There was a Job.
    Job,
    /// A Job had no pod.
    NoPod,
    /// A pod did not begin.
    PodWaits,
    /// A pod was to end.
    PodEnds,
    /// A session was to begin.
    SessionWaits,
    /// What is another's was in the way of a session's Job.
    InTheWay,
    /// A Repository was to be emptied.
    Wipe,
    /// What is asked for was forbidden.
    Forbidden,
}

/// What an event is of. Events of one action and reason are made one, which keeps the words of the first: so others have another action.
fn action(note: &str) -> String {
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    format!("Reconcile-{:08x}", hasher.finish() as u32)
}

/// How long something has to be forbidden until that is believed.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// How many failures, and how many first sights, are remembered: of more, all are forgotten, which delays what depends on them.
const REMEMBERED: usize = 20_000;

impl Context {
    /// An event, for who looks at a resource. That it cannot be told changes nothing.
    pub(super) async fn tell<K>(&self, of: &K, kind: EventType, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let reference: ObjectReference = of.object_ref(&());
        // What the API server takes of a note.
        let note: String = note.char_indices().take_while(|(at, _)| *at < 1000).map(|(_, it)| it).collect();
        let event =
            Event { type_: kind, reason: reason.to_owned(), action: action(&note), note: Some(note), secondary: None };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!("an event could not be told: {error}");
        }
    }

    /// When something is tried again that failed.
    pub(super) fn backoff(&self, key: String) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() > REMEMBERED {
            // Of what is no longer there, nobody says that it worked.
            failures.clear();
        }
        let times = failures.entry(key).or_default();
        *times = times.saturating_add(1);
        Duration::from_millis(500 << (*times).min(7))
    }

    /// How long something has been known of what has this uid: by a clock that does not jump, since this process first saw it.
    pub(super) fn known_for(&self, since: Since, uid: &str) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > REMEMBERED {
            seen.clear();
        }
        seen.entry((since, uid.to_owned())).or_insert_with(Instant::now).elapsed()
    }

    /// Whether a refusal by the API server is its last word about what is asked for one of this uid. It forbids for a moment all that it has not
    /// read the rights for, so that has to be said for a minute.
    pub(super) fn is_settled(&self, code: u16, uid: &str) -> bool {
        match code {
            401 | 404 | 408 | 409 | 429 => false,
            403 => {
                let is = self.known_for(Since::Forbidden, uid) > FORBIDDEN;
                if is {
                    self.forget(Since::Forbidden, uid);
                }
                is
            }
            code => (400..500).contains(&code),
        }
    }

    /// Forgets what has ended.
    pub(super) fn forget(&self, since: Since, uid: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&(since, uid.to_owned()));
    }

    pub(super) fn worked(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
