//! Commands on their way to a server, under the names that this server knows them by.
//!
//! Takes commands. Gives their bytes. Always holds: no command's name gets into the bytes by any other way than
//! [`Outgoing::begin`], so a command that the server renamed (`rename-command`) is renamed wherever it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_engine::function::ParamError;
use bytes::BytesMut;

use crate::redis::wire::resp;

/// The commands that a server has under other names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Option<Arc<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Names {
    /// Checks the `commands` param.
    ///
    /// # Errors
    /// A name that no command can have.
    pub(crate) fn new(commands: &BTreeMap<String, String>) -> Result<Self, ParamError> {
        let mut names = BTreeMap::new();
        for (name, renamed) in commands {
            for word in [name, renamed] {
                if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    let path = format!("commands.{name}");
                    return Err(ParamError::new(path, format!("`{word}` is no command's name"))
                        .with_help("write single words, as behind `rename-command` in the server's settings; words behind a command's name (`CONFIG GET`) keep theirs"));
                }
            }
            if names.insert(name.to_ascii_uppercase().into_bytes(), renamed.clone().into_bytes()).is_some() {
                return Err(ParamError::new(format!("commands.{name}"), "this command is there twice"));
            }
        }
        Ok(Self(Some(names).filter(|names| !names.is_empty()).map(Arc::new)))
    }

    fn of<'n>(&'n self, name: &'n [u8]) -> &'n [u8] {
        match &self.0 {
            None => name,
            Some(names) => names.get(&name.to_ascii_uppercase()).map_or(name, |renamed| renamed),
        }
    }
}

/// What is still to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: BytesMut,
    names: Names,
}

impl Outgoing {
    pub(crate) fn new(names: Names) -> Self {
        Self { bytes: BytesMut::new(), names }
    }

    /// The head of a command of so many arguments, its name counted, and the name; the other arguments have to follow, in
    /// what this gives.
    pub(crate) fn begin(&mut self, count: u64, name: &[u8]) -> &mut BytesMut {
        resp::arguments(&mut self.bytes, count);
        resp::argument(&mut self.bytes, self.names.of(name));
        &mut self.bytes
    }

    /// A whole command.
    pub(crate) fn command(&mut self, args: &[&[u8]]) {
        let Some((name, rest)) = args.split_first() else { return };
        let out = self.begin(args.len() as u64, name);
        rest.iter().for_each(|arg| resp::argument(out, arg));
    }

    /// Goes on with a command that was begun.
    pub(crate) fn rest(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Commands that were written by this before.
    pub(crate) fn again(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was written and not sent yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Result<Names, ParamError> {
        Names::new(&pairs.iter().map(|(name, renamed)| ((*name).to_owned(), (*renamed).to_owned())).collect())
    }

    #[test]
    fn a_name_is_replaced_and_nothing_else() {
        let mut out = Outgoing::new(names(&[("scan", "Xyz")]).expect("sound"));
        out.command(&[b"SCAN", b"SCAN"]);
        out.command(&[b"GET", b"scan"]);
        assert_eq!(out.bytes(), b"*2\r\n$3\r\nXyz\r\n$4\r\nSCAN\r\n*2\r\n$3\r\nGET\r\n$4\r\nscan\r\n");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for pair in [("CONFIG GET", "x"), ("", "x"), ("SCAN", ""), ("SCAN", "a\nb")] {
            assert!(names(&[pair]).expect_err("no name").help.is_some());
        }
        assert!(names(&[("scan", "a"), ("SCAN", "b")]).is_err());
    }
}
