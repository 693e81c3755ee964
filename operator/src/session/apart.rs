//! Whether snapshots of several BackupConfigurations in one repository can be told apart.
//!
//! Takes two of them. Gives whether retention and `latest` take the snapshots of one for those of the other. Always holds: whichever of the two is asked
//! about, the answer is the same.

use std::ops::Deref;

use serde_json::json;

use crate::resources::backend::{Backend, LocalBackend};
use crate::resources::backup::BackupConfigurationSpec;
use crate::resources::repository::Repository;

/// A BackupConfiguration's namespace and spec.
pub(crate) type Keeper<'k> = (&'k str, &'k BackupConfigurationSpec);

/// Whether two keep snapshots under the same host in the same place; `known` gives a Repository by its namespace and name, where it is known.
pub(crate) fn are_alike<R>(one: Keeper<'_>, other: Keeper<'_>, known: impl Fn(&str, &str) -> Option<R>) -> bool
where
    R: Deref<Target = Repository>,
{
    let (first, second) = (repository(one), repository(other));
    let is_same_place = || {
        let found = known(first.0, first.1).zip(known(second.0, second.1));
        found.is_some_and(|(one, other)| {
            // Those of one namespace are most likely of one account.
            (first.0 == second.0 || !is_of_an_account(&one.spec.backend))
                && is_same((first.0, &one.spec.backend), (second.0, &other.spec.backend))
        })
    };
    (first == second || is_same_place()) && one.1.host() == other.1.host()
}

/// The namespace and name of its Repository.
fn repository<'k>((home, spec): Keeper<'k>) -> (&'k str, &'k str) {
    (spec.repository.namespace.as_deref().unwrap_or(home), &spec.repository.name)
}

/// Whether two lie at the same place, each with its namespace. Where that cannot be told apart, they do: a Secret may say which account a bucket is of, and
/// not each node has the same folder.
pub(crate) fn is_same(one: (&str, &Backend), other: (&str, &Backend)) -> bool {
    let (one, other) = (place(one.0, one.1), place(other.0, other.1));
    one.is_some() && one == other
}

/// Whether a container's name says nothing without the account, which only the Secret names.
fn is_of_an_account(backend: &Backend) -> bool {
    backend.azure.is_some() || backend.swift.is_some()
}

/// Where one lies, in the words that all have for the same place.
fn place(home: &str, backend: &Backend) -> Option<String> {
    let bucket = |kind: &str, server: &str, bucket: &str, prefix: &Option<String>| {
        let prefix = path(prefix.as_deref().unwrap_or_default());
        json!([kind, server, bucket, prefix]).to_string()
    };
    let Backend { storage_secret_name: _, local, s3, gcs, azure, swift, b2, rest } = backend;
    if let Some(it) = s3 {
        return Some(bucket("s3", &server(it.endpoint.as_deref().unwrap_or_default()), &it.bucket, &it.prefix));
    }
    if let Some(it) = gcs {
        return Some(bucket("gcs", "", &it.bucket, &it.prefix));
    }
    if let Some(it) = azure {
        return Some(bucket("azure", "", &it.container, &it.prefix));
    }
    if let Some(it) = swift {
        return Some(bucket("swift", "", &it.container, &it.prefix));
    }
    if let Some(it) = b2 {
        return Some(bucket("b2", "", &it.bucket, &it.prefix));
    }
    if let Some(it) = rest {
        return Some(json!(["rest", server(&it.url)]).to_string());
    }
    local.as_ref().and_then(|local| volume(home, local))
}

/// A server without how it is spoken to; all of Amazon's are one, since a bucket's name is there once.
fn server(endpoint: &str) -> String {
    let endpoint = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).trim_end_matches('/');
    let endpoint = endpoint.to_ascii_lowercase();
    let host = endpoint.split(':').next().unwrap_or_default();
    if host.is_empty() || host.ends_with("amazonaws.com") { "amazonaws.com".to_owned() } else { endpoint }
}

