//! What tests across the workspace share: doubles that misbehave, random tasks, and the rig that starts real servers.

pub mod between;
pub mod case_functions;
pub mod cut;
pub mod doubles;
pub mod faulty;
pub mod flaky;
pub mod gate;
pub mod held;
pub mod kubernetes;
pub mod lies;
pub mod mounted;
pub mod newer_server;
pub mod process;
pub mod proxy;
pub mod redis_cluster;
pub mod redis_sentinels;
pub mod redis_server;
pub mod s3_server;
pub mod simulation;
pub mod stores;
pub mod streams;
