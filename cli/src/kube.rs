//! `kube`: what a cluster is told, on stdout.

use crate::args::Kube;
use crate::exit::Exit;
use crate::print;

/// `aquifer kube …`.
pub(crate) fn run(command: &Kube) -> Exit {
    match command {
        Kube::Crds => match aquifer_operator::crds::documents() {
            Ok(text) => print::result(&text),
            Err(problem) => {
                print::error(&problem);
                Exit::Failed
            }
        },
    }
}
