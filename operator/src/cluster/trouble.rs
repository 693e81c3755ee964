//! Why something could not be done, and when it is no longer waited for.
//!
//! Always holds: what is looked at comes to an end in [`LONGEST`], whatever the API server answers, so that it holds up nothing else for longer; a panic in
//! it is its own alone.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

/// How long one may be looked at: an API server that takes a question and never answers must not stop all others. What was begun is gone on with when it
/// is looked at again.
const LONGEST: Duration = Duration::from_secs(120);

/// What a look comes to, or that it did not.
///
/// # Errors
/// Its own, that it took too long, and that it panicked: what is wrong in here for one must not end it for all.
pub(super) async fn contained<T>(look: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let bug = |_| Err(Trouble::other("a bug of the operator's: please report it"));
    AssertUnwindSafe(in_time(look)).catch_unwind().await.unwrap_or_else(bug)
}

async fn in_time<T>(look: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late =
        |_| Trouble::other("it was not done in two minutes: the API server does not answer all that it is asked");
    tokio::time::timeout(LONGEST, look).await.map_err(late)?
}

/// Why something could not be done now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The API server refused, or did not answer.
    #[error("the cluster's API: {}", said(.0))]
    Api(Box<kube::Error>),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What an error of the API says. Its own words have the whole answer in them.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

impl Trouble {
    /// Whether something was written over a version that is not the newest any more: the watch is behind, and it is soon looked at again.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self, Self::Api(error) if matches!(&**error, kube::Error::Api(status) if status.code == 409))
    }

    /// Whether it would be so again: what the API server refuses for good, or has in a form that is not known here.
    pub(super) fn lasts(&self) -> bool {
        let Self::Api(error) = self else { return false };
        match &**error {
            kube::Error::Api(status) => {
                let is_refused = (400..500).contains(&status.code) && ![401, 404, 408, 409, 429].contains(&status.code);
                // Of what is too large for it, etcd says so with the code of its own troubles.
                is_refused || status.message.contains("request is too large")
            }
            kube::Error::SerdeError(_) => true,
            _ => false,
        }
    }

    pub(super) fn other(said: impl Into<String>) -> Self {
        Self::Other(said.into())
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_never_answered_comes_to_an_end() {
        let look = contained(std::future::pending::<Result<(), Trouble>>());
        let ended = tokio::time::timeout(Duration::from_secs(150), look).await.expect("it ends");
        assert!(ended.is_err(), "{ended:?}");
        assert!(contained(async { Ok(()) }).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_own() {
        let bug: Result<(), Trouble> = contained(async { panic!("wrong") }).await;
        assert!(bug.is_err_and(|bug| bug.to_string().contains("report it")));
    }

    #[test]
    fn what_would_be_so_again_lasts() {
        let api = |code| Trouble::from(kube::Error::Api(Box::new(Status::failure("no", "No").with_code(code))));
        assert!([400, 403, 422].into_iter().all(|code| api(code).lasts()));
        assert!([401, 404, 409, 429, 500, 503].into_iter().all(|code| !api(code).lasts()));
        let large = Status::failure("etcdserver: request is too large", "InternalError").with_code(500);
        assert!(Trouble::from(kube::Error::Api(Box::new(large))).lasts());
        let unreadable = serde_json::from_str::<u8>("x").expect_err("no number");
        assert!(Trouble::from(kube::Error::SerdeError(unreadable)).lasts());
        assert!(!Trouble::other("anything").lasts());
    }
}
