//! Elements that are packed into one text: listpacks, ziplists, intsets and zipmaps.
//!
//! Takes a text of an RDB, which may itself be compressed. Gives its elements one by one, long ones in pieces. Always
//! holds: only a few hundred bytes of the packed text and a piece of an element are held; an element that says it is longer
//! than the text that holds it, or a text that goes on behind its end mark, is an error.

use aquifer_engine::failure::Failure;
use bytes::{Buf, BytesMut};

use super::input::{Input, Source};
use super::text::Text;
use super::visit::{Role, Visitor};

/// The end mark of listpacks, ziplists and zipmaps.
const END: u8 = 0xff;

/// How a text is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Listpack,
    Ziplist,
    Intset { width: usize, left: u32 },
    Zipmap { value: bool },
}

/// An element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Number(i64),
    /// A text of so many bytes, which have to be read before the next element.
    Text(u64),
}

/// A packed text being read; one after the other.
#[derive(Debug)]
pub(crate) struct Packed {
    text: Text,
    /// Unpacked and not read yet.
    ready: BytesMut,
    form: Form,
    /// Bytes behind an element that belong to it.
    behind: u64,
}

impl Default for Packed {
    fn default() -> Self {
        Self { text: Text::default(), ready: BytesMut::new(), form: Form::Listpack, behind: 0 }
    }
}

impl Packed {
    /// Begins with a text that is packed in this form.
    ///
    /// # Errors
    /// What stands there is no such text, or it is cut off.
    pub(crate) async fn begin<S: Source>(&mut self, form: Form, input: &mut Input<S>) -> Result<(), Failure> {
        let length = self.text.begin(input).await?;
        self.ready.clear();
        (self.form, self.behind) = (form, 0);
        let said = match form {
            Form::Listpack => {
                let [a, b, c, d, _, _] = self.array(input).await?;
                u64::from(u32::from_le_bytes([a, b, c, d]))
            }
            Form::Ziplist => {
                let [a, b, c, d, _, _, _, _, _, _] = self.array(input).await?;
                u64::from(u32::from_le_bytes([a, b, c, d]))
            }
            Form::Intset { .. } => {
                let width = u32::from_le_bytes(self.array(input).await?);
                let left = u32::from_le_bytes(self.array(input).await?);
                if !matches!(width, 2 | 4 | 8) {
                    return Err(input.wrong(format_args!("no set of numbers has {width} bytes for each")));
                }
                self.form = Form::Intset { width: width as usize, left };
                8 + u64::from(width) * u64::from(left)
            }
            Form::Zipmap { .. } => {
                self.array::<1, S>(input).await?;
                length
            }
        };
        if said == length {
            return Ok(());
        }
        Err(input.wrong(format_args!("packed elements say that they have {said} bytes, and have {length}")))
    }

    /// Bytes of the packed text that were not read yet.
    fn left(&self) -> u64 {
        self.ready.len() as u64 + self.text.left()
    }

    async fn need<S: Source>(&mut self, bytes: usize, input: &mut Input<S>) -> Result<(), Failure> {
        while self.ready.len() < bytes {
            let piece = self.text.next(input).await?;
            if piece.is_empty() {
                return Err(input.wrong("packed elements end too early"));
            }
            self.ready.extend_from_slice(piece);
        }
        Ok(())
    }

    async fn array<const N: usize, S: Source>(&mut self, input: &mut Input<S>) -> Result<[u8; N], Failure> {
        self.need(N, input).await?;
        let mut taken = [0; N];
        self.ready.copy_to_slice(&mut taken);
        Ok(taken)
    }

