//! A Repository and its Secret to the location and password that `restic-*` functions take.
//!
//! Takes the keys that Stash's Secrets have. Always holds: credentials are secret params; a Secret that lacks what its backend needs is a
//! problem that names the key; another namespace's repository is used only where its policy says so.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt};
use serde_json::{Map, Value as Json, json};

use super::secrets::{Held, Values, text, values};
use super::{Draft, found, put};
use crate::manifests::Manifests;
use crate::resources::backend::Backend;
use crate::resources::repository::{From, Repository};
use crate::resources::target::RepositoryRef;

/// The params `repository` and `password`.
pub(super) fn location(
    draft: &mut Draft<'_>,
    manifests: &Manifests,
    of: &RepositoryRef,
    namespace: &str,
) -> Option<Map<String, Json>> {
    let home = of.namespace.as_deref().unwrap_or(namespace);
    let repository = draft.take(found(&manifests.repositories, "Repository", home, &of.name))?;
    draft.take(may_use(repository, &of.name, home, namespace, manifests.namespaces.get(namespace)))?;
    let backend = &repository.spec.backend;
    if home != namespace && backend.local.as_ref().is_some_and(|local| local.persistent_volume_claim.is_some()) {
        draft.problems.push(format!(
            "the Repository `{home}/{}` lies on a claim of its namespace, which no pod of the namespace `{namespace}` can mount: use it from `{home}`, or one that lies elsewhere",
            of.name
        ));
    }
    let Some(name) = &backend.storage_secret_name else {
        draft
            .problems
            .push(format!("the Repository `{}` names no `storageSecretName`, whose Secret has its password", of.name));
        return None;
    };
    let keys = found(&manifests.secrets, "Secret", home, name).map(|secret| values(secret, home));
    let keys = draft.take(keys)?;
    let mut credentials = Credentials { draft, keys, name };
    let password = credentials.required("RESTIC_PASSWORD", "repositoryPassword");
    let location = place(&mut credentials, backend, &of.name);
    Some(Map::from_iter([("repository".to_owned(), location?), ("password".to_owned(), password?)]))
}

/// Whether a repository may be used from a namespace with these labels: its own always.
///
/// # Errors
/// It may not, in words.
pub(crate) fn may_use(
    repository: &Repository,
    name: &str,
    home: &str,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), String> {
    if home == namespace {
        return Ok(());
    }
    let allowed = repository.spec.usage_policy.clone().unwrap_or_default().allowed_namespaces;
    match allowed.from {
        From::All => Ok(()),
        From::Same => Err(format!(
            "the Repository `{home}/{name}` may not be used from the namespace `{namespace}`: its `usagePolicy` does not say so"
        )),
        From::Selector => {
            let Some(labels) = labels else {
                return Err(format!(
                    "the Repository `{home}/{name}` chooses namespaces by their labels, and the Namespace `{namespace}` is not among the manifests"
                ));
            };
            let selector = Selector::try_from(allowed.selector.unwrap_or_default());
            let selector =
                selector.map_err(|error| format!("the `usagePolicy` of the Repository `{home}/{name}`: {error}"))?;
            if selector.matches(labels) {
                return Ok(());
            }
            Err(format!(
                "the Repository `{home}/{name}` may not be used from the namespace `{namespace}`: it has not the labels that the `usagePolicy` asks for"
            ))
        }
    }
}

/// A Secret, and where its values go.
struct Credentials<'d, 's> {
    draft: &'d mut Draft<'s>,
    keys: Values,
    name: &'d str,
}

impl Credentials<'_, '_> {
    fn held(&mut self, key: &str) -> Option<Held> {
        let found = text(&self.keys, key, self.name);
        self.draft.take(found).flatten().filter(|value| value.text().is_some_and(|text| !text.is_empty()))
    }

    fn plain(&mut self, key: &str) -> Option<String> {
        self.held(key)?.text().map(str::to_owned)
    }

    /// A value as a secret param of this name.
    fn secret(&mut self, key: &str, param: &str) -> Option<Json> {
        self.held(key).map(|value| self.draft.secret(param, value))
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
        if let Some(authority) = self.keys.get("CA_CERT_DATA").cloned() {
            http.insert("caFile".to_owned(), self.draft.file("repository-ca.crt", authority));
        }
        put(&mut http, "insecure", insecure.then_some(true.into()));
        put(&mut http, "connections", connections.filter(|connections| *connections > 0).map(Json::from));
        (!http.is_empty()).then_some(http.into())
    }
}

