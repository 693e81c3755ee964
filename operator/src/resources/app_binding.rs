//! `AppBinding`: where a database is reached, and with which credentials.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use k8s_openapi::ByteString;

use super::target::Param;

/// What a database is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "appcatalog.appscode.com",
    version = "v1alpha1",
    kind = "AppBinding",
    namespaced,
    derive = "PartialEq",
    category = "catalog",
    category = "appscode",
    category = "all",
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.type"}"#,
    printcolumn = r#"{"name": "Version", "type": "string", "jsonPath": ".spec.version"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AppBindingSpec {
    /// What kind of database, such as `redis`, or `kubedb.com/redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it is reached.
    #[serde(default)]
    pub client_config: ClientConfig,
    /// The Secret with `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    /// What is done with the Secret's keys before they are read, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_transforms: Vec<SecretTransform>,
    /// The Secret with `ca.crt`, `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretRef>,
    /// The resource that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub app_ref: Option<Json>,
    /// What programs need to know beside that; here Stash's addon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub parameters: Option<Json>,
}

/// Any object, of which nothing is cut off.
fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where a database is reached: by an address, or by a Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// An address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A Service of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Whether any certificate is taken.
    #[serde(default, rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// The certificates that may have signed the server's; with them TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "byte"))]
    pub ca_bundle: Option<ByteString>,
    /// The name that the certificate must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Its name.
    pub name: String,
    /// Its namespace; the AppBinding's unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its port.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: u16,
    /// `redis`, `rediss`, or what others say for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// A path; of Redis, the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands behind the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A Secret by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    pub name: String,
    /// Its group; nothing for a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Its kind; `Secret` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its namespace; the AppBinding's unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// One of several things that are done with a Secret's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTransform {
    /// A key gets another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename_key: Option<RenameKey>,
    /// A key is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_key: Option<AddKey>,
    /// All keys of another Secret are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_keys_from: Option<AddKeysFrom>,
    /// A key is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_key: Option<RemoveKey>,
}

/// A new name for a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenameKey {
    /// The old name.
    pub from: String,
    /// The new one.
    pub to: String,
}

/// A key and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddKey {
    /// The key.
    pub key: String,
    /// The value, encoded as in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "byte"))]
    pub value: Option<ByteString>,
    /// The value, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
}

/// Another Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddKeysFrom {
    /// The Secret.
    pub secret_ref: SecretRef,
}

/// A key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveKey {
    /// The key.
    pub key: String,
}

/// What Stash's addon is told by `parameters.stash.addon`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Addon {
    /// The task of backups.
    pub backup_task: AddonTask,
    /// The task of restores.
    pub restore_task: AddonTask,
}

/// A task of an addon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddonTask {
    /// Its name.
    pub name: String,
    /// Params for it.
    pub params: Vec<Param>,
}

impl AppBindingSpec {
    /// All Secrets that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let added = self.secret_transforms.iter().filter_map(|one| one.add_keys_from.as_ref());
        self.secret.iter().chain(&self.tls_secret).chain(added.map(|from| &from.secret_ref))
    }

    /// Drops what nobody here reads: `parameters` are each database's own, and only Stash's addon is told something by them.
    pub(crate) fn keep_what_is_read(&mut self) {
        let addon = self.parameters.take().and_then(|mut all| all.pointer_mut("/stash/addon").map(Json::take));
        self.parameters = addon.map(|addon| json!({"stash": {"addon": addon}}));
    }

    /// What Stash's addon is told, where anything is.
    ///
    /// # Errors
    /// What stands there is not of the right shape.
    pub fn addon(&self) -> Result<Option<Addon>, String> {
        let found = self.parameters.as_ref().and_then(|parameters| parameters.pointer("/stash/addon"));
        found
            .map(|addon| {
                serde_json::from_value(addon.clone()).map_err(|error| format!("`spec.parameters.stash.addon`: {error}"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_parameters_only_what_is_read_stays() {
        let parameters =
            json!({"large": "x".repeat(1000), "stash": {"addon": {"backupTask": {"name": "t"}}, "more": 1}});
        let mut spec = AppBindingSpec { parameters: Some(parameters), ..AppBindingSpec::default() };
        let before = spec.addon();
        spec.keep_what_is_read();
        assert_eq!(spec.addon(), before);
        assert_eq!(spec.parameters, Some(json!({"stash": {"addon": {"backupTask": {"name": "t"}}}})));
        let mut other = AppBindingSpec { parameters: Some(json!({"large": 1})), ..AppBindingSpec::default() };
        other.keep_what_is_read();
        assert_eq!(other.parameters, None);
    }
}
