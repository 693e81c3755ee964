//! An AppBinding to the params by which a Redis server is reached.
//!
//! Always holds: TLS is spoken where the AppBinding has certificates or its scheme says so, and the server's certificate is checked
//! unless it says not to; the password is a secret param.

use kube::ResourceExt;
use serde_json::{Map, Value as Json, json};

use super::secrets::{Held, Values, text, values};
use super::{Draft, found, put};
use crate::manifests::Manifests;
use crate::resources::app_binding::{AppBinding, SecretRef};

/// What flags say beside the AppBinding.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) user: Option<String>,
    pub(super) tls: bool,
    pub(super) insecure: bool,
    pub(super) server_name: Option<String>,
}

/// Those of `redis-dump` and `redis-restore`.
pub(super) fn server(
    draft: &mut Draft<'_>,
    manifests: &Manifests,
    binding: &AppBinding,
    namespace: &str,
    wishes: Wishes,
) -> Option<Map<String, Json>> {
    let spec = &binding.spec;
    let config = &spec.client_config;
    if let Some(kind) = spec.r#type.as_deref().filter(|kind| !kind.to_ascii_lowercase().ends_with("redis")) {
        draft.problems.push(format!("the AppBinding is of the type `{kind}`, and no Redis"));
    }
    let secure = wishes.tls
        || wishes.insecure
        || config.ca_bundle.is_some()
        || config.insecure_skip_tls_verify
        || spec.tls_secret.is_some();
    let url = draft.take(address(binding, namespace, secure))?;
    let mut params = Map::from_iter([("url".to_owned(), json!(url))]);
    let credentials = match &spec.secret {
        Some(secret) => draft.take(transformed(manifests, binding, secret, namespace))?,
        None => Values::new(),
    };
    let name = spec.secret.as_ref().map_or("", |secret| secret.name.as_str());
    let user = draft.take(text(&credentials, "username", name))?;
    let user = user.as_ref().and_then(Held::text).map(str::to_owned);
    let password = draft.take(text(&credentials, "password", name))?;
    if spec.secret.is_some() && password.is_none() {
        // In a cluster, who reads this may have no right to read the Secret.
        let keys = credentials.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let keys = if draft.setting.is_pod() { String::new() } else { format!("; its keys are {keys}") };
        draft.problems.push(format!("the Secret `{name}` has no key `password`{keys}"));
    }
    // The user `default` is who signs in with a password alone: servers before 6.0 know no other way.
    let user = wishes.user.or(user).filter(|user| !user.is_empty() && user != "default");
    put(&mut params, "username", user.map(Json::from));
    if let Some(password) = password.filter(|password| password.text().is_some_and(|text| !text.is_empty())) {
        let placeholder = draft.secret("redisPassword", password);
        params.insert("password".to_owned(), placeholder);
    }
    if url.starts_with("rediss") {
        let tls = tls(draft, manifests, binding, namespace, &wishes.server_name, wishes.insecure)?;
        params.insert("tls".to_owned(), Json::Object(tls));
    }
    Some(params)
}

fn address(binding: &AppBinding, namespace: &str, secure: bool) -> Result<String, String> {
    let config = &binding.spec.client_config;
    let scheme = if secure { "rediss" } else { "redis" };
    match (&config.url, &config.service) {
        (Some(url), _) => {
            let (given, rest) = url.split_once("://").unwrap_or(("", url));
            if rest.contains('@') {
                return Err(
                    "the AppBinding's `clientConfig.url` holds credentials: put them into its Secret".to_owned()
                );
            }
            if given.starts_with("redis+") || given.starts_with("rediss+") {
                // Of our own: a cluster, sentinels or a socket.
                return Ok(url.clone());
            }
            let secure = is_secure(given, "url")? || secure;
            Ok(format!("{}://{rest}", if secure { "rediss" } else { scheme }))
        }
        (None, Some(service)) => {
            let secure = is_secure(service.scheme.as_deref().unwrap_or_default(), "service.scheme")? || secure;
            let scheme = if secure { "rediss" } else { scheme };
            let namespace = service.namespace.as_deref().unwrap_or(namespace);
            let path = service.path.as_deref().unwrap_or_default().trim_matches('/');
            let path = if path.is_empty() { String::new() } else { format!("/{path}") };
            Ok(format!("{scheme}://{}.{namespace}.svc:{}{path}", service.name, service.port))
        }
        (None, None) => Err("the AppBinding has neither a `clientConfig.url` nor a `clientConfig.service`".to_owned()),
    }
}

