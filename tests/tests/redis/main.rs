//! `redis-dump`, `redis-restore` and `redis-digest` on real servers: what goes in comes back, and what goes wrong is said.

mod concurrent;
mod damage;
mod digest;
mod interrupted;
mod losses;
mod refusals;
mod rig;
mod round_trip;
mod scan;
