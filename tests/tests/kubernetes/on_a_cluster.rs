//! All that needs the control plane.

mod containers;
mod definitions;
mod ends;
mod jobs;
mod losses;
mod rig;
