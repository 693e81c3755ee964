//! Whether snapshots of several BackupConfigurations in one repository can be told apart.
//!
//! Takes two of them. Gives whether retention and `latest` take the snapshots of one for those of the other. Always holds: whichever of the two is asked
//! about, the answer is the same.

use crate::resources::backend::Backend;
use crate::resources::backup::BackupConfigurationSpec;

/// A BackupConfiguration's namespace and spec.
pub(crate) type Keeper<'k> = (&'k str, &'k BackupConfigurationSpec);

/// Whether two keep snapshots under the same host in the same place; `backend` gives that of a Repository, by its namespace and name, where it is known.
pub(crate) fn are_alike(one: Keeper<'_>, other: Keeper<'_>, backend: impl Fn(&str, &str) -> Option<Backend>) -> bool {
    let repository = |(home, spec): Keeper<'_>| {
        let of = &spec.repository;
        (of.namespace.clone().unwrap_or_else(|| home.to_owned()), of.name.clone())
    };
    let (first, second) = (repository(one), repository(other));
    let place = |(home, name): &(String, String)| {
        // Its Secret says who one is, and not where.
        backend(home, name).map(|backend| Backend { storage_secret_name: None, ..backend })
    };
    let is_same_place = || {
        // Of another namespace's Repositories nobody learns where they lie.
        first.0 == second.0 && place(&first).zip(place(&second)).is_some_and(|(first, second)| first == second)
    };
    one.1.host() == other.1.host() && (first == second || is_same_place())
}

/// That two are, for people; `other` is the other one's namespace and name.
pub(crate) fn said(spec: &BackupConfigurationSpec, (namespace, name): (&str, &str)) -> String {
    format!(
        "the BackupConfiguration `{namespace}/{name}` keeps its snapshots in the same place, and under the same host `{}`: retention of one removes those of the other, and `latest` may be the other's; give one of them a `target.alias` of its own, or a Repository",
        spec.host()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(repository: &str, namespace: Option<&str>, alias: Option<&str>) -> BackupConfigurationSpec {
        let target = json!({"ref": {"apiVersion": "v1", "kind": "AppBinding", "name": "db"}, "alias": alias});
        let repository = json!({"name": repository, "namespace": namespace});
        serde_json::from_value(json!({"repository": repository, "target": target, "retentionPolicy": {"name": "r"}}))
            .expect("a spec")
    }

    #[test]
    fn the_same_host_in_the_same_place_is_alike_both_ways() {
        let backend = |namespace: &str, name: &str| {
            let bucket = match (namespace, name) {
                ("shop", "one" | "copy") | ("far", "away") => "b",
                ("shop", "other") => "c",
                _ => return None,
            };
            let backend = json!({"s3": {"bucket": bucket}, "storageSecretName": name});
            Some(serde_json::from_value::<Backend>(backend).expect("a backend"))
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
            ("far", spec("away", None, None), false),
        ] {
            let both = [
                are_alike(("shop", &one), (home, &other), backend),
                are_alike((home, &other), ("shop", &one), backend),
            ];
            assert_eq!(both, [alike; 2], "{home} {other:?}");
        }
    }
}
