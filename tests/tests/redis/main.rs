//! `redis-dump`, `redis-restore` and `redis-digest` on real servers: what goes in comes back, and what goes wrong is said.

mod collect;
mod concurrent;
mod damage;
mod diff;
mod digest;
mod exchanged;
mod interrupted;
mod lies;
mod losses;
mod options;
mod ordered;
mod ranked;
mod refusals;
mod replication;
mod replication_fails;
mod rig;
mod round_trip;
mod scan;
mod short_names;
mod streams;
mod tls;
mod together;
mod verify;
mod words;
