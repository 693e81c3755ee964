//! Long commands, of which only the beginning is known when it is decided what becomes of them.
//!
//! Takes a command's beginning and the parser that has the rest. Gives the beginning as it is to be; the rest of a command
//! that is left out is passed over here. Always holds: of the rest no more is looked at than an expiry and the type of a
//! payload.

use aquifer_engine::failure::Failure;

use super::{Passed, Rewriter, fields};
use crate::redis::keys::tally::Kind;
use crate::redis::stream::census::Role;
use crate::redis::stream::parser::{Large, Next, Parser};

/// No expiry that stands in a long command has more digits.
const SHORT: u64 = 64;

impl Rewriter {
    pub(super) async fn large(&mut self, mut large: Large, parser: &mut Parser) -> Result<Passed, Failure> {
        let [name, key] = large.args.clone();
        let word = name.to_ascii_uppercase();
        let mut first = None;
        let role = if word == b"RESTORE" && large.count >= 4 {
            let ttl = parser.short(SHORT).await?;
            first = parser.peek().await?;
            parser.give_back(ttl);
            Role::Value(Kind::of_payload(first.unwrap_or(u8::MAX)))
        } else {
            Role::named(&word, &key)
        };
        let starts = self.census.count(role, || key.clone());
        large.lifetimes = self.changes.lifetimes;
        let (before, named, begins) = match role {
            Role::Value(kind) if self.idle => (Vec::new(), Some(key.clone()), Some((key, kind))),
            Role::Value(kind) => {
                self.close();
                let fate = self.decide(&key, Some(kind), large.offset)?;
                self.last = Some(fate.clone());
                match &fate.name {
                    Some(name) => {
                        fields::refuse_long(self.changes.lifetimes, &key, first, large.offset)?;
                        self.renamed += u64::from(key != *name);
                        (self.at_home(large.offset)?, fate.name.clone(), fate.name.map(|name| (name, kind)))
                    }
                    None => {
                        self.left_out.add(kind);
                        (Vec::new(), None, None)
                    }
                }
            }
            Role::Part(kind, 1) if !self.idle => {
                let (before, name, began) = self.part(&key, kind, large.offset)?;
                let begins = name.clone().filter(|_| began).map(|name| (name, kind));
                (before, name, begins)
            }
            Role::Functions { .. } if self.changes.no_functions => {
                self.close();
                self.functions_left_out += 1;
                (Vec::new(), None, None)
            }
            Role::Part(kind, _) if starts => (Vec::new(), Some(key.clone()), Some((key, kind))),
            _ => (Vec::new(), Some(key), None),
        };
        let Some(named) = named else {
            parser.skip().await?;
            return Ok(Passed::default());
        };
        large.args = [name, named];
        Ok(Passed { before, next: Some(Next::Large(large)), begins })
    }
}
