//! The way to a server: a socket, and TLS over it.
//!
//! Takes a [`Target`]. Gives what bytes are sent over and come back. Always holds: what fails says which server, and what to
//! look at.

use std::io;
use std::net::SocketAddr;

use aquifer_engine::failure::{Failure, FailureKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::Error;

use crate::redis::wire::address::Place;
use crate::redis::wire::target::Target;
use crate::redis::wire::tls;

pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects, in the time that the target says.
///
/// # Errors
/// Nobody answers there, or TLS fails.
pub(super) async fn connect(target: &Target) -> Result<Box<dyn Wire>, Failure> {
    let until = Instant::now() + target.connect_timeout;
    let (shown, after) = (target.shown(), humantime::format_duration(target.connect_timeout));
    let reaching = timeout_at(until, reach(target, &shown)).await.map_err(|_| {
        Failure::unavailable(format!("`{shown}` could not be reached within {after}"))
            .with_help("check the address and what stands between, or raise `connectTimeout`")
    })?;
    let (Some(tls), Place::Tcp(host, _)) = (&target.tls, &target.address.place) else { return reaching };
    let (name, connector) = (tls.name(host)?, tls.connector().await?);
    match timeout_at(until, connector.connect(name, reaching?)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(&error, &shown)),
        Err(_) => Err(Failure::unavailable(format!("`{shown}` takes connections, and did not answer to TLS within {after}"))
            .with_help("a server that speaks no TLS on this port waits for more: then write `redis://` instead of `rediss://`; else raise `connectTimeout`")),
    }
}

async fn reach(target: &Target, shown: &str) -> Result<Box<dyn Wire>, Failure> {
    let refused = |error: io::Error| {
        Failure::unavailable(format!("`{shown}` cannot be reached: {error}"))
            .with_help("check that the server runs, and that `url` is its address")
    };
    let (host, port) = match &target.address.place {
        Place::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(refused)?)),
        Place::Tcp(host, port) => (host.as_str(), *port),
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(refused)?.collect();
    let stream = TcpStream::connect(&addresses[..]).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    Ok(Box::new(stream))
}

/// What it means that TLS was not agreed on.
fn failed(error: &io::Error, shown: &str) -> Failure {
    if let Some(failure) = tls::wants_certificate(error, shown) {
        return failure;
    }
    let failure = Failure::unavailable(format!("TLS with `{shown}` failed: {error}"));
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(_)) => Failure { kind: FailureKind::Rejected, ..failure }.with_help(
            "name the authority that signed the server's certificate in `tls.caFile`, and the name in it in `tls.serverName`",
        ),
        Some(Error::InvalidMessage(_)) => Failure { kind: FailureKind::Rejected, ..failure }
            .with_help("the server answers something else than TLS on this port: write `redis://` instead of `rediss://`"),
        _ => failure.with_help(
            "does the server speak TLS on this port (else write `redis://`), and does it ask for a client's certificate (`tls.certFile`, `tls.keyFile`)?",
        ),
    }
}
