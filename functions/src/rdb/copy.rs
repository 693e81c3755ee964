//! An RDB, turned into the stream of a dump.
//!
//! Takes an [`Rdb`] and a [`Form`] that was begun. Gives the form a `SELECT` for each database that has keys, and commands
//! for each key and library that is wanted. Always holds: in the native form a value that is not big is not looked into
//! but passed on as it stands, marked with the oldest version that has its type, so that it is the same bytes whatever
//! server wrote it; nothing that was left out is left out without being counted.

use std::collections::BTreeMap;
use std::time::Instant;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use crc_fast::{CrcAlgorithm, Digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::Commands;
use super::format::Layout;
use super::input::Source;
use super::reader::{Entry, Next, Rdb};
use super::skim::{Skimmed, Stop, skim};
use super::visit::Nobody;
use crate::redis::keys::filter::KeyFilter;
use crate::redis::keys::reserved;
use crate::redis::keys::tally::{Kind, PerType, so_many_keys};
use crate::redis::stream::form::Form;
use crate::redis::wire::facts::version;
use crate::redis::wire::resp::{self, show};
use crate::shared::NOTE_EVERY;

/// Values of up to so many bytes in the RDB are passed on whole: a server loads one at one go.
pub(crate) const WHOLE: usize = 1 << 20;

/// The same of streams, which lose something where they are made by commands.
pub(crate) const WHOLE_STREAM: usize = 16 << 20;

/// The same of modules' values, which nobody else can take apart: longer ones are refused.
pub(crate) const WHOLE_MODULE: usize = 24 << 20;

/// A value that is passed on whole may be so many times as long without its compression.
const UNPACKED: usize = 4;

/// What is written in one step of a value that is passed on whole.
const STEP: usize = 64 << 10;

/// So many databases may have keys.
const MOST_DATABASES: usize = 1 << 16;

/// How values are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueForm {
    /// The fastest mix: strings by `SET`, whatever is not big by `RESTORE`, big values by plain commands.
    #[default]
    Native,
    /// Plain commands for all values: for servers that are older than the one that was read, or of another make. Values of
    /// modules cannot be written so.
    Logical,
}

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) form: ValueForm,
    /// These databases only.
    pub(crate) databases: Option<Vec<u32>>,
    pub(crate) keep: KeyFilter,
    /// Libraries of functions are left out.
    pub(crate) no_functions: bool,
    /// When keys were last used is left out: it differs from dump to dump.
    pub(crate) no_hints: bool,
}

/// What was written and what was left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copied {
    pub(crate) types: PerType,
    /// Keys in each database.
    pub(crate) databases: BTreeMap<u32, u64>,
    /// Keys with an expiry.
    pub(crate) expires: u64,
    pub(crate) functions: u64,
    /// Keys that were not wanted.
    pub(crate) left_out: u64,
    /// Keys that a restore keeps for itself, and that are left out.
    pub(crate) reserved: u64,
    /// Keys without elements, which a server drops when it loads them.
    pub(crate) empty: u64,
    /// Pending entries of streams that cannot be made again.
    pub(crate) lost_pending: u64,
    /// Pending entries of which nobody knows whether they can.
    pub(crate) pending_unknown: u64,
}

/// Copies everything up to the end of the RDB.
///
/// # Errors
/// The RDB is damaged or cut off, a module's value is too long or not to be written in this form, or nobody reads any more.
pub(crate) async fn copy<S: Source>(
    rdb: &mut Rdb<S>,
    form: &mut Form,
    options: &Options,
    call: Option<&Call>,
) -> Result<Copied, Failure> {
    let mut copied = Copied::default();
    let mut last = Last::default();
    let mut noted = Instant::now();
    loop {
        match rdb.next().await? {
            Next::End => return Ok(copied),
            Next::Library => {
                if !options.no_functions {
                    form.command(&[b"FUNCTION", b"LOAD", b"REPLACE", &rdb.key]);
                    copied.functions += 1;
                    last.in_parts = false;
                }
            }
            Next::Key(entry) => key(rdb, form, options, entry, &mut last, &mut copied).await?,
        }
        form.flush_some().await?;
        if let Some(call) = call.filter(|_| noted.elapsed() >= NOTE_EVERY) {
            noted = Instant::now();
            call.note(so_many_keys(copied.types.total()));
        }
    }
}

