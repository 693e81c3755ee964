//! What commands add to a stream: entries, its state, groups, consumers, and what these have pending.
//!
//! Always holds: a form that leaves something to the server (an id made by it, a count of deliveries that it goes on with) is
//! not read.

use crate::rdb::visit::{Id, MoreState, State};
use crate::redis::stream::command::Command;
use crate::redis::stream::statement::count;

/// What a command adds to a stream.
#[derive(Debug, Clone)]
pub(crate) enum StreamChange {
    /// An entry; its fields and values stand in turn from the command's fourth argument on.
    Entry(Id),
    /// An entry that is trimmed at once, so that its id is all that is left of it.
    Trimmed(Id),
    State(State),
    /// A group; its name is the fourth argument.
    Group {
        last: Id,
        /// Entries that it has read, where that is known.
        read: Option<u64>,
    },
    /// A consumer: the group is the fourth argument, its name the fifth.
    Consumer,
    /// What a consumer has pending: the group is the third argument, the consumer the fourth. `moves`: the group's last id is
    /// given, too, which counts where it is a later one.
    Claim {
        ids: Vec<Id>,
        times: u64,
        moves: bool,
    },
}

/// The score of a member.
pub(super) fn score(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
}

/// An id: two numbers, or one.
pub(super) fn id(text: &[u8]) -> Option<Id> {
    let text = std::str::from_utf8(text).ok()?;
    let (milliseconds, sequence) = text.split_once('-').unwrap_or((text, "0"));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((number(milliseconds)?, number(sequence)?))
}

impl StreamChange {
    /// What a command of this name does, and the place of its key; nothing where it is about no stream. Inside, nothing
    /// where its outcome cannot be told.
    pub(super) fn read(command: &Command, name: &[u8]) -> Option<(Option<Self>, usize)> {
        match name {
            b"XADD" => Some((added(command), 1)),
            b"XSETID" => Some((state(command), 1)),
            b"XCLAIM" => Some((claim(command), 1)),
            b"XGROUP" => match &command.arg(1).to_ascii_uppercase()[..] {
                b"CREATE" => Some((group(command), 2)),
                b"CREATECONSUMER" => Some(((command.len() == 5).then_some(Self::Consumer), 2)),
                _ => None,
            },
            _ => None,
        }
    }
}

fn added(command: &Command) -> Option<StreamChange> {
    let pairs = |from: usize| command.len() > from && (command.len() - from).is_multiple_of(2);
    if command.arg(2).eq_ignore_ascii_case(b"MAXLEN") {
        let nothing = command.arg(3) == b"0" && pairs(5);
        return nothing.then(|| id(command.arg(4)).map(StreamChange::Trimmed)).flatten();
    }
    pairs(3).then(|| id(command.arg(2)).map(StreamChange::Entry)).flatten()
}

fn state(command: &Command) -> Option<StreamChange> {
    let (mut added, mut deleted) = (None, None);
    for at in (3..command.len()).step_by(2) {
        match &command.arg(at).to_ascii_uppercase()[..] {
            b"ENTRIESADDED" => added = Some(count(command.arg(at + 1))?),
            b"MAXDELETEDID" => deleted = Some(id(command.arg(at + 1))?),
            _ => return None,
        }
    }
    let more = added.map(|added| MoreState { first: (0, 0), deleted: deleted.unwrap_or_default(), added });
    Some(StreamChange::State(State { length: 0, last: id(command.arg(2))?, more }))
}

fn group(command: &Command) -> Option<StreamChange> {
    let (mut read, mut at) = (None, 5);
    while at < command.len() {
        match &command.arg(at).to_ascii_uppercase()[..] {
            b"MKSTREAM" => at += 1,
            b"ENTRIESREAD" => {
                // -1 where that is not known.
                read = if command.arg(at + 1) == b"-1" { None } else { Some(count(command.arg(at + 1))?) };
                at += 2;
            }
            _ => return None,
        }
    }
    Some(StreamChange::Group { last: id(command.arg(4))?, read })
}

fn claim(command: &Command) -> Option<StreamChange> {
    let ids: Vec<_> = (5..command.len()).map_while(|at| id(command.arg(at))).collect();
    let (mut times, mut forced, mut moves, mut at) = (None, false, false, 5 + ids.len());
    while at < command.len() {
        match &command.arg(at).to_ascii_uppercase()[..] {
            b"FORCE" => (forced, at) = (true, at + 1),
            b"JUSTID" => at += 1,
            b"RETRYCOUNT" => {
                times = Some(count(command.arg(at + 1))?);
                at += 2;
            }
            b"TIME" | b"IDLE" => {
                count(command.arg(at + 1))?;
                at += 2;
            }
            b"LASTID" => {
                id(command.arg(at + 1))?;
                (moves, at) = (true, at + 2);
            }
            _ => return None,
        }
    }
    let times = times.filter(|_| forced && !ids.is_empty() && count(command.arg(4)).is_some())?;
    Some(StreamChange::Claim { ids, times, moves })
}