/// Whether TLS is spoken by what a scheme says. That of an AppBinding is a Service's, which some say by the names of HTTP.
fn is_secure(scheme: &str, place: &str) -> Result<bool, String> {
    match scheme {
        "rediss" | "https" => Ok(true),
        "" | "redis" | "http" | "tcp" => Ok(false),
        other => Err(format!(
            "the AppBinding's `clientConfig.{place}` says `{other}`: a Redis server is reached by `redis` or, with TLS, by `rediss`"
        )),
    }
}

/// The host of a database: its Service's name, or that in its address. Of several, the first.
pub(super) fn host(binding: &AppBinding, namespace: &str) -> Result<String, String> {
    let address = address(binding, namespace, false)?;
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let first = rest.split(['/', ',', '?']).next().unwrap_or_default();
    let named = match first.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => first.split(':').next().unwrap_or_default(),
    };
    if named.is_empty() || scheme.ends_with("unix") {
        return Err(format!("it names no host, and the AppBinding's `{address}` has none"));
    }
    Ok(named.to_owned())
}

/// The Service whose pods a command may be run in: one of the namespace of who asks for it, named by an AppBinding of that namespace, since nobody
/// elsewhere has a say over its pods.
pub(super) fn service(binding: &AppBinding, home: &str, namespace: &str) -> Result<String, String> {
    let Some(service) = &binding.spec.client_config.service else {
        return Err(
            "it has an `exec`, and the AppBinding names no `clientConfig.service` whose pods that could be run in"
                .to_owned(),
        );
    };
    let there = service.namespace.as_deref().unwrap_or(home);
    if there != namespace || home != namespace {
        return Err(format!(
            "it has an `exec`, which is run in pods of its own namespace `{namespace}` alone, and the AppBinding `{home}/{}` is for the Service `{there}/{}`",
            binding.name_any(),
            service.name
        ));
    }
    Ok(service.name.clone())
}

/// A Secret's values after the AppBinding's transforms, in their order.
fn transformed(
    manifests: &Manifests,
    binding: &AppBinding,
    secret: &SecretRef,
    namespace: &str,
) -> Result<Values, String> {
    let of = |secret: &SecretRef| {
        let namespace = secret.namespace.as_deref().unwrap_or(namespace);
        found(&manifests.secrets, "Secret", namespace, &secret.name).map(|secret| self::values(secret, namespace))
    };
    let mut values = of(secret)?;
    for transform in &binding.spec.secret_transforms {
        if let Some(rename) = &transform.rename_key
            && let Some(value) = values.remove(&rename.from)
        {
            values.insert(rename.to.clone(), value);
        }
        if let Some(add) = &transform.add_key {
            let text = add.string_value.as_ref().map(|text| text.clone().into_bytes());
            let bytes = text.or_else(|| add.value.as_ref().map(|value| value.0.clone())).unwrap_or_default();
            values.insert(add.key.clone(), Held { bytes, from: None });
        }
        if let Some(add) = &transform.add_keys_from {
            values.extend(of(&add.secret_ref)?);
        }
        if let Some(remove) = &transform.remove_key {
            values.remove(&remove.key);
        }
    }
    Ok(values)
}

fn tls(
    draft: &mut Draft<'_>,
    manifests: &Manifests,
    binding: &AppBinding,
    namespace: &str,
    server_name: &Option<String>,
    insecure: bool,
) -> Option<Map<String, Json>> {
    let config = &binding.spec.client_config;
    let mut tls = Map::new();
    let mut authority = config.ca_bundle.as_ref().map(|bundle| Held { bytes: bundle.0.clone(), from: None });
    if let Some(secret) = &binding.spec.tls_secret {
        let namespace = secret.namespace.as_deref().unwrap_or(namespace);
        let keys = found(&manifests.secrets, "Secret", namespace, &secret.name).map(|secret| values(secret, namespace));
        let keys = draft.take(keys)?;
        authority = authority.or_else(|| keys.get("ca.crt").cloned());
        match (keys.get("tls.crt"), keys.get("tls.key")) {
            (Some(certificate), Some(key)) => {
                for (param, name, content) in [("certFile", "tls.crt", certificate), ("keyFile", "tls.key", key)] {
                    tls.insert(param.to_owned(), draft.file(name, content.clone()));
                }
            }
            (None, None) => {}
            _ => draft.problems.push(format!("the Secret `{}` has only one of `tls.crt` and `tls.key`", secret.name)),
        }
    }
    if let Some(authority) = authority {
        tls.insert("caFile".to_owned(), draft.file("ca.crt", authority));
    }
    if config.insecure_skip_tls_verify || insecure {
        tls.insert("insecure".to_owned(), true.into());
    }
    put(&mut tls, "serverName", server_name.clone().or_else(|| config.server_name.clone()).map(Json::from));
    Some(tls)
}
