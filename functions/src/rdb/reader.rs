//! An RDB as a whole: its head, what stands between its keys, its end.
//!
//! Takes a [`Source`]. Gives, one after the other, its [`Entry`]s, of which the value is still to be read, and its libraries
//! of functions. Always holds: [`Next::End`] comes only behind the end mark, and where the version has a checksum that is
//! there, it fits.

use aquifer_engine::failure::Failure;

use super::format::{self, Layout};
use super::input::{Input, Source};
use super::text::Text;
use super::value::Values;
use crate::redis::stream::form::LONGEST_LIBRARY;
use crate::redis::wire::resp::show;

/// How long the name of a key may be: it is held while the key is read.
pub(crate) const LONGEST_KEY: u64 = 8 << 20;

/// How long the name or text of what is said about the file may be.
const LONGEST_AUX: u64 = 64 << 10;

/// A key, of which the value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The database that it is in.
    pub(crate) database: u32,
    /// The type of its value as a number, which `RESTORE` wants to see again.
    pub(crate) number: u8,
    /// How its value is laid out.
    pub(crate) layout: Layout,
    /// Its expiry, in milliseconds; at least 1.
    pub(crate) expires: Option<u64>,
    /// Seconds since it was used.
    pub(crate) idle: Option<u64>,
    /// How often it is used, on a logarithmic scale.
    pub(crate) freq: Option<u8>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A key; its name is [`Rdb::key`], its value has to be read before the next call.
    Key(Entry),
    /// A library of functions; its code is [`Rdb::key`].
    Library,
    /// The end.
    End,
}

/// What a file says about itself, as far as somebody wants to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The version of the format.
    pub(crate) version: u32,
    /// By Valkey, in its own format.
    pub(crate) valkey: bool,
    /// The version of the server that wrote it.
    pub(crate) server: Option<String>,
}

/// What was passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PassedOver {
    /// What modules keep beside the keys.
    pub(crate) module_aux: u64,
    /// What modules keep beside a key.
    pub(crate) key_meta: u64,
    /// Imports of slots that were under way.
    pub(crate) slot_imports: u64,
}

/// An RDB being read.
pub(crate) struct Rdb<S> {
    pub(crate) input: Input<S>,
    pub(crate) values: Values,
    pub(crate) about: About,
    pub(crate) passed_over: PassedOver,
    /// The name of the key, or the code of the library.
    pub(crate) key: Vec<u8>,
    database: u32,
    text: Text,
    other: Vec<u8>,
    /// An opcode that was read and belongs to what comes next.
    ahead: Option<u8>,
}

