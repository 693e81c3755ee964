//! What becomes of a stream between its parser and the server: keys left out, renamed, put into another database, given
//! another expiry.
//!
//! Takes what the parser gives, in the stream's order. Gives what is to be carried out instead: nothing, the same, or
//! something else. Always holds: everything is counted, whatever becomes of it, so the trailer's promises are those of the
//! whole stream; all commands of a key have one fate; no two keys get the same name without being found out.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::keys::databases::Databases;
use crate::redis::keys::filter::KeyFilter;
use crate::redis::keys::lifetimes::Lifetimes;
use crate::redis::keys::rename::{Names, Renames, Used};
use crate::redis::keys::reserved;
use crate::redis::keys::tally::{Kind, PerType};
use crate::redis::stream::long::{Long, LongAct};
use crate::redis::stream::parser::Parser;
use crate::redis::stream::statement::{Act, Statement};
use crate::redis::stream::wrong::refuse_reserved;
use crate::redis::wire::resp::show;
use crate::redis::write::load::OnConflict;

mod fields;
mod keys;

/// What is to be done with a stream.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) filter: KeyFilter,
    pub(crate) databases: Databases,
    pub(crate) renames: Renames,
    pub(crate) lifetimes: Lifetimes,
    /// No functions are loaded.
    pub(crate) no_functions: bool,
    pub(crate) on_conflict: OnConflict,
}

/// What became of a key by name, type and database.
#[derive(Debug, Clone)]
struct Fate {
    key: Bytes,
    /// The name that it gets; `None` where it is left out.
    name: Option<Bytes>,
}

/// A key of several commands.
#[derive(Debug)]
struct Open {
    key: Bytes,
    kind: Option<Kind>,
    /// Decided for this type; undecided until the first part where types count.
    fate: Option<(Option<Kind>, Fate)>,
    /// Where the `DEL` stands that waits for the decision.
    held: Option<u64>,
    /// Some of it was passed on.
    passed: bool,
}

/// What is to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) statements: Vec<Statement>,
    /// Comes last; the parser has the rest of it.
    pub(crate) long: Option<Long>,
}