/// What was written last.
#[derive(Default)]
struct Last {
    /// The database that is selected.
    selected: Option<u32>,
    /// A key in parts, with nothing behind it, and its name.
    in_parts: bool,
    key: Vec<u8>,
}

async fn key<S: Source>(
    rdb: &mut Rdb<S>,
    form: &mut Form,
    options: &Options,
    entry: Entry,
    last: &mut Last,
    copied: &mut Copied,
) -> Result<(), Failure> {
    let kind = entry.layout.kind();
    let here = options.databases.as_ref().is_none_or(|databases| databases.contains(&entry.database));
    let reserved = here && reserved::is_reserved(&rdb.key);
    if reserved || !here || !options.keep.kind(kind) || !options.keep.name(&rdb.key) {
        *(if reserved { &mut copied.reserved } else { &mut copied.left_out }) += 1;
        return rdb.values.tell(entry.layout, &mut rdb.input, &mut Nobody).await;
    }
    if last.selected != Some(entry.database) {
        (last.selected, last.in_parts) = (Some(entry.database), false);
        form.command(&[b"SELECT", entry.database.to_string().as_bytes()]);
    }
    let written = if kind == Kind::String {
        // The head of most keys' commands, so nothing is done for it that is not needed.
        last.in_parts = false;
        string(rdb, form, entry).await?
    } else {
        match whole(rdb, entry, options.form).await? {
            Some(Skimmed { length, empty: true, .. }) => {
                rdb.input.skip(length);
                false
            }
            Some(Skimmed { length, empty: false, .. }) => {
                restore(rdb, form, entry, length, !options.no_hints).await?;
                last.in_parts = false;
                true
            }
            None => {
                // In the stream a second `DEL` would take back the first one's parts, and its trailer count one too many.
                if last.in_parts && last.key == rdb.key {
                    return Err(twice(rdb));
                }
                let written = parts(rdb, form, entry, copied).await?;
                if written {
                    last.in_parts = true;
                    last.key.clone_from(&rdb.key);
                }
                written
            }
        }
    };
    if !written {
        copied.empty += 1;
        return Ok(());
    }
    copied.types.add(kind);
    copied.expires += u64::from(entry.expires.is_some());
    if copied.databases.len() >= MOST_DATABASES && !copied.databases.contains_key(&entry.database) {
        return Err(rdb.input.wrong(format_args!("keys in more than {MOST_DATABASES} databases")));
    }
    *copied.databases.entry(entry.database).or_default() += 1;
    Ok(())
}

fn twice<S: Source>(rdb: &Rdb<S>) -> Failure {
    rdb.input
        .wrong(format_args!("the key {} stands there twice", show(&rdb.key)))
        .with_help("no server loads such a file: it is damaged, or was put together by another program")
}

async fn string<S: Source>(rdb: &mut Rdb<S>, form: &mut Form, entry: Entry) -> Result<bool, Failure> {
    let mut commands = Commands::new(form, &rdb.key, Kind::String, false, entry.expires);
    rdb.values.tell(entry.layout, &mut rdb.input, &mut commands).await?;
    Ok(true)
}

/// Writes a value by plain commands; false where it has no elements.
async fn parts<S: Source>(
    rdb: &mut Rdb<S>,
    form: &mut Form,
    entry: Entry,
    copied: &mut Copied,
) -> Result<bool, Failure> {
    let kind = entry.layout.kind();
    let timed =
        matches!(entry.layout, Layout::HashExpiring { .. } | Layout::HashListpackExpiring { .. } | Layout::HashValkey);
    let mut commands = Commands::new(form, &rdb.key, kind, timed, entry.expires);
    commands.stream.no_consumers = rdb.about.server.as_ref().is_some_and(|server| version(server) < (6, 2));
    rdb.values.tell(entry.layout, &mut rdb.input, &mut commands).await?;
    let written = commands.end().await?;
    copied.lost_pending += commands.stream.lost;
    copied.pending_unknown += commands.stream.unknown;
    Ok(written)
}

