//! What stands in the way of a user of Stash who lets Aquifer's operator take over.
//!
//! Takes what the API server has. Gives findings, each with a next step. In the data's order: `program` (Stash's own parts), `definitions` (the kinds), `resources` (what its users
//! made), `needs` (what those refer to). Always holds: nothing is changed; what may not be looked at is a finding and no silence.

mod definitions;
mod needs;
mod program;
mod resources;

use std::fmt::Debug;

use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Something that a user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether something would not work.
    pub stops: bool,
    /// What was found.
    pub what: String,
    /// What is to be done.
    pub next: String,
}

/// Who looks, and where.
struct Look {
    client: Client,
    namespace: Option<String>,
    found: Vec<Finding>,
}

/// Looks through a namespace, or through all, and through what belongs to none.
///
/// # Errors
/// The API server did not answer.
pub async fn check(client: &Client, namespace: Option<&str>) -> Result<Vec<Finding>, kube::Error> {
    let mut look = Look { client: client.clone(), namespace: namespace.map(str::to_owned), found: Vec::new() };
    program::look(&mut look).await?;
    definitions::look(&mut look).await?;
    resources::look(&mut look).await?;
    Ok(look.found)
}

impl Look {
    fn stops(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.found.push(Finding { stops: true, what: what.into(), next: next.into() });
    }

    fn note(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.found.push(Finding { stops: false, what: what.into(), next: next.into() });
    }

    /// All that a list has; nothing where the kind is not known, and a finding where it may not be seen.
    async fn listed<K>(&mut self, api: Api<K>, plural: &str) -> Result<Vec<K>, kube::Error>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.stops(
                    format!("the {plural} could not be looked at: {}", status.message),
                    "let somebody look who may list them",
                );
                Ok(Vec::new())
            }
            Err(other) => Err(other),
        }
    }

    /// All of a kind that belongs to no namespace, or of all namespaces.
    async fn everywhere<K>(&mut self) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.listed(Api::all(self.client.clone()), &K::plural(&())).await
    }

    /// All of a kind where it is looked.
    async fn here<K>(&mut self) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        self.listed(api, &K::plural(&())).await
    }

    /// The same, as they stand there: they may not be what they should.
    async fn as_written(&mut self, kind: &ApiResource) -> Result<Vec<DynamicObject>, kube::Error> {
        let api = match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        };
        self.listed(api, &kind.plural).await
    }
}
