//! All that needs the control plane.

mod containers;
mod ends;
mod jobs;
mod losses;
mod rig;