    async fn little<const N: usize, S: Source>(&mut self, input: &mut Input<S>) -> Result<i64, Failure> {
        let taken = self.array::<N, S>(input).await?;
        let mut whole = [if taken[N - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
        whole[..N].copy_from_slice(&taken);
        Ok(i64::from_le_bytes(whole))
    }

    async fn skip<S: Source>(&mut self, mut bytes: u64, input: &mut Input<S>) -> Result<(), Failure> {
        while bytes > 0 {
            self.need(1, input).await?;
            let count = self.ready.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.ready.advance(count);
            bytes -= count as u64;
        }
        Ok(())
    }

    /// The next element; nothing behind the last one.
    ///
    /// # Errors
    /// The text is damaged or cut off.
    pub(crate) async fn next<S: Source>(&mut self, input: &mut Input<S>) -> Result<Option<Element>, Failure> {
        if self.behind > 0 {
            let behind = std::mem::take(&mut self.behind);
            self.skip(behind, input).await?;
        }
        let element = match self.form {
            Form::Intset { left: 0, .. } => None,
            Form::Intset { width, left } => {
                self.form = Form::Intset { width, left: left - 1 };
                Some(Element::Number(match width {
                    2 => self.little::<2, S>(input).await?,
                    4 => self.little::<4, S>(input).await?,
                    _ => self.little::<8, S>(input).await?,
                }))
            }
            Form::Listpack => self.listpack(input).await?,
            Form::Ziplist => self.ziplist(input).await?,
            Form::Zipmap { value } => self.zipmap(value, input).await?,
        };
        match element {
            Some(Element::Text(length)) if length.saturating_add(self.behind) > self.left() => {
                Err(input.wrong("an element is longer than what it is packed into"))
            }
            None if self.left() > 0 => Err(input.wrong("packed elements go on behind their end")),
            element => Ok(element),
        }
    }

    async fn listpack<S: Source>(&mut self, input: &mut Input<S>) -> Result<Option<Element>, Failure> {
        let [first] = self.array(input).await?;
        let (head, element) = match first {
            0..=0x7f => (1, Element::Number(i64::from(first))),
            0x80..=0xbf => (1, Element::Text(u64::from(first & 63))),
            0xc0..=0xdf => {
                let number = i64::from(first & 31) << 8 | i64::from(self.array::<1, S>(input).await?[0]);
                (2, Element::Number(if number >= 1 << 12 { number - (1 << 13) } else { number }))
            }
            0xe0..=0xef => {
                (2, Element::Text(u64::from(first & 15) << 8 | u64::from(self.array::<1, S>(input).await?[0])))
            }
            0xf0 => (5, Element::Text(u64::from(u32::from_le_bytes(self.array(input).await?)))),
            0xf1 => (3, Element::Number(self.little::<2, S>(input).await?)),
            0xf2 => (4, Element::Number(self.little::<3, S>(input).await?)),
            0xf3 => (5, Element::Number(self.little::<4, S>(input).await?)),
            0xf4 => (9, Element::Number(self.little::<8, S>(input).await?)),
            END => return Ok(None),
            _ => return Err(input.wrong("no element of a listpack begins like this")),
        };
        let length = head + if let Element::Text(length) = element { length } else { 0 };
        // Behind each element stands its length, for those who go backwards. Servers write one byte more than is needed at
        // three lengths (`lpEncodeBacklen` in listpack.c).
        self.behind = match length {
            0..=0x7f => 1,
            0x80..0x3fff => 2,
            0x3fff..0x1f_ffff => 3,
            0x1f_ffff..0xfff_ffff => 4,
            _ => 5,
        };
        Ok(Some(element))
    }

    async fn ziplist<S: Source>(&mut self, input: &mut Input<S>) -> Result<Option<Element>, Failure> {
        // The length of the element before.
        match self.array::<1, S>(input).await?[0] {
            END => return Ok(None),
            0xfe => drop(self.array::<4, S>(input).await?),
            _ => {}
        }
        let [first] = self.array(input).await?;
        Ok(Some(match first {
            0..=0x3f => Element::Text(u64::from(first)),
            0x40..=0x7f => Element::Text(u64::from(first & 63) << 8 | u64::from(self.array::<1, S>(input).await?[0])),
            0x80..=0xbf => Element::Text(u64::from(u32::from_be_bytes(self.array(input).await?))),
            0xc0 => Element::Number(self.little::<2, S>(input).await?),
            0xd0 => Element::Number(self.little::<4, S>(input).await?),
            0xe0 => Element::Number(self.little::<8, S>(input).await?),
            0xf0 => Element::Number(self.little::<3, S>(input).await?),
            0xfe => Element::Number(self.little::<1, S>(input).await?),
            0xf1..=0xfd => Element::Number(i64::from(first & 15) - 1),
            _ => return Err(input.wrong("no element of a ziplist begins like this")),
        }))
    }

    async fn zipmap<S: Source>(&mut self, value: bool, input: &mut Input<S>) -> Result<Option<Element>, Failure> {
        let length = match self.array::<1, S>(input).await?[0] {
            END if !value => return Ok(None),
            END => return Err(input.wrong("a field has no value")),
            0xfe => u64::from(u32::from_le_bytes(self.array(input).await?)),
            length => u64::from(length),
        };
        if value {
            // So many bytes behind the value are not used.
            self.behind = u64::from(self.array::<1, S>(input).await?[0]);
        }
        self.form = Form::Zipmap { value: !value };
        Ok(Some(Element::Text(length)))
    }

    /// Tells an element.
    ///
    /// # Errors
    /// As [`Packed::next`], or whoever is told ends it.
    pub(crate) async fn tell<S: Source>(
        &mut self,
        element: Element,
        role: Role,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        match element {
            Element::Number(number) => {
                let digits = number.to_string();
                to.text(role, digits.len() as u64).await?;
                to.piece(digits.as_bytes()).await?;
            }
            Element::Text(length) => {
                to.text(role, length).await?;
                let mut left = length;
                while left > 0 {
                    self.need(1, input).await?;
                    let count = self.ready.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    to.piece(&self.ready[..count]).await?;
                    self.ready.advance(count);
                    left -= count as u64;
                }
            }
        }
        to.told().await
    }

    /// An element that has to be short.
    ///
    /// # Errors
    /// As [`Packed::next`]; also where it is longer than `most`.
    pub(crate) async fn short<S: Source>(
        &mut self,
        element: Element,
        most: usize,
        input: &mut Input<S>,
    ) -> Result<Vec<u8>, Failure> {
        match element {
            Element::Number(number) => Ok(number.to_string().into_bytes()),
            Element::Text(length) if length <= most as u64 => {
                let length = length as usize;
                self.need(length, input).await?;
                Ok(self.ready.split_to(length).to_vec())
            }
            Element::Text(length) => Err(input.wrong(format_args!("{length} bytes stand where at most {most} may"))),
        }
    }

    /// An element that has to be a number.
    ///
    /// # Errors
    /// As [`Packed::next`]; also where it is none, or nothing is there.
    pub(crate) async fn number<S: Source>(&mut self, input: &mut Input<S>) -> Result<i64, Failure> {
        let element = self.next(input).await?.ok_or_else(|| input.wrong("packed elements end too early"))?;
        let text = match element {
            Element::Number(number) => return Ok(number),
            text @ Element::Text(_) => self.short(text, 20, input).await?,
        };
        crate::redis::wire::resp::number(&text).ok_or_else(|| input.wrong("expected a number"))
    }
}
