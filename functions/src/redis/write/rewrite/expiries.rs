//! Commands whose expiry is changed.
//!
//! Takes a command and the name that its key gets. Gives the command that is to be carried out. Always holds: an expiry
//! that is moved is written as a moment, whatever form it had; what is no number goes on as it is, for the next stage
//! knows what to say about it.

use super::with;
use crate::redis::keys::lifetimes::{Left, Lifetimes};
use crate::redis::stream::parser::Command;
use crate::redis::wire::resp::number;

impl Lifetimes {
    /// A whole value as it is to be written.
    pub(super) fn value(self, command: &Command, name: &[u8]) -> Command {
        if self.keeps() {
            with(command, &[(1, name)])
        } else if command.arg(0).eq_ignore_ascii_case(b"RESTORE") {
            self.restore(command, name)
        } else {
            self.set(command, name)
        }
    }

    /// An expiry that stands in a command of its own, as it is to be; `None` where it is dropped. `absolute` is the command
    /// for a moment in milliseconds.
    pub(super) fn expiry(self, command: &Command, name: &[u8], absolute: &[u8]) -> Option<Command> {
        let same = Some(with(command, &[(1, name)]));
        let word = command.arg(0).to_ascii_uppercase();
        let Some(value) = number(command.arg(2)).and_then(|value| u64::try_from(value).ok()) else { return same };
        let milliseconds = word.starts_with(b"P") || word.starts_with(b"HP");
        let value = if milliseconds { value } else { value.saturating_mul(1000) };
        let new = match self.moment(value) {
            _ if !word.ends_with(b"AT") => self.left(value),
            Some(moment) if moment == value => Left::Same,
            Some(moment) => Left::At(moment),
            None => Left::Dropped,
        };
        match new {
            Left::Same => same,
            Left::Dropped => None,
            Left::At(moment) => {
                let text = moment.to_string();
                Some(with(command, &[(0, absolute), (1, name), (2, text.as_bytes())]))
            }
        }
    }

    fn set(self, command: &Command, name: &[u8]) -> Command {
        let mut args: Vec<Vec<u8>> = vec![b"SET".to_vec(), name.to_vec(), command.arg(2).to_vec()];
        let mut at = 3;
        while at < command.len() {
            let word = command.arg(at).to_ascii_uppercase();
            let value = number(command.arg(at + 1)).and_then(|value| u64::try_from(value).ok());
            let thousand = value.map(|value| value.saturating_mul(1000));
            let new = match (&word[..], value, thousand) {
                (b"PXAT", Some(value), _) | (b"EXAT", _, Some(value)) => {
                    self.moment(value).map_or(Left::Dropped, Left::At)
                }
                (b"PX", Some(value), _) | (b"EX", _, Some(value)) => self.left(value),
                _ => Left::Same,
            };
            match new {
                Left::Same => args.extend([word, command.arg(at + 1).to_vec()]),
                Left::Dropped => {}
                Left::At(moment) => args.extend([b"PXAT".to_vec(), moment.to_string().into_bytes()]),
            }
            at += 2;
        }
        let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
        Command::new(command.offset, &args)
    }

    fn restore(self, command: &Command, name: &[u8]) -> Command {
        let Some(ttl) = number(command.arg(2)).and_then(|ttl| u64::try_from(ttl).ok()).filter(|ttl| *ttl > 0) else {
            return with(command, &[(1, name)]);
        };
        let absolute = (4..command.len()).any(|at| command.arg(at).eq_ignore_ascii_case(b"ABSTTL"));
        let new = if absolute { self.moment(ttl).map_or(Left::Dropped, Left::At) } else { self.left(ttl) };
        match new {
            Left::Same => with(command, &[(1, name)]),
            Left::Dropped => with(command, &[(1, name), (2, b"0")]),
            Left::At(moment) => {
                let text = moment.to_string();
                let mut args: Vec<&[u8]> = (0..command.len()).map(|at| command.arg(at)).collect();
                (args[1], args[2]) = (name, text.as_bytes());
                args.extend((!absolute).then_some(&b"ABSTTL"[..]));
                Command::new(command.offset, &args)
            }
        }
    }
}