fn place(credentials: &mut Credentials<'_, '_>, backend: &Backend, name: &str) -> Option<Json> {
    let mut places: Vec<Option<Json>> = Vec::new();
    if let Some(local) = &backend.local {
        let sources = local.sources();
        if credentials.draft.setting.is_pod() && sources != 1 {
            // The API server would take a volume of none for one that ends with the pod.
            credentials.draft.problems.push(format!(
                "the Repository `{name}` is `local` and names {} that is known here: it needs one, such as `persistentVolumeClaim`, `hostPath`, `nfs` or `csi`",
                if sources == 0 { "no volume" } else { "more than one volume" }
            ));
        }
        // In a pod the volume is mounted; on this machine it is the folder itself.
        let above = match &local.host_path {
            _ if credentials.draft.setting.is_pod() => Some(&local.mount_path),
            Some(host) => Some(&host.path),
            None => None,
        };
        places.push(match above {
            Some(above) => {
                let below = local.sub_path.as_deref().unwrap_or_default().trim_matches('/');
                let path = above.trim_end_matches('/');
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
    let addresses = [backend.rest.as_ref().map(|it| &it.url), backend.s3.as_ref().and_then(|it| it.endpoint.as_ref())];
    if addresses.into_iter().flatten().any(|address| {
        let host = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest).split('/').next();
        host.is_some_and(|host| host.contains('@'))
    }) {
        credentials.draft.problems.push(format!(
            "the Repository `{name}` holds credentials in its address: put them into its Secret, as `REST_SERVER_USERNAME` and `REST_SERVER_PASSWORD` or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
        ));
    }
    let prefixes = [
        backend.s3.as_ref().and_then(|it| it.prefix.as_deref()),
        backend.gcs.as_ref().and_then(|it| it.prefix.as_deref()),
        backend.azure.as_ref().and_then(|it| it.prefix.as_deref()),
        backend.swift.as_ref().and_then(|it| it.prefix.as_deref()),
        backend.b2.as_ref().and_then(|it| it.prefix.as_deref()),
        backend.local.as_ref().and_then(|it| it.sub_path.as_deref()),
    ];
    if let Some(prefix) = prefixes.into_iter().flatten().find(|prefix| prefix.split('/').any(|part| part == "..")) {
        credentials
            .draft
            .problems
            .push(format!("the Repository `{name}` lies at `{prefix}`, and `..` leads elsewhere"));
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
fn swift_map(credentials: &mut Credentials<'_, '_>, container: &str, prefix: Option<&str>) -> Map<String, Json> {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::session::Setting;

    #[test]
    fn a_claim_is_mounted_in_its_own_namespace_alone() {
        let spec = json!({
            "backend": {"local": {"persistentVolumeClaim": {"claimName": "backup"}, "mountPath": "/safe"}, "storageSecretName": "keys"},
            "usagePolicy": {"allowedNamespaces": {"from": "All"}},
        });
        let secret = json!({"metadata": {"name": "keys"}, "stringData": {"RESTIC_PASSWORD": "correct-horse"}});
        let key = |name: &str| ("store".to_owned(), name.to_owned());
        let mut manifests = Manifests::default();
        let repository = Repository::new("repo", serde_json::from_value(spec).expect("a spec"));
        manifests.repositories.insert(key("repo"), repository);
        manifests.secrets.insert(key("keys"), serde_json::from_value(secret).expect("a Secret"));
        let pod = Setting::Pod { folder: Path::new("/f"), session: "s", retry_left: 0, exec: false };
        let of = RepositoryRef { name: "repo".to_owned(), namespace: Some("store".to_owned()) };
        let problems = |namespace: &str| {
            let mut draft = Draft::new(pod);
            let _found = location(&mut draft, &manifests, &of, namespace);
            draft.problems.join("; ")
        };
        assert_eq!(problems("store"), "");
        assert!(problems("shop").contains("no pod of the namespace `shop` can mount"), "{}", problems("shop"));
    }
}
