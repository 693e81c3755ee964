//! A container's environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::shared::Shared;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The values of a secret or a config map.
pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// A secret's; nothing where it is not there.
///
/// # Errors
/// It cannot be asked for now.
pub(super) async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Values>, String> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.map_err(|error| format!("secret \"{name}\": {error}"))?;
    Ok(found.map(|found| found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
}

/// A config map's; nothing where it is not there.
///
/// # Errors
/// It cannot be asked for now.
pub(super) async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Option<Values>, String> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.map_err(|error| format!("configmap \"{name}\": {error}"))?;
    Ok(found.map(|found| {
        let texts = found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        texts.chain(found.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0))).collect()
    }))
}

/// A field of the pod, by the path that the API has for it.
///
/// # Errors
/// This node does not know the field.
pub(super) fn field(pod: &Pod, selector: &ObjectFieldSelector) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let path = selector.field_path.as_str();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Err(format!("the field {path} is not known")),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    let lines = |map: &BTreeMap<String, String>| {
        let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        lines.join("\n")
    };
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" | "status.podIP" | "status.hostIPs" | "status.podIPs" => "127.0.0.1".to_owned(),
        _ => return Err(format!("the field {path} is not known")),
    })
}

/// A text with `$(NAME)` replaced by what is known; others stay, and `$$` is a dollar.
pub(super) fn expanded(text: &str, known: &[(String, String)]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(more) = rest.strip_prefix('$') {
            out.push('$');
            rest = more;
            continue;
        }
        let named = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let value = named.and_then(|(name, more)| Some((&known.iter().rev().find(|(is, _)| is == name)?.1, more)));
        if let Some((value, more)) = value {
            out.push_str(value);
            rest = more;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

async fn from(client: &Client, pod: &Pod, source: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let (kind, name, key, optional, values) = if let Some(it) = &source.secret_key_ref {
        ("secret", &it.name, &it.key, it.optional, secret(client, &namespace, &it.name).await?)
    } else if let Some(it) = &source.config_map_key_ref {
        ("configmap", &it.name, &it.key, it.optional, config_map(client, &namespace, &it.name).await?)
    } else if let Some(it) = &source.field_ref {
        return field(pod, it).map(Some);
    } else {
        return Err("this node knows no such source of a variable".to_owned());
    };
    let found = values.is_some();
    match values.and_then(|mut values| values.remove(key)) {
        Some(value) => Ok(Some(text(value))),
        None if optional == Some(true) => Ok(None),
        None if found => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        None => Err(format!("{kind} \"{name}\" not found")),
    }
}

/// All of it, in order.
///
/// # Errors
/// It names something that is not there; it may be later.
pub(super) async fn of(
    shared: &Shared,
    client: &Client,
    pod: &Pod,
    container: &Container,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let own = [
        ("PATH", PATH.to_owned()),
        ("HOSTNAME", pod.name_any()),
        ("HOME", "/".to_owned()),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT", shared.port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", shared.port.to_string()),
    ];
    let mut all: Vec<(String, String)> = own.map(|(name, value)| (name.to_owned(), value)).into();
    for group in container.env_from.iter().flatten() {
        let (kind, name, optional, values) = if let Some(it) = &group.secret_ref {
            ("secret", &it.name, it.optional, secret(client, &namespace, &it.name).await?)
        } else if let Some(it) = &group.config_map_ref {
            ("configmap", &it.name, it.optional, config_map(client, &namespace, &it.name).await?)
        } else {
            continue;
        };
        if values.is_none() && optional != Some(true) {
            return Err(format!("{kind} \"{name}\" not found"));
        }
        let prefix = group.prefix.as_deref().unwrap_or_default();
        all.extend(values.unwrap_or_default().into_iter().map(|(key, value)| (format!("{prefix}{key}"), text(value))));
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => from(client, pod, source).await?,
            None => Some(expanded(variable.value.as_deref().unwrap_or_default(), &all)),
        };
        all.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays() {
        let known = [
            ("A".to_owned(), "first".to_owned()),
            ("B".to_owned(), "$(A)".to_owned()),
            ("A".to_owned(), "x".to_owned()),
        ];
        for (text, expected) in
            [("$(A)-$(B)", "x-$(A)"), ("$(C) $A ${A} $", "$(C) $A ${A} $"), ("$$(A) $$$(A)", "$(A) $x"), ("$(A", "$(A")]
        {
            assert_eq!(expanded(text, &known), expected, "{text}");
        }
    }
}
