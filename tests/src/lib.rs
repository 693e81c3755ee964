//! What tests across the workspace share: doubles that misbehave, random tasks, and the rig that starts real servers.

pub mod redis_server;
