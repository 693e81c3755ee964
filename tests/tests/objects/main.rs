//! `upload` and `download` against a real folder and a real S3 server.

mod broken;
mod damage;
mod flaky;
mod refusals;
mod rig;
mod round_trip;
mod tasks;
