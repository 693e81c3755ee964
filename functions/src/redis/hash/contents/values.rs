//! Parts of values that stand in plain commands.
//!
//! Takes commands, whole or as they pass by. Tells [`Elements`] their parts. Always holds: a form that adds something else
//! than it says (options of `ZADD`, ids made by the server) is refused.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::visit::{Id, MoreState, Role, State};
use crate::redis::hash::elements::Elements;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::parser::{Command, Parser};
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::resp::{number, show};

/// A score, an id or an option is no longer.
const SHORT: u64 = 400;

/// The parts of a whole command.
pub(super) fn part(to: &mut Elements, kind: Kind, command: &Command) -> Result<(), Failure> {
    let refused =
        || wrong(command.offset, format_args!("{} in a form whose outcome cannot be told", show(command.arg(0))));
    let args = 2..command.len();
    match kind {
        Kind::String => args.for_each(|at| to.whole(Role::Whole, command.arg(at))),
        Kind::List | Kind::Set => args.for_each(|at| to.whole(Role::Element, command.arg(at))),
        Kind::Hash if command.len().is_multiple_of(2) => {
            args.for_each(|at| to.whole(if at % 2 == 0 { Role::Field } else { Role::Value }, command.arg(at)));
        }
        Kind::SortedSet if command.len().is_multiple_of(2) => {
            for at in args.step_by(2) {
                let score = score(command.arg(at)).ok_or_else(refused)?;
                to.whole(Role::Member, command.arg(at + 1));
                to.add_score(score);
            }
        }
        Kind::Stream => return stream(to, command).ok_or_else(refused)?,
        _ => return Err(refused()),
    }
    Ok(())
}

fn score(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
}

fn id(text: &[u8]) -> Option<Id> {
    let (milliseconds, sequence) =
        std::str::from_utf8(text).ok()?.split_once('-').unwrap_or((std::str::from_utf8(text).ok()?, "0"));
    Some((milliseconds.parse().ok()?, sequence.parse().ok()?))
}

fn stream(to: &mut Elements, command: &Command) -> Option<Result<(), Failure>> {
    let arg = |at: usize| command.arg(at);
    let word = |at: usize| command.arg(at).to_ascii_uppercase();
    let count = |text: &[u8]| number(text).and_then(|number| u64::try_from(number).ok());
    match &word(0)[..] {
        b"XADD" if word(2) == b"MAXLEN" && arg(3) == b"0" && command.len() > 5 => to.trimmed(id(arg(4))?),
        b"XADD" if command.len() > 3 && command.len() % 2 == 1 => {
            to.entry(id(arg(2))?, (command.len() as u64 - 3) / 2);
            (3..command.len()).for_each(|at| to.whole(if at % 2 == 1 { Role::Field } else { Role::Value }, arg(at)));
        }
        b"XSETID" => {
            let (mut added, mut deleted) = (None, None);
            for at in (3..command.len()).step_by(2) {
                match &word(at)[..] {
                    b"ENTRIESADDED" => added = Some(count(arg(at + 1))?),
                    b"MAXDELETEDID" => deleted = Some(id(arg(at + 1))?),
                    _ => return None,
                }
            }
            let more = match (added, deleted) {
                (Some(added), deleted) => {
                    Some(MoreState { first: (0, 0), deleted: deleted.unwrap_or_default(), added })
                }
                (None, _) => None,
            };
            to.state(State { length: 0, last: id(arg(2))?, more });
        }
        b"XGROUP" => match &word(1)[..] {
            b"CREATE" => {
                let (mut read, mut at) = (None, 5);
                while at < command.len() {
                    match &word(at)[..] {
                        b"MKSTREAM" => {}
                        b"ENTRIESREAD" => {
                            at += 1;
                            read = count(arg(at));
                        }
                        _ => return None,
                    }
                    at += 1;
                }
                if let Err(failure) = to.group(arg(3), id(arg(4))?, read) {
                    return Some(Err(failure));
                }
            }
            b"CREATECONSUMER" => return Some(to.go_on(arg(3)).map(|()| to.consumer(arg(4)))),
            _ => return None,
        },
        b"XCLAIM" => {
            if let Err(failure) = to.go_on(arg(2)) {
                return Some(Err(failure));
            }
            to.consumer(arg(3));
            let ids: Vec<Id> = (5..command.len()).map_while(|at| id(arg(at))).collect();
            let mut times = None;
            let mut at = 5 + ids.len();
            while at < command.len() {
                match &word(at)[..] {
                    b"FORCE" | b"JUSTID" => at += 1,
                    b"RETRYCOUNT" => {
                        times = Some(count(arg(at + 1))?);
                        at += 2;
                    }
                    b"TIME" | b"IDLE" | b"LASTID" => at += 2,
                    _ => return None,
                }
            }
            let times = times?;
            ids.into_iter().for_each(|id| to.pending(id, times));
        }
        _ => return None,
    }
    Some(Ok(()))
}

/// A text that passes by.
pub(super) async fn text(parser: &mut Parser, to: &mut Elements, role: Role) -> Result<bool, Failure> {
    let Some(mut left) = parser.argument().await? else { return Ok(false) };
    to.begin_text(role, left);
    // An empty argument still has its line end.
    loop {
        let piece = parser.piece(&mut left).await?;
        to.add(&piece, role);
        if left == 0 {
            break;
        }
    }
    to.end_text(role);
    Ok(true)
}

/// The parts of a long command that passes by.
pub(super) async fn long_part(
    parser: &mut Parser,
    to: &mut Elements,
    kind: Kind,
    word: &[u8],
    offset: u64,
) -> Result<(), Failure> {
    let refused = || wrong(offset, format_args!("{} in a form whose outcome cannot be told", show(word)));
    match kind {
        Kind::String => while text(parser, to, Role::Whole).await? {},
        Kind::List | Kind::Set => while text(parser, to, Role::Element).await? {},
        Kind::Hash => {
            while text(parser, to, Role::Field).await? {
                if !text(parser, to, Role::Value).await? {
                    return Err(refused());
                }
            }
        }
        Kind::SortedSet => {
            while parser.arguments_left() > 0 {
                let score = score(&parser.short(SHORT).await?).ok_or_else(refused)?;
                if !text(parser, to, Role::Member).await? {
                    return Err(refused());
                }
                to.add_score(score);
            }
        }
        Kind::Stream if word == b"XADD" => {
            let id = id(&parser.short(SHORT).await?).ok_or_else(refused)?;
            to.entry(id, parser.arguments_left() / 2);
            while text(parser, to, Role::Field).await? {
                if !text(parser, to, Role::Value).await? {
                    return Err(refused());
                }
            }
        }
        _ => return Err(refused()),
    }
    Ok(())
}

/// The name and the engine of a library, by the first line of its code.
pub(super) fn shebang(code: &[u8]) -> Option<(Bytes, Bytes)> {
    let line = code.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let engine = words.next()?.to_ascii_uppercase();
    let name = words.find_map(|word| word.strip_prefix(b"name="))?;
    Some((Bytes::copy_from_slice(name), engine.into()))
}
