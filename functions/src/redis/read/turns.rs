//! Several streams of commands made into one, by turns.
//!
//! Takes the parts as they arrive. Gives one stream: a block of the first, a block of the second, and so on, around. Always
//! holds: a block ends between two keys, never inside one's commands; where it ends depends on the keys in it alone (a key ends it with
//! a chance that is its size to [`BLOCK`], decided by the hash of its name), so the same parts give the same stream however they arrive, and a
//! key that is changed or added moves, as a rule, no other block; no part is held further than its key.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use aquifer_engine::failure::Failure;

use crate::redis::stream::form::Form;

/// How many bytes a block has, on average.
const BLOCK: u64 = 2 << 20;

/// The beginning of the only name whose command has its key behind a word: `XGROUP CREATE key …`.
const NAME: &[u8; 7] = b"XGROUP\r";

/// Where in a command a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the line that says how many arguments follow.
    Count,
    /// In the line that says how long an argument is.
    Length,
    /// In an argument: so many bytes of it and of its line end are still to come.
    Argument(u64),
}

/// A walk along a part, command by command, over no more than its heads and its keys.
struct Walk {
    at: At,
    number: u64,
    /// Arguments of the command that are still to come.
    left: u64,
    /// Arguments that were passed.
    passed: u64,
    /// How the command's name begins.
    name: [u8; NAME.len()],
    named: usize,
    /// Which of the arguments is the key.
    key_at: u64,
    hash: Xxh3,
    /// The hash of the key whose commands these are.
    key: Option<u64>,
    /// Bytes of this key's commands so far, the current one aside.
    size: u64,
    /// Bytes of the current command so far.
    command: u64,
    /// The key of the current command is known.
    known: bool,
    commands: u64,
    keys: u64,
}

/// What a walk came upon.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The end of what there is.
    End,
    /// The key of a command that goes on with the block, or with which a new block begins.
    Key { cut: bool },
}

impl Walk {
    fn new() -> Self {
        Self {
            at: At::Count,
            number: 0,
            left: 0,
            passed: 0,
            name: *b"       ",
            named: 0,
            key_at: 1,
            hash: Xxh3::new(),
            key: None,
            size: 0,
            command: 0,
            known: false,
            commands: 0,
            keys: 0,
        }
    }

    /// Goes on at `place`; `begun` is where the current command begins, if it begins in here.
    fn step(&mut self, input: &[u8], place: &mut usize, begun: &mut usize) -> Step {
        while *place < input.len() {
            match self.at {
                At::Count | At::Length => {
                    let byte = input[*place];
                    if self.at == At::Count && self.command == 0 {
                        *begun = *place;
                        self.known = false;
                    }
                    *place += 1;
                    self.command += 1;
                    if byte.is_ascii_digit() {
                        self.number = self.number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                    } else if byte == b'\n' {
                        let number = std::mem::take(&mut self.number);
                        if self.at == At::Count {
                            (self.left, self.passed, self.named) = (number, 0, 0);
                            self.at = At::Length;
                        } else {
                            self.at = At::Argument(number + 2);
                        }
                    }
                }
                At::Argument(bytes) => {
                    let here = bytes.min((input.len() - *place) as u64);
                    let some = &input[*place..*place + here as usize];
                    if self.passed == 0 {
                        let room = some.len().min(NAME.len() - self.named);
                        self.name[self.named..self.named + room].copy_from_slice(&some[..room]);
                        self.named += room;
                        self.key_at = if self.named == NAME.len() && self.name == *NAME { 2 } else { 1 };
                    } else if self.passed == self.key_at {
                        self.hash.update(some);
                    }
                    *place += here as usize;
                    self.command += here;
                    self.at = At::Argument(bytes - here);
                    if bytes > here {
                        continue;
                    }
                    self.passed += 1;
                    self.left = self.left.saturating_sub(1);
                    self.at = At::Length;
                    let is_key = self.passed == self.key_at + 1;
                    let step = if is_key { Some(Step::Key { cut: self.key() }) } else { None };
                    if self.left == 0 {
                        self.at = At::Count;
                        self.commands += 1;
                        self.size += std::mem::take(&mut self.command);
                    }
                    if let Some(step) = step {
                        return step;
                    }
                }
            }
        }
        Step::End
    }

    /// The key of a command is complete; true where a block ends before it.
    fn key(&mut self) -> bool {
        self.known = true;
        let hash = self.hash.digest();
        self.hash.reset();
        let before = self.key.replace(hash);
        if before == Some(hash) {
            return false;
        }
        self.keys += 1;
        let size = std::mem::take(&mut self.size);
        before.is_some_and(|before| before % BLOCK < size)
    }
}

/// A part of the stream.
pub(crate) struct Lane {
    from: mpsc::Receiver<Bytes>,
    walk: Walk,
    /// Walked along, and to be written before anything else: the beginning of a block, or of a command whose key is not known.
    head: BytesMut,
    /// Not walked along yet.
    rest: Bytes,
    /// Commands that were counted.
    counted: u64,
}

impl Lane {
    pub(crate) fn new(from: mpsc::Receiver<Bytes>) -> Self {
        Self { from, walk: Walk::new(), head: BytesMut::new(), rest: Bytes::new(), counted: 0 }
    }