/// A volume and the folder in it. Where it is mounted says nothing.
fn volume(home: &str, local: &LocalBackend) -> Option<String> {
    let below = path(local.sub_path.as_deref().unwrap_or_default());
    if let Some(folder) = &local.host_path {
        return Some(json!(["hostPath", path(&format!("{}/{below}", folder.path))]).to_string());
    }
    if let Some(share) = &local.nfs {
        return Some(json!(["nfs", share.server, path(&format!("{}/{below}", share.path))]).to_string());
    }
    if let Some(claim) = &local.persistent_volume_claim {
        return Some(json!(["persistentVolumeClaim", home, claim.claim_name, below]).to_string());
    }
    // It ends with its pod.
    if local.empty_dir.is_some() {
        return None;
    }
    let mut rest = LocalBackend { mount_path: String::new(), sub_path: None, ..local.clone() };
    let read_only = [
        rest.iscsi.as_mut().map(|it| &mut it.read_only),
        rest.fc.as_mut().map(|it| &mut it.read_only),
        rest.cephfs.as_mut().map(|it| &mut it.read_only),
        rest.csi.as_mut().map(|it| &mut it.read_only),
        rest.azure_file.as_mut().map(|it| &mut it.read_only),
        rest.azure_disk.as_mut().map(|it| &mut it.read_only),
    ];
    read_only.into_iter().flatten().for_each(|it| *it = None);
    Some(json!([rest, below]).to_string())
}

