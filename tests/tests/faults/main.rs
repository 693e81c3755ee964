//! Networks, servers and disks that fail while a repository is worked on: each run ends well or with a clear error, what was
//! reported as stored can be restored, nothing else looks like a backup, and the next run works.

mod disk;
mod network;
mod restart;
mod rig;
