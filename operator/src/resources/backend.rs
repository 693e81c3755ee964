//! Where a repository lies: Stash's backends.
//!
//! Always holds: exactly one of them is there, which the API server checks, and so does whoever reads manifests without one.

use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, AzureFileVolumeSource, CSIVolumeSource, CephFSVolumeSource, EmptyDirVolumeSource,
    FCVolumeSource, HostPathVolumeSource, ISCSIVolumeSource, NFSVolumeSource, PersistentVolumeClaimVolumeSource,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A backend: one of them, and the Secret with its credentials and the repository's password.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.local), has(self.s3), has(self.gcs), has(self.azure), has(self.swift), has(self.b2), has(self.rest)]\
            .filter(is, is).size() == 1",
        "message": "a repository has exactly one backend: `local`, `s3`, `gcs`, `azure`, `swift`, `b2` or `rest`",
    },
    {
        "rule": "has(self.local) || (has(self.storageSecretName) && self.storageSecretName != '')",
        "message": "`storageSecretName` is missing: the Secret with the backend's keys and the repository's password",
    },
]))]
pub struct Backend {
    /// The Secret's name, in the repository's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_secret_name: Option<String>,
    /// A volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Box<LocalBackend>>,
    /// S3, and what speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Backend>,
    /// Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsBackend>,
    /// Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureBackend>,
    /// OpenStack Swift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swift: Option<SwiftBackend>,
    /// Backblaze B2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub b2: Option<B2Backend>,
    /// restic's REST server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestBackend>,
}

/// A volume of the pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.hostPath), has(self.persistentVolumeClaim), has(self.nfs), has(self.csi), has(self.iscsi), has(self.fc), has(self.cephfs), has(self.azureFile), has(self.azureDisk), has(self.emptyDir)].filter(is, is).size() == 1",
    "message": "a local repository lies on exactly one volume: `persistentVolumeClaim`, `hostPath`, `nfs`, `csi`, `iscsi`, `fc`, `cephfs`, `azureFile`, `azureDisk` or `emptyDir`",
}]))]
pub struct LocalBackend {
    /// A folder of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolumeSource>,
    /// A claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    /// A share of NFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NFSVolumeSource>,
    /// A volume of a driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi: Option<CSIVolumeSource>,
    /// A disk by iSCSI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iscsi: Option<ISCSIVolumeSource>,
    /// A disk by Fibre Channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fc: Option<FCVolumeSource>,
    /// A folder of CephFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cephfs: Option<CephFSVolumeSource>,
    /// A share of Azure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_file: Option<AzureFileVolumeSource>,
    /// A disk of Azure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_disk: Option<AzureDiskVolumeSource>,
    /// A folder that ends with the pod: for trying things out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolumeSource>,
    /// Where it is mounted in the pod.
    pub mount_path: String,
    /// The folder in it that the repository lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

impl LocalBackend {
    /// How many volumes it names; one that is sound names one.
    pub fn sources(&self) -> usize {
        [
            self.host_path.is_some(),
            self.persistent_volume_claim.is_some(),
            self.nfs.is_some(),
            self.csi.is_some(),
            self.iscsi.is_some(),
            self.fc.is_some(),
            self.cephfs.is_some(),
            self.azure_file.is_some(),
            self.azure_disk.is_some(),
            self.empty_dir.is_some(),
        ]
        .into_iter()
        .filter(|is| *is)
        .count()
    }
}

/// A bucket of S3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Backend {
    /// The server: `s3.amazonaws.com`, or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What stands in front of every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether any certificate is taken.
    #[serde(default, rename = "insecureTLS")]
    pub insecure_tls: bool,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsBackend {
    /// The bucket.
    pub bucket: String,
    /// What stands in front of every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The most connections at once; as many as are useful where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureBackend {
    /// The container.
    pub container: String,
    /// What stands in front of every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The most connections at once; as many as are useful where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
}

/// A container of Swift.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwiftBackend {
    /// The container.
    pub container: String,
    /// What stands in front of every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A bucket of B2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct B2Backend {
    /// The bucket.
    pub bucket: String,
    /// What stands in front of every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The most connections at once; as many as are useful where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
}

/// A repository on a REST server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestBackend {
    /// Its address.
    pub url: String,
}
