//! Names that a restore keeps for itself: no dump and no digest covers them. See `docs/decisions/0011-keys-in-parts.md`.

/// The set of temporary keys in a database.
pub(crate) const LIST: &[u8] = b"aquifer:restore:open";

/// What a temporary key's name begins with; its connection's mark follows.
pub(crate) const BEGIN: &[u8] = b"aquifer:restore:part:";

/// True for names that a restore keeps for itself: no dump and no digest covers them.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    key == LIST || key.starts_with(BEGIN)
}
