//! Values of Secrets, each with the key that it comes from.
//!
//! Always holds: a value knows its Secret as long as it is that Secret's as it stands there, so that a pod can be given the Secret itself in the
//! place of a copy.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// A value, and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// The value.
    pub bytes: Vec<u8>,
    /// Its key; none where the value is put together.
    pub from: Option<SecretKey>,
}

// A value may be a password.
impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({} bytes of {:?})", self.bytes.len(), self.from)
    }
}

impl Held {
    /// Itself as a text, without the line breaks at its end, which are an editor's.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok().map(trimmed)
    }
}

/// A text without the line breaks at its end.
pub fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

pub(super) type Values = BTreeMap<String, Held>;

/// A Secret's values by key: `data`, and `stringData` over it.
pub(super) fn values(secret: &Secret, namespace: &str) -> Values {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    let texts = secret.string_data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let held = |(key, bytes): (String, Vec<u8>)| {
        let from = SecretKey { namespace: namespace.to_owned(), secret: name.clone(), key: key.clone() };
        (key, Held { bytes, from: Some(from) })
    };
    data.chain(texts).map(held).collect()
}

/// A value as a text.
pub(super) fn text(values: &Values, key: &str, of: &str) -> Result<Option<Held>, String> {
    let Some(value) = values.get(key) else { return Ok(None) };
    value.text().ok_or_else(|| format!("`{key}` of the Secret `{of}` is no text"))?;
    Ok(Some(value.clone()))
}
