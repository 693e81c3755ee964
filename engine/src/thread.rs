//! A thread for work that blocks for as long as its step runs: codecs, files, libraries that know no `async`.
//!
//! Takes the work; gives its result, or the panic that ended it. Always holds: each piece of work has a thread of its own.
//! The steps of a pipeline run together or not at all, so a pool of any fixed size would hang on a pipeline that has more
//! of them than the pool has threads.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Runs work that may block on a thread of its own, inside the running runtime. Dropping the future does not end the
/// thread: its pipes do, which break at the same moment.
///
/// # Errors
/// The work's own failure, or that no thread can be started.
pub async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("aquifer-step".into()).spawn(move || {
        let _inside = runtime.enter();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // Nobody listens any more where the step was dropped.
        _ = tell.send(done);
    });
    if let Err(error) = thread {
        return Err(Failure::unavailable(format!("no thread can be started: {error}"))
            .with_help("raise the limit on processes and threads (`ulimit -u`, `TasksMax`, `pids.max`), or run fewer steps at once"));
    }
    match told.await {
        Ok(Ok(done)) => done,
        // A panic is the engine's to report, as that of any other function.
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Err(Failure::internal("a thread ended without a result")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_failures_and_panics_come_back() {
        assert_eq!(on_own_thread(|| Ok(Handle::try_current().is_ok())).await, Ok(true));
        let failed = on_own_thread(|| Err::<(), _>(Failure::corrupt("no"))).await;
        assert_eq!(failed, Err(Failure::corrupt("no")));
        let panicking = tokio::spawn(on_own_thread(|| -> Result<(), Failure> { std::panic::panic_any("told to") }));
        let panic = panicking.await.expect_err("it panicked").into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"told to"));
    }
}
