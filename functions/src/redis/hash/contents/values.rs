//! Parts of values that stand in plain commands.
//!
//! Takes commands, whole or as they pass by. Tells [`Elements`] their parts.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::rdb::visit::Role;
use crate::redis::hash::elements::Elements;
use crate::redis::keys::tally::Kind;
use crate::redis::stream::entries::StreamChange;
use crate::redis::stream::long::LongText;
use crate::redis::stream::parser::Parser;
use crate::redis::stream::statement::{Change, Part};

/// The parts of a whole command.
pub(super) fn part(to: &mut Elements, part: &Part) -> Result<(), Failure> {
    let texts = |to: &mut Elements, from: usize| {
        for at in from..part.len() {
            let role = match part.kind {
                Kind::String => Role::Whole,
                Kind::Hash | Kind::Stream if (at - from).is_multiple_of(2) => Role::Field,
                Kind::Hash | Kind::Stream => Role::Value,
                _ => Role::Element,
            };
            to.whole(role, part.arg(at));
        }
    };
    match &part.change {
        Change::Texts => texts(to, 2),
        Change::Scores(scores) => {
            for (place, score) in scores.iter().enumerate() {
                to.whole(Role::Member, part.arg(3 + 2 * place));
                to.add_score(*score);
            }
        }
        Change::Stream(StreamChange::Entry(id)) => {
            to.next_entry(*id, (part.len() as u64 - 3) / 2)?;
            texts(to, 3);
        }
        Change::Stream(StreamChange::Trimmed(id)) => to.trimmed(*id)?,
        Change::Stream(StreamChange::State(state)) => to.state(*state),
        Change::Stream(StreamChange::Group { last, read }) => to.group(part.arg(3), *last, *read)?,
        Change::Stream(StreamChange::Consumer) => {
            to.go_on(part.arg(3))?;
            to.consumer(part.arg(4));
        }
        Change::Stream(StreamChange::Claim { moves: true, .. }) => {
            return Err(Failure::rejected("`XCLAIM` with `LASTID`, of which the outcome depends on the group"));
        }
        Change::Stream(StreamChange::Claim { ids, times, .. }) => {
            to.go_on(part.arg(2))?;
            to.consumer(part.arg(3));
            ids.iter().for_each(|id| to.pending(*id, *times));
        }
    }
    Ok(())
}

/// A text that passes by, whose length is still to come.
pub(super) async fn text(parser: &mut Parser, to: &mut Elements, role: Role) -> Result<(), Failure> {
    let length = parser.argument().await?.unwrap_or(0);
    pass(parser, to, role, length).await
}

async fn pass(parser: &mut Parser, to: &mut Elements, role: Role, length: u64) -> Result<(), Failure> {
    let mut left = length;
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
    Ok(())
}

/// The texts of a long command that passes by.
pub(super) async fn texts(parser: &mut Parser, to: &mut Elements, kind: Kind) -> Result<(), Failure> {
    let mut score = None;
    while let Some(text) = parser.next_text(kind).await? {
        match text {
            LongText::Score(_, number) => score = Some(number),
            LongText::Text(role, length) => {
                pass(parser, to, role, length).await?;
                score.take().into_iter().for_each(|score| to.add_score(score));
            }
        }
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
