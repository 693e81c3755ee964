//! Connects to a server and closes the connection: whether anybody listens there.
//!
//! Takes a host and a port; gives the address that answered. Always holds: not a byte is sent.

use std::time::Duration;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::ports::Action;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::units::Period;

/// `tcp-connect`.
#[derive(Debug, Clone, Copy)]
pub struct TcpConnect;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpConnectParams {
    /// The host's name or address.
    #[schemars(length(min = 1))]
    pub host: String,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// How long it may take in all.
    #[serde(default = "ten_seconds")]
    pub timeout: Period,
}

fn ten_seconds() -> Period {
    Period(Duration::from_secs(10))
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpConnectOutputs {
    /// The address that answered, with its port.
    pub address: String,
}

impl Function for TcpConnect {
    const NAME: &'static str = "tcp-connect";
    const SUMMARY: &'static str = "See whether anybody listens on a TCP port.";
    const REPEAT: &'static str = "Connects again.";
    type Params = TcpConnectParams;
    type Ports = Action;
    type Outputs = TcpConnectOutputs;

    fn streams(_: Option<&TcpConnectParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &TcpConnectParams) -> Result<(), ParamError> {
        match (params.host.is_empty(), params.port) {
            (true, _) => Err(ParamError::new("host", "the host is empty")),
            (false, 0) => Err(ParamError::new("port", "nobody listens on port 0")),
            (false, _) => Ok(()),
        }
    }

    async fn run(&self, params: TcpConnectParams, _: Action, call: &Call) -> Result<TcpConnectOutputs, Failure> {
        let there = format!("{}:{}", params.host, params.port);
        let connecting = tokio::time::timeout(params.timeout.0, TcpStream::connect((&*params.host, params.port)));
        let connected = call.or_cancelled(connecting).await?;
        let late = |_| Failure::unavailable(format!("`{there}` did not answer in time"));
        let address = connected.map_err(late)?.and_then(|stream| stream.peer_addr());
        let address = address.map_err(|error| Failure::from_io(error, format!("connecting to `{there}`")))?;
        Ok(TcpConnectOutputs { address: address.to_string() })
    }
}