impl Passed {
    fn one(statement: Statement) -> Self {
        Self { statements: vec![statement], ..Self::default() }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Rewriter {
    changes: Changes,
    /// Nothing is changed.
    idle: bool,
    /// Keys that were left out, by type.
    pub(crate) left_out: PerType,
    /// Functions that were left out.
    pub(crate) functions_left_out: u64,
    /// Keys that were renamed.
    pub(crate) renamed: u64,
    /// The stream's database, and the server's that is selected; `None` while nothing was selected.
    database: u32,
    selected: Option<u32>,
    open: Option<Open>,
    last: Option<Fate>,
    names: Names,
}

impl Rewriter {
    /// A stage that does this.
    pub(crate) fn new(changes: Changes) -> Self {
        let idle = changes.filter.takes_all()
            && changes.databases.stay()
            && changes.renames.none()
            && changes.lifetimes.keeps()
            && !changes.no_functions;
        Self {
            changes,
            idle,
            left_out: PerType::default(),
            functions_left_out: 0,
            renamed: 0,
            database: 0,
            selected: None,
            open: None,
            last: None,
            names: Names::default(),
        }
    }

    /// Holds the databases that the stream's head names to the params; gives those that they go into.
    ///
    /// # Errors
    /// Two of them go into one.
    pub(crate) fn expect(&mut self, databases: &[u32]) -> Result<Vec<u32>, Failure> {
        let rules = &mut self.changes.databases;
        rules.expect(databases)?;
        Ok(databases.iter().filter(|index| rules.takes(**index)).map(|index| rules.place(*index)).collect())
    }

    /// Takes a command.
    ///
    /// # Errors
    /// Two keys get one name, or the stream holds something that cannot be changed as told.
    pub(crate) async fn take(&mut self, statement: Statement) -> Result<Passed, Failure> {
        if self.idle {
            return Ok(Passed::one(statement));
        }
        let mut passed = self.change(statement)?;
        let taken_apart = match passed.statements.last() {
            Some(last) if !self.changes.lifetimes.keeps() => fields::plain(self.changes.lifetimes, last).await?,
            _ => None,
        };
        if let Some(plain) = taken_apart {
            passed.statements.pop();
            passed.statements.extend(plain);
        }
        Ok(passed)
    }

    /// Takes a long command; the rest of one that is left out is passed over here.
    ///
    /// # Errors
    /// As [`Rewriter::take`]; also where the stream is cut off.
    pub(crate) async fn take_long(&mut self, mut long: Long, parser: &mut Parser) -> Result<Passed, Failure> {
        long.lifetimes = self.changes.lifetimes;
        if self.idle {
            return Ok(Passed { statements: Vec::new(), long: Some(long) });
        }
        let (statements, name) = if let LongAct::Part { kind, .. } = long.act {
            self.part(&long.key, kind, long.offset)?
        } else {
            self.value(&long.key, long.act.value(), long.offset)?
        };
        let Some(name) = name else {
            parser.skip().await?;
            return Ok(Passed::default());
        };
        if let LongAct::Restore { first, expiry, .. } = &mut long.act {
            fields::refuse_long(self.changes.lifetimes, &long.key, *first, long.offset)?;
            *expiry = expiry.and_then(|expiry| self.changes.lifetimes.moment(expiry));
        }
        long.key = name;
        Ok(Passed { statements, long: Some(long) })
    }

    /// Ends the stream, or what stands before its trailer.
    pub(crate) fn close(&mut self) {
        let Some(Open { kind: Some(kind), fate: Some((_, fate)), .. }) = self.open.take() else { return };
        match fate.name {
            Some(name) => self.renamed += u64::from(name != fate.key),
            None => self.left_out.add(kind),
        }
    }

    /// What becomes of a command, the expiries inside of a payload excepted.
    fn change(&mut self, statement: Statement) -> Result<Passed, Failure> {
        let Statement { offset, act } = statement;
        let lifetimes = self.changes.lifetimes;
        match act {
            Act::Select(index) => self.select(index, offset),
            Act::Functions { .. } => {
                self.close();
                self.functions_left_out += u64::from(self.changes.no_functions);
                let taken = !self.changes.no_functions;
                Ok(if taken { Passed::one(Statement { offset, act }) } else { Passed::default() })
            }
            Act::Set { .. } | Act::Restore { .. } => {
                let kind = act.value();
                let key = act.key().cloned().unwrap_or_default();
                let (mut statements, name) = self.value(&key, kind, offset)?;
                let Some(key) = name else { return Ok(Passed::default()) };
                let act = match act {
                    Act::Set { value, expiry, .. } => {
                        Act::Set { key, value, expiry: expiry.and_then(|when| lifetimes.when(when)) }
                    }
                    Act::Restore { payload, expiry, hint, .. } => {
                        Act::Restore { key, payload, expiry: expiry.and_then(|when| lifetimes.when(when)), hint }
                    }
                    act => act,
                };
                statements.push(Statement { offset, act });
                Ok(Passed { statements, long: None })
            }
            Act::Begin { key } => self.begin(key, offset),
            Act::Part(mut part) => {
                let kind = part.kind;
                let (mut statements, name) = self.part(&part.key, kind, offset)?;
                let Some(name) = name else { return Ok(Passed::default()) };
                part.key = name;
                statements.push(Statement { offset, act: Act::Part(part) });
                Ok(Passed { statements, long: None })
            }
            Act::Expire { key, when } => {
                let name = self.name_of(&key, offset)?;
                let act = name.zip(lifetimes.when(when)).map(|(key, when)| Act::Expire { key, when });
                Ok(act.map_or_else(Passed::default, |act| Passed::one(Statement { offset, act })))
            }
            Act::ExpireFields { key, when, fields } => {
                let name = self.name_of(&key, offset)?;
                let when = lifetimes.of_fields().when(when);
                let act = name.zip(when).map(|(key, when)| Act::ExpireFields { key, when, fields });
                Ok(act.map_or_else(Passed::default, |act| Passed::one(Statement { offset, act })))
            }
        }
    }

    /// Decides about a whole value: what comes before it, and its name where it is wanted.
    fn value(
        &mut self,
        key: &Bytes,
        kind: Option<Kind>,
        offset: u64,
    ) -> Result<(Vec<Statement>, Option<Bytes>), Failure> {
        self.close();
        let fate = self.decide(key, kind, offset)?;
        self.last = Some(fate.clone());
        if let Some(name) = fate.name {
            self.renamed += u64::from(*key != name);
            return Ok((self.at_home(offset)?, Some(name)));
        }
        kind.into_iter().for_each(|kind| self.left_out.add(kind));
        Ok((Vec::new(), None))
    }

    fn select(&mut self, index: u32, offset: u64) -> Result<Passed, Failure> {
        self.close();
        self.last = None;
        self.database = index;
        if !self.changes.databases.takes(index) {
            return Ok(Passed::default());
        }
        let place = self.changes.databases.begin(index)?;
        self.selected = Some(place);
        Ok(Passed::one(Statement { offset, act: Act::Select(place) }))
    }

    /// What has to come before a key in a stream without any `SELECT`, where its database goes elsewhere.
    fn at_home(&mut self, offset: u64) -> Result<Vec<Statement>, Failure> {
        if self.selected.is_some() {
            return Ok(Vec::new());
        }
        let place = self.changes.databases.begin(self.database)?;
        self.selected = Some(place);
        if place == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![Statement { offset, act: Act::Select(place) }])
    }

    /// Decides about a key, where its type is not known yet by its name alone.
    fn decide(&mut self, key: &Bytes, kind: Option<Kind>, offset: u64) -> Result<Fate, Failure> {
        refuse_reserved(key, offset)?;
        let Changes { filter, databases, renames, .. } = &self.changes;
        if !databases.takes(self.database) || !filter.name(key) || !kind.is_none_or(|kind| filter.kind(kind)) {
            return Ok(Fate { key: key.clone(), name: None });
        }
        let renamed = renames.apply(key);
        let rule = renamed.as_ref().map(|(rule, _)| *rule);
        let name = renamed.map_or_else(|| key.clone(), |(_, name)| name);
        let place = databases.place(self.database);
        // With `skip` and `replace` keys of databases that are merged go the way of all conflicts.
        let fails = self.changes.on_conflict == OnConflict::Fail;
        let route = (rule, if fails { self.database } else { 0 });
        if rule.is_some() && reserved::is_reserved(&name) {
            return Err(Failure::rejected(format!(
                "the key {} would be renamed to {}, which is reserved for restores",
                show(key),
                show(&name)
            )));
        }
        let used = self
            .names
            .take(renames, (&name, place), route, fails && databases.merges(place), |source| filter.name(source));
        match used {
            Used::Twice => Err(Failure::rejected(format!(
                "at byte {offset} of the stream: the key {} of database {} would get the name {} in database {place}, which another key of the stream has got",
                show(key),
                self.database,
                show(&name)
            ))
            .with_help("change `rename` or `databaseMap`, or leave one of the two out with `filter` or `databases`")),
            // The server finds out about the others.
            Used::TooMany if fails => Ok(Fate { key: key.clone(), name: Some(name) }),
            Used::TooMany => Err(Failure::rejected(
                "more keys get new names than can be remembered, so two that get the same one might not be found out",
            )
            .with_help("take only the keys that are renamed (`filter: {match: […]}`), then none can meet; or restore with `onConflict: fail`, where the server finds it out")),
            Used::Free => Ok(Fate { key: key.clone(), name: Some(name) }),
        }
    }
}

#[cfg(test)]
mod tests;
