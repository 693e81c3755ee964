//! How often the requests of an upload are sent again.
//!
//! Always holds: only what may pass by itself is waited for, and never without end.

use std::time::Duration;

/// How often, and after what wait at first, a request is sent again that failed for a passing reason.
const AGAIN: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How often a request is still sent again.
pub(super) struct Patience {
    left: u32,
    wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: AGAIN, wait: FIRST_WAIT }
    }
}

impl Patience {
    /// Waits a little longer each time, after an error that may pass.
    ///
    /// # Errors
    /// It does not pass, or it came too often.
    pub(super) async fn wait_after(&mut self, error: opendal::Error) -> opendal::Result<()> {
        if !error.is_temporary() || self.left == 0 {
            return Err(error);
        }
        tokio::time::sleep(self.wait).await;
        self.left -= 1;
        self.wait *= 2;
        Ok(())
    }
}
