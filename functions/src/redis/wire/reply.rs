//! Replies that were read whole.

use bytes::Bytes;

/// A reply that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A line such as `OK`.
    Simple(Bytes),
    /// An error.
    Error(String),
    /// A number.
    Integer(i64),
    /// A text of any bytes.
    Bulk(Bytes),
    /// Several replies.
    Array(Vec<Reply>),
    /// Nothing.
    Nil,
}

impl Reply {
    /// The bytes of a text or a line.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The replies inside.
    pub(crate) fn items(self) -> Option<Vec<Reply>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// A flat list of names and values.
pub(crate) fn fields(reply: Reply) -> Vec<Reply> {
    reply.items().unwrap_or_default()
}

/// The value behind a name, as text; empty where there is none.
pub(crate) fn field(fields: &[Reply], name: &str) -> Bytes {
    let found = fields.chunks_exact(2).find(|pair| pair[0].bytes().is_some_and(|found| found == name.as_bytes()));
    match found.map(|pair| &pair[1]) {
        Some(Reply::Integer(number)) => number.to_string().into(),
        Some(reply) => reply.bytes().cloned().unwrap_or_default(),
        None => Bytes::new(),
    }
}
