//! The numbers of the format: opcodes, types, and the versions in which they came.
//!
//! The facts are those of `src/rdb.h` of Redis (1.0 to 8) and Valkey (7.2 to 9.2).

use crate::redis::keys::tally::Kind;

/// Inside a cluster: a hint of sizes.
pub(crate) const SLOT_INFO: u8 = 244;
/// Valkey 9: an import of slots that was under way. Redis 8: metadata that a module has put on the key that follows.
pub(crate) const SLOT_IMPORT_OR_KEY_META: u8 = 243;
/// A library of functions.
pub(crate) const FUNCTION: u8 = 245;
/// The same by release candidates of Redis 7.0.
pub(crate) const FUNCTION_PRE_GA: u8 = 246;
/// What a module keeps beside the keys.
pub(crate) const MODULE_AUX: u8 = 247;
/// Seconds since the key that follows was used.
pub(crate) const IDLE: u8 = 248;
/// How often the key that follows is used.
pub(crate) const FREQ: u8 = 249;
/// A name and a text about the file.
pub(crate) const AUX: u8 = 250;
/// A hint of sizes.
pub(crate) const RESIZEDB: u8 = 251;
/// The expiry of the key that follows, in milliseconds.
pub(crate) const EXPIRETIME_MS: u8 = 252;
/// The same in seconds.
pub(crate) const EXPIRETIME: u8 = 253;
/// The database of the keys that follow.
pub(crate) const SELECTDB: u8 = 254;
/// The end.
pub(crate) const EOF: u8 = 255;

/// A module's value, as modules wrote it before 4.0 was released.
pub(crate) const MODULE_PRE_GA: u8 = 6;

/// The newest version of Redis' format whose types are known from public sources.
pub(crate) const NEWEST_REDIS: u32 = 16;
/// The versions of Valkey's own format.
pub(crate) const VALKEY: std::ops::RangeInclusive<u32> = 80..=81;

/// The smallest version that a payload carries: the oldest servers that know `RESTORE` wrote it, and it brought the last
/// encodings that types older than it have.
const LEAST: u16 = 6;

/// How a value is laid out. Two numbers of types mean another thing in Redis and in Valkey, so a number alone is no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One text.
    String,
    /// Texts, one for each element.
    List,
    Set,
    /// Members with their scores as text.
    ZsetText,
    /// Members with their scores as 8 bytes.
    Zset,
    /// Fields and values.
    Hash,
    Module,
    Zipmap,
    ListZiplist,
    Intset,
    ZsetZiplist,
    HashZiplist,
    /// Ziplists.
    Quicklist,
    /// Listpacks and single elements.
    Quicklist2,
    /// A stream of this version of the layout: 1, 2 or 3.
    Stream(u8),
    HashListpack,
    ZsetListpack,
    SetListpack,
    /// Fields with an expiry each; `relative` to the least of them, which comes first.
    HashExpiring {
        relative: bool,
    },
    /// The same in a listpack; the least expiry comes first where `headed`.
    HashListpackExpiring {
        headed: bool,
    },
    /// Fields with an expiry each, by Valkey.
    HashValkey,
}

impl Layout {
    /// What a type's number means.
    pub(crate) fn of(kind: u8, valkey: bool) -> Option<Self> {
        Some(match kind {
            0 => Self::String,
            1 => Self::List,
            2 => Self::Set,
            3 => Self::ZsetText,
            4 => Self::Hash,
            5 => Self::Zset,
            7 => Self::Module,
            9 => Self::Zipmap,
            10 => Self::ListZiplist,
            11 => Self::Intset,
            12 => Self::ZsetZiplist,
            13 => Self::HashZiplist,
            14 => Self::Quicklist,
            15 => Self::Stream(1),
            16 => Self::HashListpack,
            17 => Self::ZsetListpack,
            18 => Self::Quicklist2,
            19 => Self::Stream(2),
            20 => Self::SetListpack,
            21 => Self::Stream(3),
            22 if valkey => Self::HashValkey,
            22 if !valkey => Self::HashExpiring { relative: false },
            23 if !valkey => Self::HashListpackExpiring { headed: false },
            24 if !valkey => Self::HashExpiring { relative: true },
            25 if !valkey => Self::HashListpackExpiring { headed: true },
            _ => return None,
        })
    }

    /// The type of the value.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::String => Kind::String,
            Self::List | Self::ListZiplist | Self::Quicklist | Self::Quicklist2 => Kind::List,
            Self::Set | Self::Intset | Self::SetListpack => Kind::Set,
            Self::ZsetText | Self::Zset | Self::ZsetZiplist | Self::ZsetListpack => Kind::SortedSet,
            Self::Stream(_) => Kind::Stream,
            Self::Module => Kind::Other,
            Self::Hash
            | Self::Zipmap
            | Self::HashZiplist
            | Self::HashListpack
            | Self::HashExpiring { .. }
            | Self::HashListpackExpiring { .. }
            | Self::HashValkey => Kind::Hash,
        }
    }

    /// The oldest version of the format that has it: what a payload of it is marked with, so that it loads on as many
    /// servers as can be and does not change with the server that wrote it.
    pub(crate) fn version(self) -> u16 {
        match self {
            Self::Quicklist => 7,
            Self::Zset | Self::Module => 8,
            Self::Stream(1) => 9,
            Self::HashListpack | Self::ZsetListpack | Self::Quicklist2 | Self::Stream(2) => 10,
            Self::SetListpack | Self::Stream(_) => 11,
            Self::HashExpiring { .. } | Self::HashListpackExpiring { .. } => 12,
            Self::HashValkey => 80,
            _ => LEAST,
        }
    }
}
