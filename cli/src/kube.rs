//! `kube`: what a cluster is told and asked, and what its pods run.

pub(crate) mod args;
mod connect;
mod migrate;
mod pause;
mod reach;
mod restore;
mod snapshots;
mod status;
mod table;
mod trigger;
mod unlock;
mod wait;

use self::args::{Kube, Migrate};
use crate::args::Args;
use crate::exit::Exit;
use crate::print::Screen;
use crate::{print, work};

/// `aquifer kube …`.
pub(crate) fn run(command: &Kube, args: &Args, screen: &Screen) -> Exit {
    match command {
        Kube::Crds => match aquifer_operator::crds::documents() {
            Ok(text) => print::result(&text),
            Err(problem) => {
                print::error(&problem);
                Exit::Failed
            }
        },
        Kube::Trigger(wanted) => {
            connect::with(&wanted.one.cluster, async |cluster| trigger::run(wanted, &cluster).await)
        }
        Kube::Pause(one) => connect::with(&one.cluster, async |cluster| pause::run(&one.name, true, &cluster).await),
        Kube::Resume(one) => connect::with(&one.cluster, async |cluster| pause::run(&one.name, false, &cluster).await),
        Kube::Restore(wanted) => connect::with(&wanted.cluster, async |cluster| restore::run(wanted, &cluster).await),
        Kube::Status(wanted) => connect::with(&wanted.cluster, async |cluster| status::run(wanted, &cluster).await),
        Kube::Snapshots(wanted) => {
            connect::with(&wanted.cluster, async |cluster| snapshots::run(wanted, &cluster, args, screen).await)
        }
        Kube::Unlock(wanted) => {
            connect::with(&wanted.cluster, async |cluster| unlock::run(wanted, &cluster, args, screen).await)
        }
        Kube::Migrate { command: Migrate::Check(wanted) } => {
            connect::with(&wanted.cluster, async |cluster| migrate::run(wanted, &cluster).await)
        }
        Kube::Work(wanted) => work::run(wanted, args, screen),
    }
}
