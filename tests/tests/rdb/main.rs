//! `rdb-read` on real files of all ages and on files of a real server: what a server would load is what is restored.

mod damage;
mod files;
mod newer;
mod reading;
mod real;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../redis/rig.rs"]
mod rig;
