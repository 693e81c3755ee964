//! `redis-dump`, `redis-restore` and `redis-digest` on clusters and with sentinels: keys go from any shape into any other, and
//! whatever changes in the middle is followed or said.

mod changes;
mod cluster;
mod diff;
mod joined;
mod names;
#[path = "../redis/rig.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod rig;
mod sentinel;
mod valkey;
