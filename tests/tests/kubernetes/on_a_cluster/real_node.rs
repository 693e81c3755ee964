//! A real kubelet with containerd and runc, and our own image: what only they show.

mod ends;
mod exec;
mod rig;
mod whole;
