//! Whether snapshots of several BackupConfigurations in one repository can be told apart.
//!
//! Takes two of them. Gives whether retention and `latest` take the snapshots of one for those of the other. Always holds: whichever of the two is asked
//! about, the answer is the same.

use std::ops::Deref;

use crate::resources::backend::Backend;
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
        let (first, second) = (known(first.0, first.1), known(second.0, second.1));
        first.zip(second).is_some_and(|(first, second)| is_same(&first.spec.backend, &second.spec.backend))
    };
    // Of another namespace's Repositories nobody learns where they lie.
    let is_there = first == second || (first.0 == second.0 && is_same_place());
    is_there && one.1.host() == other.1.host()
}

/// The namespace and name of its Repository.
fn repository<'k>((home, spec): Keeper<'k>) -> (&'k str, &'k str) {
    (spec.repository.namespace.as_deref().unwrap_or(home), &spec.repository.name)
}

/// Whether two lie at the same place. A Secret says who one is, and not where.
pub(crate) fn is_same(one: &Backend, other: &Backend) -> bool {
    let Backend { storage_secret_name: _, local, s3, gcs, azure, swift, b2, rest } = one;
    *local == other.local
        && *s3 == other.s3
        && *gcs == other.gcs
        && *azure == other.azure
        && *swift == other.swift
        && *b2 == other.b2
        && *rest == other.rest
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
        let known = |namespace: &str, name: &str| {
            let bucket = match (namespace, name) {
                ("shop", "one" | "copy") | ("far", "away") => "b",
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
            ("far", spec("away", None, None), false),
        ] {
            let both =
                [are_alike(("shop", &one), (home, &other), known), are_alike((home, &other), ("shop", &one), known)];
            assert_eq!(both, [alike; 2], "{home} {other:?}");
        }
    }
}
