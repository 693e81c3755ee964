//! Streams of a cluster's shards, put behind each other: what has to follow what.
//!
//! Takes the head of each. Gives a failure where it is not the one that has to come. Always holds: the first is of shard 1, each of the
//! others of the next shard, of as many shards, of the same layout and with the same functions; the stream is not whole before the last of them has come.

use aquifer_engine::failure::Failure;

use crate::redis::stream::form::{ClusterHead, HEAD, StreamHead};
use crate::redis::stream::trailer;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::resp;

/// What is to be done where the wrong stream follows.
const IN_ORDER: &str =
    "put the streams of one run behind each other in the order of their shards, all of them, each once";

/// A stream of several under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    shards: u32,
    /// The shard whose stream was begun last.
    at: u32,
    layout: Option<String>,
    functions: Option<String>,
}

impl Joined {
    /// What a head begins; nothing where its stream is whole by itself.
    ///
    /// # Errors
    /// It is of another shard than the first.
    pub(crate) fn begin(head: &StreamHead) -> Result<Option<Self>, Failure> {
        let Some((cluster, shard)) = one_of_several(head, 0)? else { return Ok(None) };
        if shard != 1 {
            let what = format!("it begins with shard {shard} of {}, and not with the first", cluster.shards);
            return Err(wrong(0, what).with_help(IN_ORDER));
        }
        let (layout, functions) = (cluster.layout.clone(), cluster.functions.clone());
        Ok(Some(Self { shards: cluster.shards, at: 1, layout, functions }))
    }

    /// Goes on with the next shard, whose head stands at this byte; `None` where no head stands there.
    ///
    /// # Errors
    /// Another shard has to come there, or another stream.
    pub(crate) fn follow(&mut self, head: Option<&StreamHead>, offset: u64) -> Result<(), Failure> {
        let next = self.at + 1;
        let place = format!("shard {next} of {} has to follow here, and there is", self.shards);
        let refused = |what: std::fmt::Arguments<'_>| Err(wrong(offset, format!("{place} {what}")).with_help(IN_ORDER));
        let Some(head) = head else { return refused(format_args!("no head of a dump")) };
        let Some((cluster, shard)) = one_of_several(head, offset)? else {
            return refused(format_args!("a dump that is none of several"));
        };
        if (shard, cluster.shards) != (next, self.shards) {
            return refused(format_args!("shard {shard} of {}", cluster.shards));
        }
        if cluster.layout != self.layout {
            let what = format!(
                "shard {shard} was read while the cluster's slots were distributed otherwise than for shard 1: keys may be in neither"
            );
            return Err(wrong(offset, what).with_help("take the shards of one run, during which no slot has moved"));
        }
        // Only those of the first are in the stream.
        if cluster.functions != self.functions {
            let what = format!("shard {shard} has other functions than shard 1, which would be lost");
            let help = "load the same libraries into all masters and dump them again, or leave the functions out: `functions: false`";
            return Err(wrong(offset, what).with_help(help));
        }
        self.at = next;
        Ok(())
    }

    /// True where no further shard is to come.
    pub(crate) fn is_last(&self) -> bool {
        self.at == self.shards
    }

    /// A stream that ends at this byte, before its last shard.
    pub(crate) fn cut(&self, at: u64) -> Failure {
        let (shard, shards) = (self.at, self.shards);
        Failure::corrupt(format!("the stream is cut off: it ends at byte {at} behind shard {shard} of {shards}"))
            .with_help("take another copy, with all shards behind each other; the dump of a single shard is not whole")
    }

    /// Holds the beginnings of streams to be those of all shards in order, where the first is one of several; of none of them more
    /// is looked at than its head. True where they are.
    ///
    /// # Errors
    /// They are of several, and not all of them or not in order; with the place of the one that is wrong, from 0.
    pub(crate) fn all(beginnings: &[impl AsRef<[u8]>]) -> Result<bool, Failure> {
        let heads = beginnings.iter().map(|beginning| head(beginning.as_ref()));
        let heads = heads.collect::<Result<Vec<_>, Failure>>()?;
        let Some(mut joined) = heads.first().and_then(Option::as_ref).map(Self::begin).transpose()?.flatten() else {
            return Ok(false);
        };
        for (place, head) in heads.iter().enumerate().skip(1) {
            let at = |failure: Failure| failure.during(format!("part {} of {}", place + 1, heads.len()));
            if joined.is_last() {
                return Err(
                    at(Failure::corrupt(format!("shard {0} of {0} was the last one", joined.at))).with_help(IN_ORDER)
                );
            }
            joined.follow(head.as_ref(), 0).map_err(at)?;
        }
        if joined.is_last() {
            return Ok(true);
        }
        Err(Failure::corrupt(format!("shard {} of {} is missing", joined.at + 1, joined.shards)).with_help(IN_ORDER))
    }
}

impl std::fmt::Display for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {} of {}", self.at, self.shards)
    }
}

/// What a head says of the cluster and of its shard, where its stream is one of several.
fn one_of_several(head: &StreamHead, offset: u64) -> Result<Option<(&ClusterHead, u32)>, Failure> {
    let Some(cluster) = head.cluster.as_ref().filter(|cluster| cluster.joined) else { return Ok(None) };
    match cluster.shard {
        Some(shard) if (1..=cluster.shards).contains(&shard) => Ok(Some((cluster, shard))),
        _ => Err(trailer::damaged(offset)),
    }
}

/// The head that a stream begins with, of which these bytes are the beginning; nothing where it is none.
fn head(beginning: &[u8]) -> Result<Option<StreamHead>, Failure> {
    let text = beginning.strip_prefix(b"*2\r\n$4\r\nECHO\r\n$").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        let length = usize::try_from(resp::number(&rest[..end])?).ok()?;
        rest.get(end + 2..)?.get(..length)
    });
    match text.filter(|text| text.starts_with(HEAD.as_bytes())) {
        Some(text) => trailer::head_of(text, 0),
        None => Ok(None),
    }
}
