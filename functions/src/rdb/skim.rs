//! How long a value is, by the bytes of it that have come.
//!
//! Takes a layout and bytes. Gives the length of the value at their beginning, or says that more bytes are needed. Always
//! holds: nothing is unpacked or kept; each step of each loop passes over at least one byte.

use super::format::Layout;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At least so many bytes have to come first.
    More(u64),
    /// What stands at this place cannot be part of a value.
    Wrong(usize, &'static str),
}

/// A value's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skimmed {
    /// In bytes.
    pub(crate) length: usize,
    /// How much its texts are without compression.
    pub(crate) unpacked: u64,
    /// It has no elements: a server drops it when it loads it, and refuses to restore it.
    pub(crate) empty: bool,
}

struct Skim<'a> {
    bytes: &'a [u8],
    at: usize,
    unpacked: u64,
}

enum Head {
    Plain(u64),
    Encoded(u8),
}

impl Skim<'_> {
    fn over(&mut self, count: u64) -> Result<(), Stop> {
        let end = self.at as u64 + count.min(u64::MAX / 2);
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        self.at = end as usize;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let from = self.at;
        self.over(N as u64)?;
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[from..self.at]);
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, Stop> {
        let [first] = self.take()?;
        Ok(match first >> 6 {
            0 => Head::Plain(u64::from(first)),
            1 => Head::Plain(u64::from(first & 63) << 8 | u64::from(self.take::<1>()?[0])),
            2 if first == 0x80 => Head::Plain(u64::from(u32::from_be_bytes(self.take()?))),
            2 if first == 0x81 => Head::Plain(u64::from_be_bytes(self.take()?)),
            3 => Head::Encoded(first & 63),
            _ => return Err(Stop::Wrong(self.at - 1, "this is no length")),
        })
    }

    fn number(&mut self) -> Result<u64, Stop> {
        match self.head()? {
            Head::Plain(number) => Ok(number),
            Head::Encoded(_) => Err(Stop::Wrong(self.at - 1, "expected a number")),
        }
    }

    fn text(&mut self) -> Result<(), Stop> {
        match self.head()? {
            Head::Plain(length) => {
                self.unpacked = self.unpacked.saturating_add(length);
                self.over(length)
            }
            Head::Encoded(0) => self.over(1),
            Head::Encoded(1) => self.over(2),
            Head::Encoded(2) => self.over(4),
            Head::Encoded(3) => {
                let packed = self.number()?;
                let length = self.number()?;
                self.unpacked = self.unpacked.saturating_add(length);
                self.over(packed)
            }
            Head::Encoded(_) => Err(Stop::Wrong(self.at - 1, "no text is written in this way")),
        }
    }

    /// A packed text of which the header is `header` bytes long and holds a count at its end; says whether that is 0.
    fn packed(&mut self, header: usize, count: usize) -> Result<bool, Stop> {
        let from = self.at;
        self.text()?;
        // A compressed one has elements, or it would not have been worth it.
        let whole = &self.bytes[from..self.at];
        let plain = whole.first().is_some_and(|first| first >> 6 == 0);
        let counts = whole.get(1 + header - count..1 + header).filter(|_| plain);
        Ok(counts.is_some_and(|counts| counts.iter().all(|byte| *byte == 0)))
    }

    fn times(&mut self, mut one: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<bool, Stop> {
        let count = self.number()?;
        for _ in 0..count {
            one(self)?;
        }
        Ok(count == 0)
    }

    fn module(&mut self) -> Result<(), Stop> {
        self.number()?;
        loop {
            match self.number()? {
                0 => return Ok(()),
                1 | 2 => drop(self.number()?),
                3 => self.over(4)?,
                4 => self.over(8)?,
                5 => self.text()?,
                _ => return Err(Stop::Wrong(self.at - 1, "no part of a module's value begins like this")),
            }
        }
    }

    fn stream(&mut self, version: u8) -> Result<(), Stop> {
        self.times(|skim| skim.text().and_then(|()| skim.text()))?;
        for _ in 0..if version >= 2 { 8 } else { 3 } {
            self.number()?;
        }
        self.times(|skim| {
            skim.text()?;
            for _ in 0..if version >= 2 { 3 } else { 2 } {
                skim.number()?;
            }
            skim.times(|skim| skim.over(24).and_then(|()| skim.number().map(drop)))?;
            skim.times(|skim| {
                skim.text()?;
                skim.over(if version >= 3 { 16 } else { 8 })?;
                skim.times(|skim| skim.over(16)).map(drop)
            })
            .map(drop)
        })?;
        Ok(())
    }

    /// Passes over a value; says whether it is empty.
    fn value(&mut self, layout: Layout) -> Result<bool, Stop> {
        Ok(match layout {
            Layout::String => {
                self.text()?;
                false
            }
            Layout::List | Layout::Set | Layout::Quicklist => self.times(Self::text)?,
            Layout::ZsetText => self.times(|skim| {
                skim.text()?;
                let [length] = skim.take()?;
                if length < 253 { skim.over(u64::from(length)) } else { Ok(()) }
            })?,
            Layout::Zset => self.times(|skim| skim.text().and_then(|()| skim.over(8)))?,
            Layout::Hash => self.times(|skim| skim.text().and_then(|()| skim.text()))?,
            Layout::Module => {
                self.module()?;
                false
            }
            Layout::Zipmap => {
                self.text()?;
                false
            }
            Layout::Intset => self.packed(8, 4)?,
            Layout::ListZiplist | Layout::ZsetZiplist | Layout::HashZiplist => self.packed(10, 2)?,
            Layout::HashListpack | Layout::ZsetListpack | Layout::SetListpack => self.packed(6, 2)?,
            Layout::Quicklist2 => self.times(|skim| skim.number().and_then(|_| skim.text()))?,
            Layout::Stream(version) => {
                self.stream(version)?;
                false
            }
            Layout::HashExpiring { relative } => {
                self.over(if relative { 8 } else { 0 })?;
                self.times(|skim| {
                    skim.number()?;
                    skim.text()?;
                    skim.text()
                })?
            }
            Layout::HashListpackExpiring { headed } => {
                self.over(if headed { 8 } else { 0 })?;
                self.packed(6, 2)?
            }
            Layout::HashValkey => self.times(|skim| {
                skim.text()?;
                skim.text()?;
                skim.over(8)
            })?,
        })
    }
}

/// The length of the value at the beginning of these bytes.
///
/// # Errors
/// More of it has to come, or it is none.
pub(crate) fn skim(layout: Layout, bytes: &[u8]) -> Result<Skimmed, Stop> {
    let mut skim = Skim { bytes, at: 0, unpacked: 0 };
    let empty = skim.value(layout)?;
    Ok(Skimmed { length: skim.at, unpacked: skim.unpacked, empty })
}
