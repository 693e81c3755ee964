//! `operator`: watches a cluster until it is told to stop. Always holds: SIGTERM and SIGINT end it gracefully; what ends it otherwise is
//! said, with exit status 1, for who starts it again.

use aquifer_operator::cluster::{self, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::OperatorArgs;
use crate::exit::Exit;
use crate::print;

/// `aquifer operator`.
pub(crate) fn run(wanted: &OperatorArgs) -> Exit {
    let settings = Settings {
        image: wanted.image.clone(),
        pushgateway: wanted.pushgateway.clone(),
        listen: wanted.listen,
        namespace: wanted.namespace.clone(),
        identity: identity(wanted),
        elect: !wanted.no_leader_election,
        session_timeout: wanted.session_timeout.into(),
        start_timeout: wanted.start_timeout.into(),
        exec_hooks: wanted.exec_hooks,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&format!("no threads can be started: {error}"));
            return Exit::Failed;
        }
    };
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind).map_err(|error| format!("signals cannot be heard: {error}"))?;
            let stop = stop.clone();
            tokio::spawn(async move {
                signals.recv().await;
                stop.cancel();
            });
        }
        let client = client().await?;
        cluster::run(client, settings, stop).await.map_err(|error| error.to_string())
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match ended {
        Ok(()) => Exit::Success,
        Err(problem) => {
            print::error(&problem);
            Exit::Failed
        }
    }
}

/// The cluster that `KUBECONFIG` names, or `~/.kube/config`, or the one that this is a pod of.
pub(crate) async fn client() -> Result<kube::Client, String> {
    let config = kube::Config::infer().await.map_err(|error| format!("no cluster is known: {error}"))?;
    kube::Client::try_from(config).map_err(|error| format!("the cluster cannot be spoken to: {error}"))
}

/// Two of one machine are two.
fn identity(wanted: &OperatorArgs) -> String {
    wanted.identity.clone().unwrap_or_else(|| {
        let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
        format!("{}-{}", host.unwrap_or_else(|| "aquifer".to_owned()), std::process::id())
    })
}
