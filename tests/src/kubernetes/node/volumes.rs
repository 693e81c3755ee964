//! A pod's volumes, as folders of this machine.
//!
//! Always holds: what a pod does not call optional is there, or there are no volumes yet. A claim is a folder of the node that stays when the pod
//! goes; nobody binds it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::BoundObjectReference;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, PersistentVolumeClaim, Pod, ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::environment::{Values, config_map, field, secret};
use super::shared::Shared;

/// Files of a volume, by path, each with its own mode.
type Files = BTreeMap<String, (Vec<u8>, Option<i32>)>;

/// Lays them out; gives each one's folder.
///
/// # Errors
/// One needs something that is not there; it may be later.
pub(super) async fn prepare(
    shared: &Shared,
    client: &Client,
    pod: &Pod,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let group = spec.security_context.and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok());
    let mut all = BTreeMap::new();
    for volume in spec.volumes.into_iter().flatten() {
        let place = one(shared, client, pod, &volume, &folder.join(&volume.name), group).await;
        all.insert(volume.name.clone(), place.map_err(|why| format!("volume \"{}\": {why}", volume.name))?);
    }
    Ok(all)
}

async fn one(
    shared: &Shared,
    client: &Client,
    pod: &Pod,
    volume: &Volume,
    at: &Path,
    group: Option<u32>,
) -> Result<PathBuf, String> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(host) = &volume.host_path {
        return Ok(PathBuf::from(&host.path));
    }
    if volume.empty_dir.is_some() {
        return shared_folder(at.to_owned(), group);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let found = claims.get_opt(&claim.claim_name).await.map_err(|error| error.to_string())?;
        found.ok_or_else(|| format!("persistentvolumeclaim \"{}\" not found", claim.claim_name))?;
        return shared_folder(shared.folder.join("claims").join(&namespace).join(&claim.claim_name), group);
    }
    let (files, mode) = if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let values = secret(client, &namespace, &name).await?;
        let said = format!("secret \"{name}\" not found");
        (chosen(values, source.items.as_deref(), source.optional, said)?, source.default_mode)
    } else if let Some(source) = &volume.config_map {
        let values = config_map(client, &namespace, &source.name).await?;
        let said = format!("configmap \"{}\" not found", source.name);
        (chosen(values, source.items.as_deref(), source.optional, said)?, source.default_mode)
    } else if let Some(source) = &volume.downward_api {
        (downward(pod, source.items.as_deref())?, source.default_mode)
    } else if let Some(source) = &volume.projected {
        let mut files = Files::new();
        for source in source.sources.iter().flatten() {
            if let Some(it) = &source.secret {
                let values = secret(client, &namespace, &it.name).await?;
                let said = format!("secret \"{}\" not found", it.name);
                files.extend(chosen(values, it.items.as_deref(), it.optional, said)?);
            } else if let Some(it) = &source.config_map {
                let values = config_map(client, &namespace, &it.name).await?;
                let said = format!("configmap \"{}\" not found", it.name);
                files.extend(chosen(values, it.items.as_deref(), it.optional, said)?);
            } else if let Some(it) = &source.downward_api {
                files.extend(downward(pod, it.items.as_deref())?);
            } else if let Some(it) = &source.service_account_token {
                files.insert(it.path.clone(), (token(client, pod, it).await?.into_bytes(), None));
            } else {
                return Err("this node knows no such projection".to_owned());
            }
        }
        (files, source.default_mode)
    } else {
        return Err("this node knows no such volume".to_owned());
    };
    write(at, files, mode.unwrap_or(0o644), group).map_err(|error| format!("{}: {error}", at.display()))?;
    Ok(at.to_owned())
}

/// A folder that everybody writes to, of a group where there is one.
fn shared_folder(at: PathBuf, group: Option<u32>) -> Result<PathBuf, String> {
    let made = std::fs::create_dir_all(&at)
        .and_then(|()| group.map_or(Ok(()), |group| chown(&at, None, Some(group))))
        .and_then(|()| {
            std::fs::set_permissions(&at, Permissions::from_mode(if group.is_some() { 0o2777 } else { 0o777 }))
        });
    made.map_err(|error| format!("{}: {error}", at.display()))?;
    Ok(at)
}

fn chosen(
    values: Option<Values>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    said: String,
) -> Result<Files, String> {
    let optional = optional == Some(true);
    let mut values = match values {
        Some(values) => values,
        None if optional => Values::new(),
        None => return Err(said),
    };
    let Some(items) = items else { return Ok(values.into_iter().map(|(key, value)| (key, (value, None))).collect()) };
    let mut files = Files::new();
    for item in items {
        match values.remove(&item.key) {
            Some(value) => drop(files.insert(item.path.clone(), (value, item.mode))),
            None if optional => {}
            None => return Err(format!("references non-existent key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward(pod: &Pod, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items.unwrap_or_default() {
        let selector = item.field_ref.as_ref().ok_or("this node knows fields of the pod only")?;
        files.insert(item.path.clone(), (field(pod, selector)?.into_bytes(), item.mode));
    }
    Ok(files)
}

/// A token of the pod's service account, which counts as long as the pod is there.
async fn token(client: &Client, pod: &Pod, wanted: &ServiceAccountTokenProjection) -> Result<String, String> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name_any()),
        uid: pod.uid(),
    };
    let spec = TokenRequestSpec {
        audiences: wanted.audience.clone().map(|audience| vec![audience]),
        attestations: None,
        bound_object_ref: Some(bound),
        expiration_seconds: wanted.expiration_seconds,
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request(&account, &PostParams::default(), &request).await;
    let made = made.map_err(|error| format!("a token of {account}: {error}"))?;
    made.status.and_then(|status| status.token).ok_or_else(|| format!("no token of {account}"))
}

fn write(at: &Path, files: Files, mode: i32, group: Option<u32>) -> std::io::Result<()> {
    std::fs::create_dir_all(at)?;
    std::fs::set_permissions(at, Permissions::from_mode(0o755))?;
    for (path, (value, own)) in files {
        let file = at.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, value)?;
        let mut bits = u32::try_from(own.unwrap_or(mode)).unwrap_or(0o644);
        if let Some(group) = group {
            chown(&file, None, Some(group))?;
            bits |= 0o440;
        }
        std::fs::set_permissions(&file, Permissions::from_mode(bits))?;
    }
    Ok(())
}
