//! All that needs the control plane.

mod by_hand;
mod containers;
mod definitions;
mod deployment;
mod ends;
mod jobs;
mod losses;
mod operator;
mod real_node;
mod rig;
mod verbs;