/// A path by its parts.
fn path(text: &str) -> String {
    text.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// That two are, for people; the other one has this name. Of another namespace's nobody learns more than that it is there, unless both have one Repository.
pub(crate) fn said(one: Keeper<'_>, other: Keeper<'_>, name: &str) -> String {
    let spec = one.1;
    let who = if one.0 == other.0 || repository(one) == repository(other) {
        format!("the BackupConfiguration `{}/{name}`", other.0)
    } else {
        "a BackupConfiguration of another namespace".to_owned()
    };
    format!(
        "{who} keeps its snapshots in the same place, and under the same host `{}`: retention of one removes those of the other, and `latest` may be the other's; give one of them a `target.alias` of its own, or a Repository",
        spec.host()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(repository: &str, namespace: Option<&str>, alias: Option<&str>) -> BackupConfigurationSpec {
        let target = json!({"ref": {"apiVersion": "v1", "kind": "AppBinding", "name": "db"}, "alias": alias});
        let repository = json!({"name": repository, "namespace": namespace});
        serde_json::from_value(json!({"repository": repository, "target": target, "retentionPolicy": {"name": "r"}}))
            .expect("a spec")
    }

    #[test]
    fn one_place_in_other_words_is_the_same() {
        let of = |home: &str, backend: serde_json::Value| {
            place(home, &serde_json::from_value(backend.clone()).expect("a backend")).unwrap_or(format!("{backend}"))
        };
        let local = |source: &str, what: serde_json::Value, below: &str| json!({"local": {source: what, "mountPath": "/m", "subPath": below}});
        let nfs = |path: &str| json!({"server": "n", "path": path});
        for (one, other, same) in [
            (
                json!({"s3": {"bucket": "b", "prefix": "/shop/"}}),
                json!({"s3": {"bucket": "b", "prefix": "shop", "endpoint": "s3.amazonaws.com", "region": "x"}}),
                true,
            ),
            (
                json!({"s3": {"bucket": "b", "endpoint": "https://S3.eu-west-1.amazonaws.com/"}}),
                json!({"s3": {"bucket": "b"}}),
                true,
            ),
            (
                json!({"s3": {"bucket": "b", "endpoint": "http://minio:9000"}}),
                json!({"s3": {"bucket": "b", "endpoint": "https://minio:9000/", "insecureTLS": true}}),
                true,
            ),
            (json!({"s3": {"bucket": "b", "endpoint": "http://minio:9000"}}), json!({"s3": {"bucket": "b"}}), false),
            (
                json!({"s3": {"bucket": "b", "prefix": "shop"}}),
                json!({"s3": {"bucket": "b", "prefix": "shop/cart"}}),
                false,
            ),
            (json!({"gcs": {"bucket": "b"}}), json!({"s3": {"bucket": "b"}}), false),
            (
                json!({"gcs": {"bucket": "b", "maxConnections": 3}}),
                json!({"gcs": {"bucket": "b", "prefix": "/"}}),
                true,
            ),
            (json!({"rest": {"url": "http://r:8000/shop/"}}), json!({"rest": {"url": "http://r:8000/shop"}}), true),
            (local("nfs", nfs("/a"), "b/c"), local("nfs", nfs("/a/b"), "/c/"), true),
            (local("nfs", nfs("/a"), "b"), local("nfs", nfs("/a"), "c"), false),
            (
                local("hostPath", json!({"path": "/a/"}), "b"),
                local("hostPath", json!({"path": "/a/b", "type": "Directory"}), ""),
                true,
            ),
            (
                local("csi", json!({"driver": "d", "readOnly": true}), "b"),
                local("csi", json!({"driver": "d"}), "/b"),
                true,
            ),
            (local("csi", json!({"driver": "d"}), "b"), local("csi", json!({"driver": "e"}), "b"), false),
        ] {
            assert_eq!(of("shop", one.clone()) == of("cart", other.clone()), same, "{one} {other}");
        }
        let claim = local("persistentVolumeClaim", json!({"claimName": "c"}), "b");
        assert_ne!(
            of("shop", claim.clone()),
            of("cart", claim.clone()),
            "a claim of another namespace is another volume"
        );
        assert_eq!(of("shop", claim.clone()), of("shop", claim));
        let gone = local("emptyDir", json!({}), "");
        let gone: Backend = serde_json::from_value(gone).expect("a backend");
        assert!(!is_same(("shop", &gone), ("shop", &gone)), "what ends with a pod is nobody else's");
    }

    #[test]
    fn the_same_host_in_the_same_place_is_alike_both_ways() {
        let known = |namespace: &str, name: &str| {
            let bucket = match (namespace, name) {
                ("shop", "one" | "copy") | ("far", "same") => "b",
                ("far", "away") => "d",
                ("shop", "other") => "c",
                _ => return None,
            };
            let spec = json!({"backend": {"s3": {"bucket": bucket}, "storageSecretName": name}});
            let spec = serde_json::from_value(spec).expect("a spec");
            Some(std::sync::Arc::new(Repository::new(name, spec)))
        };
        let one = spec("one", None, None);
        for (home, other, alike) in [
            ("shop", spec("one", None, None), true),
            ("shop", spec("one", None, Some("cart")), false),
            ("shop", spec("copy", None, None), true),
            ("shop", spec("other", None, None), false),
            ("shop", spec("gone", None, None), false),
            ("cart", spec("one", None, None), false),
            ("cart", spec("one", Some("shop"), None), true),
            ("far", spec("same", None, None), true),
            ("far", spec("same", None, Some("cart")), false),
            ("far", spec("away", None, None), false),
        ] {
            let both =
                [are_alike(("shop", &one), (home, &other), known), are_alike((home, &other), ("shop", &one), known)];
            assert_eq!(both, [alike; 2], "{home} {other:?}");
        }
        // Containers of one name in two accounts are two.
        let container = |_: &str, _: &str| {
            let spec = json!({"backend": {"azure": {"container": "backups"}, "storageSecretName": "keys"}});
            Some(std::sync::Arc::new(Repository::new("r", serde_json::from_value(spec).expect("a spec"))))
        };
        let copy = spec("copy", None, None);
        assert!(are_alike(("shop", &one), ("shop", &copy), container));
        assert!(!are_alike(("shop", &one), ("far", &copy), container));
        let told = |home: &str, other: &BackupConfigurationSpec| said(("shop", &one), (home, other), "it");
        let (same, shared) = (spec("same", None, None), spec("one", Some("shop"), None));
        assert!(told("far", &same).starts_with("a BackupConfiguration of another namespace keeps"));
        assert!(told("far", &shared).starts_with("the BackupConfiguration `far/it` keeps"));
        assert!(told("shop", &spec("copy", None, None)).starts_with("the BackupConfiguration `shop/it` keeps"));
    }
}