/// The length of a value that is to be passed on whole, once all of it has come.
async fn whole<S: Source>(rdb: &mut Rdb<S>, entry: Entry, form: ValueForm) -> Result<Option<Skimmed>, Failure> {
    let module = entry.layout == Layout::Module;
    // Of the oldest of all encodings servers check more than those did that wrote it: they would refuse to restore some.
    if form == ValueForm::Logical || entry.layout == Layout::Zipmap {
        if module {
            return Err(Failure::rejected(format!(
                "the key {} is a module's value, and there are no plain commands for it",
                show(&rdb.key)
            ))
            .with_help("say `form: native`, or leave it out by a filter (`types`)"));
        }
        return Ok(None);
    }
    let most = match entry.layout {
        Layout::Stream(_) => WHOLE_STREAM,
        Layout::Module => WHOLE_MODULE,
        _ => WHOLE,
    };
    let unpacked = (most * UNPACKED) as u64;
    let mut wanted = 0;
    loop {
        let input = &mut rdb.input;
        match skim(entry.layout, input.rest()) {
            Ok(skimmed) if skimmed.length <= most && (module || skimmed.unpacked <= unpacked) => {
                return Ok(Some(skimmed));
            }
            Err(Stop::More(at_least)) if at_least <= most as u64 => {
                // Twice as much as before, so that however the bytes arrive none is looked at more than a few times.
                wanted = (input.rest().len() * 2).max(at_least as usize).max(wanted).min(most + 1);
                if wanted > WHOLE {
                    input.make_room(most + 1);
                }
                while input.rest().len() < wanted && input.more().await? {}
                if (input.rest().len() as u64) < at_least {
                    return Err(input.cut());
                }
            }
            Err(Stop::Wrong(at, what)) => {
                return Err(super::input::wrong(input.name(), input.offset() + at as u64, what));
            }
            _ if module => {
                return Err(Failure::rejected(format!(
                    "the key {} is a module's value of more than {most} bytes, which is not passed on",
                    show(&rdb.key)
                ))
                .with_help("leave it out by a filter"));
            }
            _ => return Ok(None),
        }
    }
}

/// Passes a value on as it stands.
async fn restore<S: Source>(
    rdb: &mut Rdb<S>,
    form: &mut Form,
    entry: Entry,
    length: usize,
    hints: bool,
) -> Result<(), Failure> {
    let hint = match (entry.idle, entry.freq) {
        (Some(seconds), _) if hints => Some((&b"IDLETIME"[..], seconds)),
        (None, Some(freq)) if hints => Some((&b"FREQ"[..], u64::from(freq))),
        _ => None,
    };
    let out = form.begin_command(if hint.is_some() { 8 } else { 6 });
    resp::argument(out, b"RESTORE");
    resp::argument(out, &rdb.key);
    resp::number_argument(out, entry.expires.unwrap_or(0));
    resp::length(out, length as u64 + 11);
    let mut digest = Digest::new(CrcAlgorithm::Crc64Redis);
    digest.update(&[entry.number]);
    out.extend_from_slice(&[entry.number]);
    let mut left = length;
    while left > 0 {
        let step = rdb.input.take(left.min(STEP));
        left -= step.len();
        digest.update(step);
        form.out().extend_from_slice(step);
        form.flush_some().await?;
    }
    let version = entry.layout.version().to_le_bytes();
    digest.update(&version);
    let out = form.out();
    out.extend_from_slice(&version);
    out.extend_from_slice(&digest.finalize().to_le_bytes());
    out.extend_from_slice(b"\r\n");
    resp::argument(out, b"REPLACE");
    resp::argument(out, b"ABSTTL");
    if let Some((word, value)) = hint {
        resp::argument(out, word);
        resp::number_argument(out, value);
    }
    Ok(())
}
