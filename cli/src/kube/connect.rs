//! Which cluster is asked, and what is said where it does not answer or refuses.
//!
//! Takes the options of all verbs. Gives a client, and the namespace that is meant. Always holds: an error of the API server is said in its own words, with the
//! resource that it is about; a server that takes a question and never answers is not waited for without end.

use std::error::Error as _;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::args::ClusterArgs;
use crate::exit::Exit;
use crate::print::{self, plain};

/// How long the API server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that is meant.
    pub(crate) namespace: String,
}

/// Why something is not done.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The arguments are wrong.
    Wrong(String),
    /// The cluster refused, or what was asked for failed.
    Failed(String),
}

impl Cluster {
    /// A kind's resources in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One that must be there.
    pub(crate) async fn get<K>(&self, name: &str) -> Result<K, Problem>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let what = self.name::<K>(name);
        let found = self.api::<K>().get_opt(name).await.map_err(|error| failed(&what, &error))?;
        if found.is_none() {
            self.is_there().await?;
        }
        found.ok_or_else(|| {
            let namespace = &self.namespace;
            Problem::Failed(format!(
                "{what} is not there: `kubectl get {} -n {namespace}` lists those that are",
                K::plural(&())
            ))
        })
    }

    /// Fails where the namespace is not there. Who may not see namespaces is told nothing.
    pub(crate) async fn is_there(&self) -> Result<(), Problem> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.get_opt(&self.namespace).await {
            Ok(None) => Err(Problem::Failed(format!(
                "the namespace `{}` is not there: `kubectl get namespaces` lists those that are, and `-A` looks into all",
                self.namespace
            ))),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            Err(error) => Err(failed(&format!("the namespace `{}`", self.namespace), &error)),
            Ok(Some(_)) => Ok(()),
        }
    }

    /// How one is called in messages.
    pub(crate) fn name<K: Resource<DynamicType = ()>>(&self, name: &str) -> String {
        format!("the {} `{}/{name}`", K::kind(&()), self.namespace)
    }
}

/// What the API server said against something.
pub(crate) fn failed(what: &str, error: &kube::Error) -> Problem {
    Problem::Failed(match error {
        kube::Error::Api(status) if status.code == 404 && status.message.contains("could not find the requested") => {
            format!(
                "{what}: the cluster does not know this kind: `aquifer kube crds | kubectl apply --server-side -f -` tells it"
            )
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!("{what}: {}: whoever administers the cluster can give you this right", status.message)
        }
        kube::Error::Api(status) => format!("{what}: {}", status.message),
        other => {
            format!("{what}: the cluster cannot be asked: {}: look at the kubeconfig and the network", root(other))
        }
    })
}

/// What is below all that was wrapped around it.
fn root(error: &kube::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_some() { format!("{error}: {innermost}") } else { error.to_string() }
}

/// Does something with the cluster, and says why not where it is not done.
pub(crate) fn with(wanted: &ClusterArgs, work: impl AsyncFnOnce(Cluster) -> Result<Exit, Problem>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&format!("no threads can be started: {error}"));
            return Exit::Failed;
        }
    };
    match runtime.block_on(async { work(connect(wanted).await?).await }) {
        Ok(exit) => exit,
        Err(Problem::Wrong(said)) => {
            print::error(&plain(&said));
            Exit::Wrong
        }
        Err(Problem::Failed(said)) => {
            print::error(&plain(&said));
            Exit::Failed
        }
    }
}

async fn connect(wanted: &ClusterArgs) -> Result<Cluster, Problem> {
    let options = KubeConfigOptions { context: wanted.context.clone(), ..KubeConfigOptions::default() };
    let config = match &wanted.kubeconfig {
        Some(path) => {
            let place = |error: &dyn std::fmt::Display| Problem::Wrong(format!("`{}`: {error}", path.display()));
            let file = Kubeconfig::read_from(path).map_err(|error| place(&error))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| place(&error))?
        }
        None if wanted.context.is_some() => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| Problem::Wrong(format!("the kubeconfig: {error}")))?,
        None => Config::infer().await.map_err(|error| {
            Problem::Wrong(format!("no cluster is known: {error}; name its kubeconfig with `--kubeconfig`"))
        })?,
    };
    let mut config = config;
    config.read_timeout = Some(PATIENCE);
    let namespace = wanted.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config)
        .map_err(|error| Problem::Wrong(format!("the cluster cannot be spoken to as the kubeconfig says: {error}")))?;
    Ok(Cluster { client, namespace })
}
