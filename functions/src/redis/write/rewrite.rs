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
use crate::redis::stream::census::{Census, Role};
use crate::redis::stream::parser::{Command, Next, Parser};
use crate::redis::stream::wrong::refuse_reserved;
use crate::redis::stream::wrong::wrong;
use crate::redis::wire::resp::show;
use crate::redis::write::load::OnConflict;

mod expiries;
mod fields;
mod long;

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
    /// The `DEL` that waits for the decision.
    held: Option<Command>,
    /// Some of it was passed on.
    passed: bool,
}

/// What is to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Commands that come first.
    pub(crate) before: Vec<Command>,
    pub(crate) next: Option<Next>,
    /// The name and type of a key that begins with it.
    pub(crate) begins: Option<(Bytes, Kind)>,
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Rewriter {
    changes: Changes,
    /// Nothing is changed, only counted.
    idle: bool,
    pub(crate) census: Census,
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
            census: Census::default(),
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

    /// Takes what comes next.
    ///
    /// # Errors
    /// Two keys get one name, or the stream holds something that cannot be changed as told.
    pub(crate) async fn take(&mut self, next: Next, parser: &mut Parser) -> Result<Passed, Failure> {
        match next {
            Next::Command(command) => {
                let role = Role::of(&command);
                let hash = !self.changes.lifetimes.keeps()
                    && matches!(role, Role::Value(_))
                    && fields::has_some(command.arg(3).first().copied())
                    && command.arg(0).eq_ignore_ascii_case(b"RESTORE");
                let mut passed = self.command(command, role)?;
                if hash && let Some(Next::Command(restore)) = &passed.next {
                    passed.before.extend(fields::plain(self.changes.lifetimes, restore).await?);
                    passed.next = None;
                }
                Ok(passed)
            }
            Next::Large(large) => self.large(large, parser).await,
            Next::End => Ok(Passed::default()),
        }
    }

    /// Ends the stream, or what stands before its trailer.
    pub(crate) fn close(&mut self) {
        self.census.close();
        let Some(Open { kind: Some(kind), fate: Some((_, fate)), .. }) = self.open.take() else { return };
        match fate.name {
            Some(name) => self.renamed += u64::from(name != fate.key),
            None => self.left_out.add(kind),
        }
    }

    fn command(&mut self, command: Command, role: Role) -> Result<Passed, Failure> {
        let place = if let Role::Part(_, place) = role { place } else { 1 };
        let first = self.census.count(role, || command.bytes(place));
        if self.idle {
            let begins = match role {
                Role::Value(kind) => Some((command.bytes(1), kind)),
                Role::Part(kind, place) if first => Some((command.bytes(place), kind)),
                _ => None,
            };
            return Ok(Passed { next: Some(Next::Command(command)), begins, ..Passed::default() });
        }
        match role {
            Role::Select(index) => self.select(index, command.offset),
            Role::Functions { .. } => {
                self.close();
                self.functions_left_out += u64::from(self.changes.no_functions);
                Ok(Passed { next: (!self.changes.no_functions).then_some(Next::Command(command)), ..Passed::default() })
            }
            Role::Value(kind) => {
                self.close();
                let fate = self.decide(&command.bytes(1), Some(kind), command.offset)?;
                let name = fate.name.clone();
                self.last = Some(fate);
                let Some(name) = name else {
                    self.left_out.add(kind);
                    return Ok(Passed::default());
                };
                self.renamed += u64::from(command.arg(1) != &name[..]);
                let next = Some(Next::Command(self.changes.lifetimes.value(&command, &name)));
                Ok(Passed { before: self.at_home(command.offset)?, next, begins: Some((name, kind)) })
            }
            Role::Begin => self.begin(command),
            Role::Part(kind, place) => {
                let (before, name, began) = self.part(&command.bytes(place), kind, command.offset)?;
                let Some(name) = name else { return Ok(Passed::default()) };
                let begins = began.then(|| (name.clone(), kind));
                Ok(Passed { before, next: Some(Next::Command(with(&command, &[(place, &name)]))), begins })
            }
            Role::Expire => self.expire(&command),
            Role::FieldExpire => self.field_expire(&command),
            // The next stage knows what to say about it.
            Role::Other => Ok(Passed { next: Some(Next::Command(command)), ..Passed::default() }),
        }
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
        let select = Command::new(offset, &[b"SELECT", place.to_string().as_bytes()]);
        Ok(Passed { next: Some(Next::Command(select)), ..Passed::default() })
    }

    /// What has to come before a key in a stream without any `SELECT`, where its database goes elsewhere.
    fn at_home(&mut self, offset: u64) -> Result<Vec<Command>, Failure> {
        if self.selected.is_some() {
            return Ok(Vec::new());
        }
        let place = self.changes.databases.begin(self.database)?;
        self.selected = Some(place);
        if place == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![Command::new(offset, &[b"SELECT", place.to_string().as_bytes()])])
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

    fn begin(&mut self, command: Command) -> Result<Passed, Failure> {
        let key = command.bytes(1);
        if self.open.as_ref().is_none_or(|open| open.key != key) {
            self.close();
            self.open = Some(Open { key: key.clone(), kind: None, fate: None, held: None, passed: false });
        }
        let known = if self.changes.filter.by_kind() { None } else { Some(self.decide(&key, None, command.offset)?) };
        let mut passed = Passed::default();
        let home = if known.as_ref().is_some_and(|fate| fate.name.is_some()) {
            self.at_home(command.offset)?
        } else {
            Vec::new()
        };
        let Some(open) = &mut self.open else { return Ok(passed) };
        open.kind = None;
        open.held = None;
        match (&open.fate, known) {
            // It was begun before, and what was written of it is to be taken back, whatever comes now.
            (Some((_, Fate { name: Some(name), .. })), _) if open.passed => {
                passed.next = Some(Next::Command(with(&command, &[(1, name)])));
                if self.changes.filter.by_kind() {
                    open.fate = None;
                }
            }
            (_, Some(fate)) => {
                if let Some(name) = &fate.name {
                    open.passed = true;
                    passed.before = home;
                    passed.next = Some(Next::Command(with(&command, &[(1, name)])));
                }
                self.last = Some(fate.clone());
                open.fate = Some((None, fate));
            }
            (_, None) => {
                self.last = None;
                open.fate = None;
                open.held = Some(command);
            }
        }
        Ok(passed)
    }

    /// Goes on with a key: what comes before it, its name if it is wanted, and whether this is its first part.
    fn part(&mut self, key: &Bytes, kind: Kind, offset: u64) -> Result<(Vec<Command>, Option<Bytes>, bool), Failure> {
        if self.open.as_ref().is_none_or(|open| open.key != *key) {
            self.close();
            self.open = Some(Open { key: key.clone(), kind: None, fate: None, held: None, passed: false });
        }
        let decided = match self.open.as_ref().and_then(|open| open.fate.clone()) {
            Some((known, fate)) if known.is_none() && !self.changes.filter.by_kind() || known == Some(kind) => fate,
            _ => self.decide(key, Some(kind), offset)?,
        };
        let mut before = if decided.name.is_some() { self.at_home(offset)? } else { Vec::new() };
        let Some(open) = &mut self.open else { return Ok((before, None, false)) };
        let first = open.kind.is_none();
        open.kind = Some(kind);
        if let (Some(name), Some(held)) = (&decided.name, open.held.take()) {
            before.push(with(&held, &[(1, name)]));
        }
        open.passed |= decided.name.is_some();
        let known = self.changes.filter.by_kind().then_some(kind);
        open.fate = Some((known, decided.clone()));
        self.last = Some(decided.clone());
        Ok((before, decided.name, first))
    }

    /// The name under which a key is written that an expiry belongs to; `None` where it is left out.
    fn name_of(&mut self, command: &Command) -> Result<Option<Bytes>, Failure> {
        let key = command.bytes(1);
        if let Some(fate) = self.last.as_ref().filter(|fate| fate.key == key) {
            return Ok(fate.name.clone());
        }
        if self.changes.filter.by_kind() {
            return Err(wrong(
                command.offset,
                format_args!(
                    "an expiry for the key {}, which was not written just before, so its type is not known",
                    show(&key)
                ),
            )
            .with_help("such a stream can only be restored without `filter.types`"));
        }
        Ok(self.decide(&key, None, command.offset)?.name)
    }

    fn expire(&mut self, command: &Command) -> Result<Passed, Failure> {
        let Some(name) = self.name_of(command)? else { return Ok(Passed::default()) };
        Ok(Passed {
            next: self.changes.lifetimes.expiry(command, &name, b"PEXPIREAT").map(Next::Command),
            ..Passed::default()
        })
    }

    fn field_expire(&mut self, command: &Command) -> Result<Passed, Failure> {
        let Some(name) = self.name_of(command)? else { return Ok(Passed::default()) };
        Ok(Passed {
            next: self.changes.lifetimes.expiry(command, &name, b"HPEXPIREAT").map(Next::Command),
            ..Passed::default()
        })
    }
}

/// A command with other arguments at these places.
fn with(command: &Command, changes: &[(usize, &[u8])]) -> Command {
    if changes.iter().all(|(place, argument)| command.arg(*place) == *argument) {
        return command.clone();
    }
    let mut args: Vec<&[u8]> = (0..command.len()).map(|place| command.arg(place)).collect();
    for (place, argument) in changes {
        args[*place] = argument;
    }
    Command::new(command.offset, &args)
}

#[cfg(test)]
mod tests;
