//! The functions that need no server, each beside the tool whose format or work it shares, and with broken inputs.

mod checksum;
mod codecs;
mod exec;
mod files;
mod http;
mod metrics;
mod metrics_tls;
mod rig;
mod throttle;
