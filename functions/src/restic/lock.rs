//! restic's own locks: while we write, restic sees us; where restic must not be disturbed, we wait.
//!
//! A lock is a small encrypted file below `locks/` ("Locks" in restic's design document): shared ones exclude exclusive ones, which
//! exclude all. Always holds: a lock of a process that is dead, or that has not been renewed for half an hour, stops nobody; ours is
//! renewed while we work, and work ends where that has failed for too long; it is taken away once nobody works any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;
use jiff::Timestamp;
use rustic_core::Id;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lock_file::{Content, STALE, own};
pub(crate) use super::lock_file::{Kind, hostname, username};
use super::open::Repo;
use super::trouble::LOCKING;
pub(crate) use super::trouble::or_without;

/// How often ours is renewed: restic's own rule.
const RENEW: Duration = Duration::from_secs(5 * 60);

/// After how long without a renewal our own work ends: well before others may take the lock for stale, for what is under way then takes
/// its time to end.
const LOST: Duration = Duration::from_secs(22 * 60);

/// How often the lock's age is looked at.
const TICK: Duration = Duration::from_secs(20);

/// How long to look again after taking a lock, for one that was taken at the same moment: restic's own rule.
const SETTLE: Duration = Duration::from_millis(200);

/// How often to look while waiting for somebody else's.
const LOOK: Duration = Duration::from_secs(1);

/// How long the taking away may take: a store that does not answer must not hold up the end.
const RELEASE: Duration = Duration::from_secs(10);

/// A lock that we hold. It is taken away when it is released, or else when nobody has it any more.
#[derive(Debug)]
pub(crate) struct Lock {
    repo: Repo,
    current: Arc<Mutex<Id>>,
    renewal: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
    released: AtomicBool,
}

impl Lock {
    /// Takes a lock, waiting at most `patience` for others to go.
    ///
    /// # Errors
    /// Others held theirs for the whole time, the step was stopped, or the store cannot be reached.
    pub(crate) async fn take(repo: &Repo, kind: Kind, patience: Duration, call: &Call) -> Result<Self, Failure> {
        let until = Instant::now() + patience;
        let mut told = None;
        loop {
            let in_the_way = match call.or_cancelled(others(repo, kind, None, call)).await?? {
                Some(owner) => owner,
                None => {
                    let written = Timestamp::now();
                    let (id, sealed) = sealed(repo, kind)?;
                    // Known before it is written: one whose answer is lost on the way is taken away all the same.
                    let lock = Self::of(repo, id);
                    let settled = async {
                        put(repo, &id, sealed).await?;
                        sleep(SETTLE).await;
                        others(repo, kind, Some(id), call).await
                    };
                    match call.or_cancelled(settled).await {
                        Ok(Ok(None)) => {
                            lock.renew(kind, written);
                            return Ok(lock);
                        }
                        Ok(Ok(Some(owner))) => {
                            lock.release().await;
                            owner
                        }
                        Ok(Err(failure)) | Err(failure) => {
                            lock.release().await;
                            return Err(failure);
                        }
                    }
                }
            };
            if Instant::now() >= until {
                return Err(Failure::unavailable(format!("the repository at `{}` is locked: {in_the_way}", repo.shown()))
                    .with_help("wait for it to end, raise `lockTimeout`, or, where nothing of it runs any more, use `restic unlock`"));
            }
            if told.as_ref() != Some(&in_the_way) {
                call.info(format!("waiting: there is {in_the_way}"));
                told = Some(in_the_way);
            }
            call.or_cancelled(sleep(LOOK)).await?;
        }
    }

    fn of(repo: &Repo, id: Id) -> Self {
        Self {
            repo: repo.clone(),
            current: Arc::new(Mutex::new(id)),
            renewal: Mutex::new(None),
            released: AtomicBool::new(false),
        }
    }

    /// Renews it from now on. Where that fails for so long that others may take it for stale, all work on the repository ends.
    /// The wall clock judges, as theirs does: a machine that slept for an hour has lost its lock.
    fn renew(&self, kind: Kind, written: Timestamp) {
        let (repo, current, stop) = (self.repo.clone(), Arc::clone(&self.current), CancellationToken::new());
        let listens = stop.clone();
        let task = tokio::spawn(async move {
            // From the time that the lock itself says, by which others judge.
            let mut written = written;
            loop {
                tokio::select! {
                    biased;
                    () = listens.cancelled() => return,
                    () = sleep(TICK) => {}
                }
                let age = Timestamp::now().duration_since(written).unsigned_abs();
                if age >= LOST {
                    let lost = "the lock could not be renewed for 22 minutes, and others may soon take it for stale";
                    repo.backend()
                        .end(Failure::unavailable(format!("{lost}: nothing more is done with the repository")));
                    return;
                }
                if age < RENEW {
                    continue;
                }
                let now = Timestamp::now();
                let Ok((id, sealed)) = sealed(&repo, kind) else { continue };
                // A store that does not answer must not keep this from looking at the clock.
                let put = timeout(LOST.saturating_sub(age), put(&repo, &id, sealed)).await;
                if put.is_ok_and(|put| put.is_ok()) {
                    let old = std::mem::replace(&mut *held(&current), id);
                    written = now;
                    give_back(&repo, old).await;
                } else {
                    // It may have been written and only the answer lost.
                    give_back(&repo, id).await;
                }
            }
        });
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    }

