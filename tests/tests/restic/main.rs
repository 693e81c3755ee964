//! The restic functions against the real restic binary, on a folder and on an S3 server.

mod clear;
mod copying;
mod damage;
mod fan_out;
mod forget;
mod history;
mod increments;
mod interop;
mod joined;
mod keys;
mod locks;
mod making;
mod parts;
mod promises;
mod prune;
mod rig;
mod rules;
mod s3;
mod stats;
mod together;
mod verify;
