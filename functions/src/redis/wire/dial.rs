//! The way to a server: a socket, and TLS over it.
//!
//! Takes a [`Target`]. Gives what bytes are sent over and come back. Always holds: what fails says which server, and what to
//! look at.

use std::io;
use std::net::SocketAddr;

use aquifer_engine::failure::{Failure, FailureKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::redis::wire::address::Place;
use crate::redis::wire::target::Target;

pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects.
///
/// # Errors
/// Nobody answers there, or TLS fails.
pub(super) async fn connect(target: &Target) -> Result<Box<dyn Wire>, Failure> {
    let shown = target.shown();
    let refused = |error: io::Error| {
        Failure::unavailable(format!("`{shown}` cannot be reached: {error}"))
            .with_help("check that the server runs, and that `url` is its address")
    };
    let stream = match &target.address.place {
        Place::Unix(path) => {
            return Ok(Box::new(UnixStream::connect(path).await.map_err(refused)?));
        }
        Place::Tcp(host, port) => {
            let addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), *port)).await.map_err(refused)?.collect();
            TcpStream::connect(&addresses[..]).await.map_err(refused)?
        }
    };
    stream.set_nodelay(true).map_err(refused)?;
    let (Some(tls), Place::Tcp(host, _)) = (&target.tls, &target.address.place) else {
        return Ok(Box::new(stream));
    };
    let name = tls.name(host)?;
    let stream = tls.connector().await?.connect(name, stream).await.map_err(|error| {
        let failure = Failure::unavailable(format!("TLS with `{shown}` failed: {error}"));
        let distrusted = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<tokio_rustls::rustls::Error>())
            .is_some_and(|inner| matches!(inner, tokio_rustls::rustls::Error::InvalidCertificate(_)));
        if distrusted {
            Failure { kind: FailureKind::Rejected, ..failure }.with_help(
                "name the authority that signed the server's certificate in `tls.caFile`, and the name in it in `tls.serverName`",
            )
        } else {
            failure.with_help("does the server speak TLS on this port, and does it ask for a client's certificate (`tls.certFile`, `tls.keyFile`)?")
        }
    })?;
    Ok(Box::new(stream))
}