    /// Keys that were written.
    pub(crate) fn keys(&self) -> u64 {
        self.walk.keys
    }

    /// Writes the next block; false once the part has ended.
    ///
    /// # Errors
    /// Nobody reads the stream any more.
    pub(crate) async fn block(&mut self, form: &mut Form) -> Result<bool, Failure> {
        if self.walk.known || self.walk.command == 0 {
            let head = std::mem::take(&mut self.head);
            form.copy(&head, 0).await?;
        }
        loop {
            let piece =
                if self.rest.is_empty() { self.from.recv().await } else { Some(std::mem::take(&mut self.rest)) };
            let Some(piece) = piece else {
                form.copy(&self.head, self.walk.commands - self.counted).await?;
                self.counted = self.walk.commands;
                return Ok(false);
            };
            let (mut place, mut begun) = (0, 0);
            loop {
                match self.walk.step(&piece, &mut place, &mut begun) {
                    Step::Key { cut: true } => {
                        form.copy(&piece[..begun], self.walk.commands - self.counted).await?;
                        self.counted = self.walk.commands;
                        self.head.extend_from_slice(&piece[begun..place]);
                        self.rest = piece.slice(place..);
                        return Ok(true);
                    }
                    Step::Key { cut: false } => {
                        if !self.head.is_empty() {
                            let head = std::mem::take(&mut self.head);
                            form.copy(&head, 0).await?;
                        }
                    }
                    Step::End if self.walk.known || self.walk.command == 0 => {
                        form.copy(&piece, 0).await?;
                        break;
                    }
                    Step::End => {
                        form.copy(&piece[..begun], 0).await?;
                        self.head.extend_from_slice(&piece[begun..]);
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::wire::resp;

    /// The blocks of a part that arrives in pieces of this size.
    async fn blocks(part: &[u8], piece: usize) -> (Vec<Vec<u8>>, u64, u64) {
        let (to, from) = mpsc::channel(part.len() / piece + 2);
        for piece in part.chunks(piece) {
            to.send(Bytes::copy_from_slice(piece)).await.expect("room");
        }
        drop(to);
        let (mut lane, mut all) = (Lane::new(from), Vec::new());
        let commands = loop {
            let (to, mut from) = mpsc::channel(part.len() / 1000 + 10);
            let mut form = Form::part(to);
            let more = lane.block(&mut form).await.expect("read");
            form.end_part().await.expect("read");
            let mut block = Vec::new();
            while let Some(piece) = from.recv().await {
                block.extend_from_slice(&piece);
            }
            all.push(block);
            if !more {
                break lane.counted;
            }
        };
        (all, commands, lane.keys())
    }

    fn part(keys: impl Iterator<Item = u32>) -> Vec<u8> {
        let mut out = BytesMut::new();
        for n in keys {
            let (key, value) = (format!("key:{n}"), vec![b'v'; 20_000 + n as usize % 999]);
            if n % 10 == 0 {
                resp::command(&mut out, &[b"DEL", key.as_bytes()]);
                resp::command(&mut out, &[b"RPUSH", key.as_bytes(), &value]);
                resp::command(&mut out, &[b"PEXPIREAT", key.as_bytes(), b"1700000000000"]);
            } else if n % 10 == 5 {
                resp::command(&mut out, &[b"DEL", key.as_bytes()]);
                resp::command(&mut out, &[b"XADD", key.as_bytes(), b"1-1", b"f", &value]);
                resp::command(&mut out, &[b"XSETID", key.as_bytes(), b"1-1"]);
                resp::command(&mut out, &[b"XGROUP", b"CREATE", key.as_bytes(), b"g", b"0"]);
                resp::command(&mut out, &[b"XGROUP", b"CREATECONSUMER", key.as_bytes(), b"g", b"c"]);
                resp::command(&mut out, &[b"XCLAIM", key.as_bytes(), b"g", b"c", b"0", b"1-1", b"JUSTID"]);
            } else {
                resp::command(&mut out, &[b"SET", key.as_bytes(), &value]);
            }
        }
        out.to_vec()
    }

    #[tokio::test]
    async fn blocks_are_the_same_however_they_arrive_and_end_between_keys() {
        let whole = part(0..1000);
        let (expected, commands, keys) = blocks(&whole, whole.len()).await;
        assert_eq!((commands, keys), (1700, 1000));
        assert!((5..25).contains(&expected.len()), "{} blocks", expected.len());
        for piece in [7, 1000, 65_537] {
            let (found, ..) = blocks(&whole, piece).await;
            assert!(found == expected, "pieces of {piece}");
        }
        assert!(expected.concat() == whole);
        for block in &expected[1..] {
            assert!(
                block.starts_with(b"*3\r\n$3\r\nSET") || block.starts_with(b"*2\r\n$3\r\nDEL"),
                "in the middle of a key"
            );
        }
    }

    #[tokio::test]
    async fn a_key_that_is_added_moves_no_other_block() {
        let (before, ..) = blocks(&part(0..1000), 5000).await;
        let (after, ..) = blocks(&part((0..500).chain(5000..5001).chain(500..1000)), 5000).await;
        let same = before.iter().filter(|block| after.contains(block)).count();
        assert_eq!((after.len(), same), (before.len(), before.len() - 1));
    }
}
