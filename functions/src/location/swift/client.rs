//! Requests to Swift with a token.
//!
//! Always holds: a token is asked for when it is needed, again shortly before it ends, and again where the server does not take it any
//! more; it is hidden in all that is shown.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aquifer_engine::function::Call;
use http::{HeaderValue, Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, HttpTransporter, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::login::{Login, Session};
use crate::location::spoken::{refusal, request};

/// How long before its end a token is given up.
const EARLY: Duration = Duration::from_secs(60);

pub(super) struct Client {
    login: Login,
    transport: HttpTransporter,
    call: Call,
    now: Mutex<Option<(Arc<Session>, Option<Instant>)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(login: Login, transport: HttpTransporter, call: Call) -> Self {
        Self { login, transport, call, now: Mutex::new(None) }
    }

    /// The session that there is, unless it is the one that was refused, or a new one.
    async fn session(&self, refused: Option<&Arc<Session>>) -> Result<Arc<Session>> {
        let mut now = self.now.lock().await;
        if let Some((session, until)) = &*now
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, session))
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(Arc::clone(session));
        }
        let answer = self.transport.send(self.login.request()?).await?;
        if !answer.status().is_success() {
            return Err(refusal("signing in", &answer));
        }
        let session = Arc::new(self.login.session(&answer)?);
        self.call.hide(session.token.expose());
        // One that lasts a moment only is used all the same.
        let until = session.lasts.map(|lasts| Instant::now() + lasts.saturating_sub(EARLY));
        *now = Some((Arc::clone(&session), until));
        Ok(session)
    }

    /// Sends a request to a path below the account.
    ///
    /// # Errors
    /// The server cannot be reached, or signing in failed.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Buffer,
    ) -> Result<Response<Buffer>> {
        let mut session = self.session(None).await?;
        let mut again = true;
        loop {
            let mut token = HeaderValue::from_str(session.token.expose())
                .map_err(|error| Error::new(ErrorKind::Unexpected, "the server's token is none").set_source(error))?;
            token.set_sensitive(true);
            let head = http::Request::builder().method(method).uri(format!("{}/{path}", session.storage));
            let head = headers.iter().fold(head, |head, (name, value)| head.header(*name, *value));
            let head = head.header("X-Auth-Token", token);
            let answer = self.transport.send(request(head, body.clone())?).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || !again {
                return Ok(answer);
            }
            // It ended before its time, or the server's clock is another one.
            again = false;
            session = self.session(Some(&session)).await?;
        }
    }
}
