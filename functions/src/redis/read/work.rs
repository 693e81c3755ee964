//! What requests cost a server: estimates of the time for which its one thread serves nobody else, in nanoseconds.
//!
//! Takes counts and bytes. Gives estimates that are meant to be a little high: they bound what is asked for at once before
//! anything is known of the server. Measured on Redis 7.0.15, x86-64, a million keys, by the processor time of its process for
//! 256 pipelined commands at a time; what it was and how it was measured stands in `docs/decisions/0015-the-work-of-a-scan.md`.

/// `SCAN`, for each key that it shows.
pub(crate) const SCANNED: u64 = 1_100;

/// `TYPE`.
pub(crate) const TYPE: u64 = 1_300;

/// `MEMORY USAGE`, which looks at five elements, or `STRLEN`.
pub(crate) const SIZE: u64 = 1_800;

/// What a transaction costs by itself, and the question in it whether the database has expiries.
pub(crate) const TRANSACTION: u64 = 8_000;

/// What a transaction costs without that question.
pub(crate) const MULTI: u64 = 2_000;

/// `PEXPIRETIME` or `PTTL` inside a transaction.
pub(crate) const EXPIRY: u64 = 1_400;

/// `HSCAN`, `SSCAN` or `ZSCAN`, for each element: these lie anywhere in memory.
pub(crate) const SCANNED_ELEMENT: u64 = 1_200;

/// `LRANGE`, for each element: these lie beside each other.
pub(crate) const LISTED: u64 = 300;

/// `XRANGE`, for each entry.
pub(crate) const ENTRY: u64 = 1_500;

/// `XPENDING`, for each entry that is pending.
pub(crate) const PENDING: u64 = 1_000;

/// Reading so many bytes of a string: they are copied into the reply.
pub(crate) fn read(bytes: u64) -> u64 {
    1_600 + bytes * 2 / 5
}

/// `DUMP` of a value that takes so many bytes of the server's memory: they are copied, compressed and summed up.
pub(crate) fn dumped(bytes: u64) -> u64 {
    2_000 + bytes * 4
}
