//! A Repository and its Secret to the location and password that `restic-*` functions take.
//!
//! Takes the keys that Stash's Secrets have. Always holds: credentials are secret params; a Secret that lacks what its backend needs is a
//! problem that names the key; another namespace's repository is used only where its policy says so.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Draft, found, put, text, values};
use crate::manifests::Manifests;
use crate::resources::backend::Backend;
use crate::resources::repository::{From, Repository};
use crate::resources::target::RepositoryRef;

/// The params `repository` and `password`.
pub(super) fn location(
    draft: &mut Draft,
    manifests: &Manifests,
    of: &RepositoryRef,
    namespace: &str,
) -> Option<Map<String, Json>> {
    let home = of.namespace.as_deref().unwrap_or(namespace);
    let repository = draft.take(found(&manifests.repositories, "Repository", home, &of.name))?;
    if home != namespace {
        draft.take(may_use(repository, &of.name, home, namespace))?;
    }
    let backend = &repository.spec.backend;
    let Some(name) = &backend.storage_secret_name else {
        draft
            .problems
            .push(format!("the Repository `{}` names no `storageSecretName`, whose Secret has its password", of.name));
        return None;
    };
    let keys = draft.take(found(&manifests.secrets, "Secret", home, name).map(values))?;
    let mut credentials = Credentials { draft, keys, name };
    let password = credentials.required("RESTIC_PASSWORD", "repositoryPassword");
    let location = place(&mut credentials, backend, &of.name);
    Some(Map::from_iter([("repository".to_owned(), location?), ("password".to_owned(), password?)]))
}

fn may_use(repository: &Repository, name: &str, home: &str, namespace: &str) -> Result<(), String> {
    let from = repository.spec.usage_policy.as_ref().map_or(From::Same, |policy| policy.allowed_namespaces.from);
    match from {
        From::All => Ok(()),
        From::Same => Err(format!(
            "the Repository `{home}/{name}` may not be used from the namespace `{namespace}`: its `usagePolicy` does not say so"
        )),
        From::Selector => Err(format!(
            "the Repository `{home}/{name}` chooses namespaces by their labels, which manifests alone do not tell: use it from `{home}`"
        )),
    }
}

/// A Secret, and where its values go.
struct Credentials<'d> {
    draft: &'d mut Draft,
    keys: BTreeMap<String, Vec<u8>>,
    name: &'d str,
}

impl Credentials<'_> {
    fn plain(&mut self, key: &str) -> Option<String> {
        let found = text(&self.keys, key, self.name);
        self.draft.take(found).flatten().filter(|value| !value.is_empty())
    }

    /// A value as a secret param of this name.
    fn secret(&mut self, key: &str, param: &str) -> Option<Json> {
        self.plain(key).map(|value| self.draft.secret(param, value))
    }

    fn required(&mut self, key: &str, param: &str) -> Option<Json> {
        let found = self.secret(key, param);
        if found.is_none() {
            self.missing(key);
        }
        found
    }

    fn missing(&mut self, key: &str) {
        self.draft.problems.push(format!("the Secret `{}` has no key `{key}`", self.name));
    }

    /// How a server is reached by HTTP.
    fn http(&mut self, insecure: bool, connections: Option<i64>) -> Option<Json> {
        let mut http = Map::new();
        if let Some(authority) = self.keys.get("CA_CERT_DATA") {
            let path = self.draft.files.write("repository-ca.crt", authority);
            put(&mut http, "caFile", self.draft.take(path).map(Json::from));
        }
        put(&mut http, "insecure", insecure.then_some(true.into()));
        put(&mut http, "connections", connections.filter(|connections| *connections > 0).map(Json::from));
        (!http.is_empty()).then_some(http.into())
    }
}