impl<S: Source> Rdb<S> {
    /// Reads the head, and what the file says about itself before its first key.
    ///
    /// # Errors
    /// It is no RDB, or one that is not known, or it is cut off.
    pub(crate) async fn begin(source: S) -> Result<Self, Failure> {
        let mut input = Input::new(source, "the RDB");
        let about = head(&mut input).await?;
        let mut rdb = Self {
            input,
            values: Values::default(),
            about,
            passed_over: PassedOver::default(),
            key: Vec::new(),
            database: 0,
            text: Text::default(),
            other: Vec::new(),
            ahead: None,
        };
        loop {
            match rdb.input.byte().await? {
                format::AUX => rdb.aux().await?,
                other => {
                    rdb.ahead = Some(other);
                    return Ok(rdb);
                }
            }
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// The RDB is damaged, cut off, or holds what this program does not know.
    pub(crate) async fn next(&mut self) -> Result<Next, Failure> {
        let (mut expires, mut idle, mut freq) = (None, None, None);
        loop {
            let opcode = match self.ahead.take() {
                Some(opcode) => opcode,
                None => self.input.byte().await?,
            };
            let input = &mut self.input;
            match opcode {
                format::EXPIRETIME_MS => expires = Some(i64::from_le_bytes(input.array().await?)),
                format::EXPIRETIME => expires = Some(i64::from(i32::from_le_bytes(input.array().await?)) * 1000),
                format::IDLE => idle = Some(input.number().await?),
                format::FREQ => freq = Some(input.byte().await?),
                format::SELECTDB => {
                    let number = input.number().await?;
                    self.database =
                        u32::try_from(number).map_err(|_| input.wrong(format_args!("the database {number}")))?;
                }
                format::RESIZEDB => {
                    input.number().await?;
                    input.number().await?;
                }
                format::SLOT_INFO => {
                    for _ in 0..3 {
                        input.number().await?;
                    }
                }
                format::AUX => self.aux().await?,
                format::MODULE_AUX => {
                    input.number().await?;
                    self.values.module(input).await?;
                    self.passed_over.module_aux += 1;
                }
                format::SLOT_IMPORT_OR_KEY_META => self.of_cluster_or_module().await?,
                format::FUNCTION => {
                    self.text.whole(input, LONGEST_LIBRARY, "a library of functions", &mut self.key).await?;
                    return Ok(Next::Library);
                }
                format::FUNCTION_PRE_GA => {
                    return Err(input
                        .wrong("functions as a release candidate of Redis 7.0 wrote them")
                        .with_help("load it into a server of that version, and save it there with Redis 7.0"));
                }
                format::EOF => {
                    self.end().await?;
                    return Ok(Next::End);
                }
                number => {
                    let Some(layout) = Layout::of(number, self.about.valkey) else { return Err(self.unknown(number)) };
                    self.text.whole(input, LONGEST_KEY, "the name of a key", &mut self.key).await?;
                    // -1 stands for none, as in the server; nothing else is long ago enough to be none.
                    let expires = expires.filter(|at| *at != -1).map(|at: i64| u64::try_from(at).unwrap_or(0).max(1));
                    return Ok(Next::Key(Entry { database: self.database, number, layout, expires, idle, freq }));
                }
            }
        }
    }

    fn unknown(&self, number: u8) -> Failure {
        let text = match number {
            format::MODULE_PRE_GA => "the value of a module, as they were before Redis 4.0 was released".to_owned(),
            _ => format!("{number}, which is no type of a value and no mark that is known"),
        };
        let at = self.input.offset().saturating_sub(1);
        super::input::wrong(self.input.name(), at, text).with_help(
            "it is damaged, or written by a server that is newer than this program: then read the server itself by `SCAN` (`redis-dump`)",
        )
    }

    /// What the file says about itself.
    async fn aux(&mut self) -> Result<(), Failure> {
        self.text.whole(&mut self.input, LONGEST_AUX, "the name of an auxiliary field", &mut self.other).await?;
        if !matches!(&self.other[..], b"redis-ver" | b"valkey-ver") {
            // Before Redis 7.0 the scripts stood here (`lua`), which may be long.
            return self.text.pass_over(&mut self.input).await;
        }
        self.text.whole(&mut self.input, LONGEST_AUX, "the version of the server", &mut self.other).await?;
        if self.about.server.is_none() {
            self.about.server = Some(String::from_utf8_lossy(&self.other).into_owned());
        }
        Ok(())
    }

    /// One number, two meanings: passed over either way.
    async fn of_cluster_or_module(&mut self) -> Result<(), Failure> {
        let input = &mut self.input;
        if self.about.valkey {
            self.text.whole(input, LONGEST_AUX, "the name of an import of slots", &mut self.other).await?;
            for _ in 0..input.number().await? {
                input.number().await?;
                input.number().await?;
            }
            self.passed_over.slot_imports += 1;
        } else {
            for _ in 0..input.number().await? {
                input.array::<4>().await?;
                self.values.module(input).await?;
            }
            self.passed_over.key_meta += 1;
        }
        Ok(())
    }

    /// The end mark was read: what stands behind it.
    async fn end(&mut self) -> Result<(), Failure> {
        if self.about.version < 5 {
            return Ok(());
        }
        let sum = self.input.sum();
        let said = u64::from_le_bytes(self.input.array().await?);
        // A server that is told to make no checksums writes 0.
        if said == 0 || said == sum {
            return Ok(());
        }
        Err(Failure::corrupt(format!(
            "{} is damaged: its checksum at byte {} is {said:016x}, and that of its bytes is {sum:016x}",
            self.input.name(),
            self.input.offset() - 8
        ))
        .with_help("take another copy of it; this one is not what was written"))
    }

    /// Makes sure that a file ends here. `redis-cli --rdb -` leaves behind it the 40 hexadecimal digits by which it knew the
    /// end of what a server sent without knowing its length.
    ///
    /// # Errors
    /// Something else follows.
    pub(crate) async fn nothing_follows(&mut self) -> Result<(), Failure> {
        const MARK: usize = 40;
        while self.input.rest().len() <= MARK && self.input.more().await? {}
        let rest = self.input.rest();
        if rest.is_empty() || (rest.len() == MARK && rest.iter().all(u8::is_ascii_hexdigit)) {
            return Ok(());
        }
        Err(self
            .input
            .wrong(format_args!("something follows the end: {}", show(rest)))
            .with_help("an append-only file that begins with an RDB is none; two files in one are none either"))
    }
}

async fn head<S: Source>(input: &mut Input<S>) -> Result<About, Failure> {
    let none = |input: &Input<S>| {
        super::input::wrong(
            input.name(),
            0,
            format_args!("it begins with {}, and no RDB does", show(&input.rest()[..input.rest().len().min(9)])),
        )
    };
    while input.rest().len() < 9 && input.more().await? {}
    let (valkey, digits) = match input.rest() {
        [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (false, digits.get(..4)),
        [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (true, digits.get(..3)),
        [] => {
            return Err(Failure::corrupt("at byte 0 of the RDB: it is empty, and even one without keys is not"));
        }
        rest if b"REDIS".starts_with(rest) || b"VALKEY".starts_with(rest) => return Err(input.cut()),
        _ => return Err(none(input)),
    };
    let Some(digits) = digits else { return Err(input.cut()) };
    let version = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(version) = version.and_then(|text| text.parse::<u32>().ok()) else { return Err(none(input)) };
    let known = if valkey { format::VALKEY.contains(&version) } else { (1..=format::NEWEST_REDIS).contains(&version) };
    if !known {
        return Err(Failure::rejected(format!(
            "at byte 0 of the RDB: it has version {version} of the format of {}, which is not known",
            if valkey { "Valkey" } else { "Redis" }
        ))
        .with_help("read the server itself by `SCAN` (`redis-dump`), or take a newer version of aquifer"));
    }
    input.skip(9);
    Ok(About { version, valkey, server: None })
}