    /// Fails where somebody else has taken it away: a clock that is wrong makes a lock look stale, and what was stored under it may have
    /// been removed since as what nobody needs.
    ///
    /// # Errors
    /// It is not there any more, or the store cannot be reached.
    pub(crate) async fn look(&self) -> Result<(), Failure> {
        // It may be renewed between the two.
        for _ in 0..2 {
            let id = *held(&self.current);
            match self.repo.backend().store().operator().stat(&name(&id)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => {}
                Err(error) => return Err(self.repo.backend().store().failed(&error, "looking at our own lock")),
            }
        }
        Err(Failure::unavailable("somebody has taken our lock away: what was stored may have been removed since")
            .with_help(
                "is a clock wrong, or was `restic unlock --remove-all` used? Set the clocks by NTP, and run it again",
            ))
    }

    /// Takes it away again.
    pub(crate) async fn release(&self) {
        let renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, mut task)) = renewal {
            // One that is writing the next lock ends with it: broken off, it might leave a lock that nobody knows of.
            stop.cancel();
            if timeout(RELEASE, &mut task).await.is_err() {
                task.abort();
            }
        }
        let id = *held(&self.current);
        give_back(&self.repo, id).await;
        self.released.store(true, Ordering::Relaxed);
    }
}

fn held(current: &Mutex<Id>) -> MutexGuard<'_, Id> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock file of ours, as it is stored, and its id.
fn sealed(repo: &Repo, kind: Kind) -> Result<(Id, Vec<u8>), Failure> {
    let json = serde_json::to_vec(&Content::ours(kind))
        .map_err(|error| Failure::internal(format!("the lock is no JSON: {error}")))?;
    let sealed = repo.sealer().seal_file(&json)?;
    let id = super::seal::id_of(&sealed);
    own().written.insert(id);
    Ok((id, sealed))
}

async fn put(repo: &Repo, id: &Id, sealed: Vec<u8>) -> Result<(), Failure> {
    let put = repo.backend().store().put(&name(id), sealed.into()).await;
    put.map_err(|failure| failure.during(LOCKING))
}

fn name(id: &Id) -> String {
    format!("locks/{}", id.to_hex().as_str())
}

/// Removes a lock. Not being able to is no failure of the work: it goes stale by itself, and until then it is tried again for as long as
/// the program runs, for to others it looks like one that is held.
async fn give_back(repo: &Repo, id: Id) {
    if remove(repo, id).await {
        return;
    }
    own().left.insert(id);
    let repo = repo.clone();
    tokio::spawn(async move {
        for _ in 0..STALE.as_secs() / TICK.as_secs() {
            sleep(TICK).await;
            if remove(&repo, id).await {
                break;
            }
        }
        own().left.remove(&id);
    });
}

/// Removes a lock; whether that is certain.
async fn remove(repo: &Repo, id: Id) -> bool {
    timeout(RELEASE, repo.backend().store().operator().delete(&name(&id))).await.is_ok_and(|deleted| deleted.is_ok())
}

/// Whose lock is in the way, if any is. Stale ones of dead processes are removed when we want the repository for ourselves.
async fn others(repo: &Repo, kind: Kind, own: Option<Id>, call: &Call) -> Result<Option<String>, Failure> {
    for (file, _) in repo.backend().list("locks").await? {
        let Ok(id) = file.parse::<Id>() else { continue };
        if Some(id) == own {
            continue;
        }
        let read = repo.backend().store().operator().read(&name(&id)).await;
        let bytes = match read {
            Ok(bytes) => bytes.to_vec(),
            // Released since it was listed.
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => continue,
            Err(error) => return Err(repo.backend().store().failed(&error, "reading the repository's locks")),
        };
        let content =
            repo.sealer().open_file(&bytes).ok().and_then(|json| serde_json::from_slice::<Content>(&json).ok());
        let Some(content) = content else {
            // Half-written or of another make: nobody can tell whose it is, so it is not overridden.
            return Err(Failure::new(
                FailureKind::Unavailable,
                format!("the lock `{}` cannot be read", repo.backend().store().shown(&name(&id))),
            )
            .with_help(
                "it may be in the middle of being written; where it stays, `restic unlock --remove-all` removes it",
            ));
        };
        if content.is_stale(&id) {
            call.debug(format!("a stale lock is ignored: {}", content.owner()));
            if kind == Kind::Exclusive {
                remove(repo, id).await;
            }
            continue;
        }
        if content.exclusive || kind == Kind::Exclusive {
            return Ok(Some(content.owner()));
        }
    }
    Ok(None)
}

/// Locks a repository around work, and unlocks it on every way out. `patience`: none where nothing is to be locked.
/// What works on a thread of its own takes the lock along (`Some` of it): a thread that outlives its step keeps it locked.
///
/// # Errors
/// Those of the lock and of the work.
pub(crate) async fn locked<T, W: Future<Output = Result<T, Failure>>>(
    repo: &Repo,
    kind: Kind,
    patience: Option<Duration>,
    call: &Call,
    work: impl FnOnce(Option<Arc<Lock>>) -> W,
) -> Result<T, Failure> {
    let Some(patience) = patience else { return work(None).await };
    let lock = Arc::new(Lock::take(repo, kind, patience, call).await?);
    let done = work(Some(Arc::clone(&lock))).await;
    lock.release().await;
    done
}

impl Drop for Lock {
    /// Where nobody released it (its step was dropped), it is taken away in passing: from a folder at once, from a server as far as
    /// the program still runs.
    fn drop(&mut self) {
        if let Some((stop, _)) = self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            stop.cancel();
        }
        if *self.released.get_mut() {
            return;
        }
        let id = *held(&self.current);
        if let Some(folder) = self.repo.backend().store().folder() {
            _ = std::fs::remove_file(folder.join(name(&id)));
            return;
        }
        let repo = self.repo.clone();
        self.repo.backend().runtime().spawn(async move { give_back(&repo, id).await });
    }
}