fn place(credentials: &mut Credentials<'_>, backend: &Backend, name: &str) -> Option<Json> {
    let mut places: Vec<Option<Json>> = Vec::new();
    if let Some(local) = &backend.local {
        places.push(match &local.host_path {
            Some(host) => {
                let below = local.sub_path.as_deref().unwrap_or_default().trim_matches('/');
                let path = host.path.trim_end_matches('/');
                Some(json!({"folder": if below.is_empty() { path.to_owned() } else { format!("{path}/{below}") }}))
            }
            None => {
                credentials.draft.problems.push(format!(
                    "the Repository `{name}` is on a volume that is not on this machine: only a `hostPath` is"
                ));
                None
            }
        });
    }
    if let Some(s3) = &backend.s3 {
        let mut map = Map::from_iter([("bucket".to_owned(), json!(s3.bucket))]);
        put(&mut map, "prefix", s3.prefix.clone().map(Json::from));
        put(&mut map, "region", s3.region.clone().filter(|region| !region.is_empty()).map(Json::from));
        // restic's words for AWS itself.
        let endpoint = s3.endpoint.clone().filter(|endpoint| !endpoint.is_empty() && endpoint != "s3.amazonaws.com");
        let endpoint =
            endpoint.map(|endpoint| if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") });
        put(&mut map, "endpoint", endpoint.map(Json::from));
        put(&mut map, "accessKeyId", credentials.plain("AWS_ACCESS_KEY_ID").map(Json::from));
        put(&mut map, "secretAccessKey", credentials.secret("AWS_SECRET_ACCESS_KEY", "storageKey"));
        put(&mut map, "sessionToken", credentials.secret("AWS_SESSION_TOKEN", "storageToken"));
        put(&mut map, "http", credentials.http(s3.insecure_tls, None));
        places.push(Some(json!({"s3": map})));
    }
    if let Some(gcs) = &backend.gcs {
        let mut map = Map::from_iter([("bucket".to_owned(), json!(gcs.bucket))]);
        put(&mut map, "prefix", gcs.prefix.clone().map(Json::from));
        put(&mut map, "credentials", credentials.secret("GOOGLE_SERVICE_ACCOUNT_JSON_KEY", "storageKey"));
        put(&mut map, "http", credentials.http(false, gcs.max_connections));
        places.push(Some(json!({"gcs": map})));
    }
    if let Some(azure) = &backend.azure {
        let mut map = Map::from_iter([("container".to_owned(), json!(azure.container))]);
        put(&mut map, "prefix", azure.prefix.clone().map(Json::from));
        let account = credentials.plain("AZURE_ACCOUNT_NAME");
        if account.is_none() {
            credentials.missing("AZURE_ACCOUNT_NAME");
        }
        put(&mut map, "accountName", account.map(Json::from));
        put(&mut map, "accountKey", credentials.required("AZURE_ACCOUNT_KEY", "storageKey"));
        put(&mut map, "http", credentials.http(false, azure.max_connections));
        places.push(Some(json!({"azure": map})));
    }
    if let Some(swift) = &backend.swift {
        places.push(Some(json!({"swift": swift_map(credentials, &swift.container, swift.prefix.as_deref())})));
    }
    if let Some(b2) = &backend.b2 {
        let mut map = Map::from_iter([("bucket".to_owned(), json!(b2.bucket))]);
        put(&mut map, "prefix", b2.prefix.clone().map(Json::from));
        let account = credentials.plain("B2_ACCOUNT_ID");
        if account.is_none() {
            credentials.missing("B2_ACCOUNT_ID");
        }
        put(&mut map, "keyId", account.map(Json::from));
        put(&mut map, "key", credentials.required("B2_ACCOUNT_KEY", "storageKey"));
        put(&mut map, "http", credentials.http(false, b2.max_connections));
        places.push(Some(json!({"b2": map})));
    }
    if let Some(rest) = &backend.rest {
        let mut map = Map::from_iter([("url".to_owned(), json!(rest.url))]);
        put(&mut map, "username", credentials.plain("REST_SERVER_USERNAME").map(Json::from));
        put(&mut map, "password", credentials.secret("REST_SERVER_PASSWORD", "storageKey"));
        put(&mut map, "http", credentials.http(false, None));
        places.push(Some(json!({"rest": map})));
    }
    match places.len() {
        1 => places.pop().flatten(),
        count => {
            let what = if count == 0 { "no backend" } else { "several backends" };
            credentials.draft.problems.push(format!("the Repository `{name}` has {what}: it needs one of `local`, `s3`, `gcs`, `azure`, `swift`, `b2` and `rest`"));
            None
        }
    }
}

/// Swift by the names of its own way to sign in, or of Keystone's.
fn swift_map(credentials: &mut Credentials<'_>, container: &str, prefix: Option<&str>) -> Map<String, Json> {
    let mut map = Map::from_iter([("container".to_owned(), json!(container))]);
    put(&mut map, "prefix", prefix.map(Json::from));
    if let Some(url) = credentials.plain("ST_AUTH") {
        map.insert("authUrl".to_owned(), url.into());
        put(&mut map, "username", credentials.plain("ST_USER").map(Json::from));
        put(&mut map, "password", credentials.required("ST_KEY", "storageKey"));
    } else {
        for (param, key) in [
            ("authUrl", "OS_AUTH_URL"),
            ("username", "OS_USERNAME"),
            ("userDomain", "OS_USER_DOMAIN_NAME"),
            ("project", "OS_PROJECT_NAME"),
            ("projectDomain", "OS_PROJECT_DOMAIN_NAME"),
            ("region", "OS_REGION_NAME"),
            ("applicationCredentialId", "OS_APPLICATION_CREDENTIAL_ID"),
        ] {
            put(&mut map, param, credentials.plain(key).map(Json::from));
        }
        put(&mut map, "password", credentials.secret("OS_PASSWORD", "storageKey"));
        put(
            &mut map,
            "applicationCredentialSecret",
            credentials.secret("OS_APPLICATION_CREDENTIAL_SECRET", "storageToken"),
        );
    }
    put(&mut map, "http", credentials.http(false, None));
    map
}
